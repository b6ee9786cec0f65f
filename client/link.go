package client

import (
	"context"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
)

// link is a connection to one node and its pool of streams.
type link struct {
	conn  *quic.Conn
	at    *endpoint
	slots chan struct{} // a token for each call on its way

	mu      sync.Mutex
	idle    []idleStream // finished, last used last
	users   int          // calls that hold the link
	retired bool         // closed when the last user leaves
}

type idleStream struct {
	*quic.Stream
	since time.Time
}

func newLink(conn *quic.Conn, at *endpoint) *link {
	return &link{conn: conn, at: at, slots: make(chan struct{}, maxStreams)}
}

// alive tells whether calls can start here. A dead connection is noticed here
// or by the call that runs into it.
func (l *link) alive() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.retired && l.conn.Context().Err() == nil
}

// hold keeps the link open for a call; release must follow. It returns false
// when the link is going away.
func (l *link) hold() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.retired || l.conn.Context().Err() != nil {
		return false
	}
	l.users++
	return true
}

func (l *link) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.users--
	l.closeIfLeft()
}

// retire lets running calls finish and takes no new ones.
func (l *link) retire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.retired = true
	l.closeIfLeft()
}

func (l *link) closeIfLeft() {
	if l.retired && l.users == 0 {
		l.close()
	}
}

// close ends the connection and every call on it.
func (l *link) close() {
	_ = l.conn.CloseWithError(connDone, "") // fails only when it is gone already
}

// get returns an idle stream, or opens one. Calls beyond maxStreams wait.
func (l *link) get(ctx context.Context) (*quic.Stream, error) {
	select {
	case l.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-l.conn.Context().Done():
		return nil, context.Cause(l.conn.Context())
	}
	if s := l.takeIdle(); s != nil {
		return s, nil
	}
	s, err := l.conn.OpenStreamSync(ctx)
	if err != nil {
		<-l.slots
		return nil, err
	}
	return s, nil
}

// takeIdle returns the stream that was used last: the others grow old and go.
func (l *link) takeIdle() *quic.Stream {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.idle) > 0 {
		last := len(l.idle) - 1
		s := l.idle[last]
		l.idle[last] = idleStream{}
		l.idle = l.idle[:last]
		// The server says with a reset that it reads no more here.
		if s.Context().Err() == nil && time.Since(s.since) < maxIdleStream {
			return s.Stream
		}
		drop(s.Stream)
	}
	return nil
}

// put gives a stream back after a whole response.
func (l *link) put(s *quic.Stream) {
	l.mu.Lock()
	l.idle = append(l.idle, idleStream{s, time.Now()})
	for len(l.idle) > 0 && time.Since(l.idle[0].since) >= maxIdleStream {
		drop(l.idle[0].Stream)
		l.idle = l.idle[1:]
	}
	l.mu.Unlock()
	<-l.slots
}

// discard gives up a stream in the middle of a call. The reset cancels the call
// on the server.
func (l *link) discard(s *quic.Stream) {
	drop(s)
	<-l.slots
}

// drop ends both sides: an unread side would keep the stream for ever.
func drop(s *quic.Stream) {
	s.CancelRead(streamDone)
	s.CancelWrite(streamDone)
}

const (
	connDone   quic.ApplicationErrorCode = 0
	streamDone quic.StreamErrorCode      = 0
)
