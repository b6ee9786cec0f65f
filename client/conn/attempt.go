package conn

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"capnproto.org/go/capnp/v3"
	"github.com/quic-go/quic-go"

	"quicproquo/schemas"
)

// message is a call's request and the last response to it, with the memory of
// both. It belongs to the goroutine of its call.
type message struct {
	out     capnp.Message
	request schemas.Request
	sent    []byte // the request, framed

	head     [frameHead]byte // the response's first word
	replay   replay
	received []byte // the response, framed
	reader   schemas.Reader
	response schemas.Response
}

// frameHead is the size of the segment table of a message of one segment.
const frameHead = 8

var messagePool = sync.Pool{New: func() any { return new(message) }}

func newMessage() *message {
	m, ok := messagePool.Get().(*message)
	if !ok {
		panic("the pool of messages holds messages only")
	}
	return m
}

func (m *message) release() {
	m.out.Release()
	m.request, m.response, m.replay = schemas.Request{}, schemas.Response{}, replay{}
	if cap(m.sent) > keptBuffer {
		m.sent = nil
	}
	if cap(m.received) > keptBuffer {
		m.received = nil
	}
	messagePool.Put(m)
}

// Errors of an exchange.
var (
	errSilent = errors.New("the node does not acknowledge the request")
	// ErrResponse: what the node sent can not be taken for an answer.
	ErrResponse = errors.New("the node's response can't be read")
	// errUntaken: a stream that ends in peace, without a byte of an answer, has taken no
	// request (docs/protocol.md, A node that stops).
	errUntaken = errors.New("the node takes no more requests here")
)

// exchange sends the request on a stream of the link and reads the response. It
// reports whether the request may have reached the node. A call that is cancelled
// or late resets its stream, which cancels it on the node.
func (m *message) exchange(ctx context.Context, l *link, deadline time.Time) (sent bool, err error) {
	if err := m.encode(); err != nil {
		return false, err
	}
	s, err := l.get(ctx)
	if err != nil {
		return false, fmt.Errorf("open a stream to %s: %w", l.at.address, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = s.SetDeadline(time.Unix(1, 0)) })
	err = m.roundTrip(ctx, l, s, deadline)
	if stop() && err == nil {
		l.put(s)
	} else {
		l.discard(s)
	}
	if err != nil {
		return !errors.Is(err, errUntaken), fmt.Errorf("call %s: %w", l.at.address, err)
	}
	return true, nil
}

func (m *message) encode() error {
	seg, err := m.out.Segment(0)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	data := seg.Data()
	if len(data)+frameHead > schemas.MaxRequest {
		return &Error{
			Code: schemas.Code_messageTooLarge, Value: schemas.MaxRequest,
			Message: schemas.Code_messageTooLarge.Doc().Meaning,
		}
	}
	m.sent = binary.LittleEndian.AppendUint32(m.sent[:0], 0)
	m.sent = binary.LittleEndian.AppendUint32(m.sent, uint32(len(data)/8))
	m.sent = append(m.sent, data...)
	return nil
}

// size is about how many bytes the request has.
func (m *message) size() int {
	seg, err := m.out.Segment(0)
	if err != nil {
		return 0 // encode will tell
	}
	return len(seg.Data()) + frameHead
}

func (m *message) roundTrip(ctx context.Context, l *link, s *quic.Stream, deadline time.Time) error {
	if err := s.SetWriteDeadline(deadline); err != nil {
		return err
	}
	if ctx.Err() != nil { // its deadline may have been overwritten
		return ctx.Err()
	}
	_, refused := s.Write(m.sent)
	if !stopped(refused) && refused != nil {
		return orContext(ctx, refused)
	}
	if err := m.awaitHead(ctx, l, s, deadline); err != nil {
		return orContext(ctx, err)
	}
	frame, err := schemas.ReadFrame(m.whole(s), schemas.MaxResponse, m.received)
	if err != nil {
		return orContext(ctx, err)
	}
	m.received = frame
	return m.open()
}

// stopped reports whether a request could not be written because the node reads no more of
// it: its answer, which is on its way, says why.
func stopped(err error) bool {
	stop, is := errors.AsType[*quic.StreamError](err)
	return is && stop.Remote
}

// orContext prefers the caller's reason over what it did to the stream.
func orContext(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// awaitHead waits for the first word of the response. A node from which no packet
// comes, though it has something to acknowledge, is taken for dead long before
// the call's time is over.
func (m *message) awaitHead(ctx context.Context, l *link, s *quic.Stream, deadline time.Time) error {
	w := l.watch() // the request itself is to be acknowledged
	for have := 0; have < frameHead; {
		if err := s.SetReadDeadline(earlier(w.check, deadline)); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		n, err := s.Read(m.head[have:])
		have += n
		switch {
		case err == nil || have == frameHead:
		case have == 0 && errors.Is(err, io.EOF):
			return errUntaken
		case !errors.Is(err, os.ErrDeadlineExceeded) || ctx.Err() != nil || !time.Now().Before(deadline):
			return err
		case !w.look():
			return errSilent
		}
	}
	w.answered(m.waits())
	if err := s.SetReadDeadline(deadline); err != nil {
		return err
	}
	return ctx.Err() // its deadline may have been overwritten
}

// waits reports whether the call waits for something on the node, so that the time of its
// answer tells nothing of the node.
func (m *message) waits() bool { return m.request.Method() == methodFetchWait }

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// whole reads the response from its first word on.
func (m *message) whole(rest io.Reader) io.Reader {
	m.replay = replay{head: m.head[:], rest: rest}
	return &m.replay
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

// open reads the response's root.
func (m *message) open() error {
	msg, err := m.reader.Open(m.received)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrResponse, err)
	}
	if m.response, err = schemas.ReadRootResponse(msg); err != nil {
		return fmt.Errorf("%w: %w", ErrResponse, err)
	}
	return nil
}

// failure returns the response's error, nil for results.
func (m *message) failure() error {
	switch m.response.Which() {
	case schemas.Response_Which_results:
		return nil
	case schemas.Response_Which_error:
		from, err := m.response.Error()
		if err != nil {
			return fmt.Errorf("%w: %w", ErrResponse, err)
		}
		text, err := from.Message_()
		if err != nil {
			text = from.Code().Doc().Meaning
		}
		return &Error{
			Code: from.Code(), Message: text, Value: from.Value(), seen: m.request.Seen(),
			RetryAfter: time.Duration(from.RetryAfterMs()) * time.Millisecond,
		}
	default:
		return fmt.Errorf("%w: it is of a kind that this version does not know", ErrResponse)
	}
}
