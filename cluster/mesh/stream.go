package mesh

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
)

// streamAborted is the QUIC application error code of streams given up.
const streamAborted quic.StreamErrorCode = 1

// Stream is a QUIC bidirectional stream as net.Conn. Unlike a bare QUIC
// stream, Close ends both directions, so that it is forgotten by both sides
// (an unread read side would keep it for ever). The peer sees a stream only
// when its opener has written.
//
// Read and Write may run on two goroutines; Close on any.
type Stream struct {
	stream *quic.Stream
	conn   *quic.Conn
	local  net.Addr
	remote net.Addr

	writing sync.Mutex  // held during Write
	failed  atomic.Bool // a Write did not go through: what follows would be torn
	closed  sync.Once
	onClose func() // may be nil
}

var _ net.Conn = (*Stream)(nil)

// AcceptStream waits for the next stream the other side opened.
func AcceptStream(ctx context.Context, conn *quic.Conn) (*Stream, error) {
	s, err := conn.AcceptStream(ctx)
	if err != nil {
		return nil, fmt.Errorf("accept stream: %w", err)
	}
	return NewStream(conn, s), nil
}

// NewStream wraps a stream of a connection.
func NewStream(conn *quic.Conn, s *quic.Stream) *Stream {
	return &Stream{stream: s, conn: conn, local: conn.LocalAddr(), remote: conn.RemoteAddr()}
}

// Read implements net.Conn; the peer's half-close is io.EOF.
func (s *Stream) Read(p []byte) (int, error) { return s.stream.Read(p) }

// Write implements net.Conn.
func (s *Stream) Write(p []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	n, err := s.stream.Write(p)
	if err != nil {
		s.failed.Store(true)
	}
	return n, err
}

// CloseWrite ends our direction after what was written; reading goes on.
func (s *Stream) CloseWrite() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.stream.Close()
}

// Close ends both directions. What was written is still delivered, unless a
// Write failed or is in progress: then the peer sees a reset instead of an end.
func (s *Stream) Close() error {
	var err error
	s.closed.Do(func() {
		err = s.end()
		if s.onClose != nil {
			s.onClose()
		}
	})
	return err
}

func (s *Stream) end() error {
	// Last: a peer that is told that nobody reads may give up our direction too, and
	// an end that comes after that is an error.
	defer s.stream.CancelRead(streamAborted)
	if !s.writing.TryLock() {
		s.stream.CancelWrite(streamAborted) // ends the Write in progress
		return nil
	}
	defer s.writing.Unlock()
	if s.failed.Load() {
		s.stream.CancelWrite(streamAborted)
		return nil
	}
	return s.stream.Close()
}

// Abort ends both directions at once; the peer sees a reset.
func (s *Stream) Abort() {
	s.failed.Store(true)
	s.stream.CancelWrite(streamAborted)
	_ = s.Close() // nothing is left to fail
}

// Connection returns the connection the stream belongs to.
func (s *Stream) Connection() *quic.Conn { return s.conn }

// LocalAddr implements net.Conn.
func (s *Stream) LocalAddr() net.Addr { return s.local }

// RemoteAddr implements net.Conn.
func (s *Stream) RemoteAddr() net.Addr { return s.remote }

// SetDeadline implements net.Conn.
func (s *Stream) SetDeadline(t time.Time) error { return s.stream.SetDeadline(t) }

// SetReadDeadline implements net.Conn.
func (s *Stream) SetReadDeadline(t time.Time) error { return s.stream.SetReadDeadline(t) }

// SetWriteDeadline implements net.Conn.
func (s *Stream) SetWriteDeadline(t time.Time) error { return s.stream.SetWriteDeadline(t) }
