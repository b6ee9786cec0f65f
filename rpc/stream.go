package rpc

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/quic-go/quic-go"

	"quicproquo/schemas"
)

// stream is what the door uses of a *quic.Stream.
type stream interface {
	io.ReadWriteCloser
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
	CancelRead(quic.StreamErrorCode)
	CancelWrite(quic.StreamErrorCode)
	// Context ends when the client resets the stream or leaves.
	Context() context.Context
}

// Why a stream was reset (docs/protocol.md). Append only.
const (
	StreamDone      quic.StreamErrorCode = 0 // nothing more is read here; answers were sent
	StreamMalformed quic.StreamErrorCode = 1 // the framing is broken
	StreamTimeout   quic.StreamErrorCode = 2 // a request or an answer took too long
	StreamTooMany   quic.StreamErrorCode = 3 // the connection has too many streams
	StreamInternal  quic.StreamErrorCode = 4 // the node could not answer
)

// Ends of a stream that are not the client's doing.
var (
	errStreamDone = errors.New("stream is over after its last answer")
	errStreamIdle = errors.New("stream was idle for too long")
)

// serveStream answers the calls of one stream in turn until either side ends it.
func (c *conn) serveStream(s stream) {
	head := make([]byte, frameHead)
	for first := true; ; first = false {
		var sub *subscription
		err := c.awaitRequest(s, head, first)
		if err == nil {
			sub, err = c.turn(s, head)
		}
		if sub != nil {
			err = sub.run()
		}
		if err != nil {
			endStream(s, err)
			return
		}
	}
}

// endStream closes both sides of a stream: politely when every call got its
// answer, with a reset when not. An unread side would keep the stream forever.
func endStream(s stream, why error) {
	var reset *quic.StreamError
	code := StreamInternal
	switch {
	case errors.Is(why, io.EOF), errors.Is(why, errStreamDone), errors.Is(why, errStreamIdle):
		s.CancelRead(StreamDone)
		_ = s.Close() // fails only when the stream is gone already
		return
	case errors.As(why, &reset):
		code = StreamDone
	case late(why):
		code = StreamTimeout
	case errors.Is(why, schemas.ErrMalformed), errors.Is(why, io.ErrUnexpectedEOF):
		code = StreamMalformed
	}
	s.CancelRead(code)
	s.CancelWrite(code)
}

// awaitRequest waits for the first word of the next request. Until it has come the stream
// holds no more than itself. A node that is about to stop still answers what comes on a
// stream within endGrace, and on one that is new until its connections end: what is on its
// way is not left without an answer.
func (c *conn) awaitRequest(s stream, head []byte, first bool) error {
	for have := 0; ; {
		by := time.Now().Add(c.server.limits.Idle)
		if err := s.SetReadDeadline(by); err != nil {
			return err
		}
		// After the deadline, which may have overwritten that of wake.
		if end := c.server.end(first); !end.IsZero() && end.Before(by) {
			by = end
			if err := s.SetReadDeadline(by); err != nil {
				return err
			}
		}
		n, err := io.ReadFull(s, head[have:])
		have += n
		switch {
		case !errors.Is(err, os.ErrDeadlineExceeded):
			if errors.Is(err, io.EOF) && have > 0 {
				err = io.ErrUnexpectedEOF
			}
			return err
		case time.Now().Before(by): // woken: the node is about to stop
		case have == 0 || c.server.ending():
			return errStreamIdle // nothing of what came is a request
		default:
			return err
		}
	}
}

// turn is one call: the rest of its request, its work, its answer. Instead of an
// answer it may return a subscription, which has the stream from then on and holds
// no turn.
func (c *conn) turn(s stream, head []byte) (*subscription, error) {
	if err := c.takeTurn(s); err != nil {
		return nil, err
	}
	defer c.giveTurn()
	one := newCall(c, s)
	defer one.release()

	refused, err := one.read(head)
	if err != nil {
		return nil, err
	}
	var frame []byte
	if refused != nil {
		frame, err = one.fail(refused)
	} else {
		frame, err = one.answer()
	}
	if err != nil {
		c.log.Error("answer a call", slog.Any("error", err))
		return nil, err
	}
	if one.subscription != nil {
		return one.subscription, nil
	}
	if err := one.send(frame); err != nil {
		return nil, err
	}
	if refused != nil {
		_ = s.Close() // fails only when the stream is gone already
		one.discard()
		return nil, errStreamDone
	}
	return nil, nil
}

// replay reads head, then rest.
type replay struct {
	head []byte
	rest io.Reader
}

func (r *replay) Read(buf []byte) (int, error) {
	if len(r.head) == 0 {
		return r.rest.Read(buf)
	}
	n := copy(buf, r.head)
	r.head = r.head[n:]
	return n, nil
}
