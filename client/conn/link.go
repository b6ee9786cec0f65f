package conn

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"quicproquo/client/internal/patience"
)

// link is a connection to one node and its pool of streams.
type link struct {
	conn *quic.Conn
	at   *endpoint
	// patient is the Conn's, which outlives the link.
	patient *patience.Patience
	slots   chan struct{} // a token for each call on its way
	// presented is the session that the node knows on this link, set once, by
	// whoever has put a token into presenting.
	presented  atomic.Pointer[Session]
	presenting chan struct{}
	// leaving ends when the link takes no new calls: what would stay on it for
	// ever goes to the next one.
	leaving context.Context
	leave   context.CancelFunc

	mu      sync.Mutex
	idle    []idleStream // finished, last used last
	users   int          // calls that hold the link
	retired bool         // closed when the last user leaves
	probed  time.Time    // when probe was sent last
}

type idleStream struct {
	*quic.Stream
	since time.Time
}

func newLink(conn *quic.Conn, at *endpoint, patient *patience.Patience) *link {
	leaving, leave := context.WithCancel(conn.Context())
	return &link{
		conn: conn, at: at, patient: patient, slots: make(chan struct{}, maxStreams), presenting: make(chan struct{}, 1),
		leaving: leaving, leave: leave,
	}
}

// alive reports whether calls can start here. A dead connection is noticed here
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
	l.leave()
	l.closeIfLeft()
}

func (l *link) closeIfLeft() {
	if l.retired && l.users == 0 {
		l.close()
	}
}

// close ends the connection and every call on it.
func (l *link) close() {
	l.leave()
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

// packets counts what has come from the node.
func (l *link) packets() uint64 { return l.conn.ConnectionStats().PacketsReceived }

// roundTrip is what it takes to the node and back; 0 for no link.
func (l *link) roundTrip() time.Duration {
	if l == nil {
		return 0
	}
	return l.conn.ConnectionStats().SmoothedRTT
}

// patience is how long the node may take to acknowledge something.
func (l *link) patience() time.Duration {
	return l.patient.With(l.conn.ConnectionStats().SmoothedRTT)
}

// watch is the wait for a sign of life: packets from the node. For the first half of the
// patience it only waits, then it asks, several times because what is lost is sent again
// ever more slowly, and with the patience over the node is taken for dead. While the node
// lives, it asks ever less often.
type watch struct {
	link  *link
	heard uint64        // packets so far
	since time.Time     // when that was sent which the node has not acknowledged yet
	quiet time.Duration // without a packet, before it asks
	asked int           // how often since anything was heard
	check time.Time     // when to look next
	late  bool          // look was called
}

// asks is how often a node is asked for a sign of life before it is taken for dead.
const asks = 4

func (l *link) watch() *watch {
	now, quiet := time.Now(), l.patience()/2
	return &watch{link: l, heard: l.packets(), since: now, quiet: quiet, check: now.Add(quiet)}
}

// look looks for packets when it is time to, and reports whether to go on.
func (w *watch) look() bool {
	now, first := time.Now(), !w.late
	w.late = true
	switch heard := w.link.packets(); {
	case heard != w.heard:
		if w.asked > 0 {
			w.link.patient.Answered(now.Sub(w.since))
			w.quiet = min(2*w.quiet, keepAlive)
		}
		w.heard, w.asked = heard, 0
		w.check = now.Add(w.quiet)
		return true
	case w.asked == asks:
		return false
	case w.asked == 0 && !first:
		w.since = now
	}
	w.asked++
	w.link.probe()
	w.check = now.Add(w.link.patience() / 2 / asks)
	return true
}

// answered notes the answer that was waited for, of a call that waits for something on
// the node or not.
func (w *watch) answered(waits bool) {
	if waits || w.late && w.asked == 0 {
		w.link.patient.Heard()
	} else {
		w.link.patient.Answered(time.Since(w.since))
	}
}

// probe sends something that a living node must acknowledge: a stream that is
// reset as soon as it is opened, the smallest thing there is. Calls that wait at
// the same time share it.
func (l *link) probe() {
	l.mu.Lock()
	fresh := time.Since(l.probed) < patience.Least/4/asks
	if !fresh {
		l.probed = time.Now()
	}
	l.mu.Unlock()
	if fresh {
		return
	}
	// Without a free stream the node has enough to acknowledge.
	if s, err := l.conn.OpenStream(); err == nil {
		drop(s)
	}
}

// drop ends both sides: an unread side would keep the stream forever.
func drop(s *quic.Stream) {
	s.CancelRead(streamDone)
	s.CancelWrite(streamDone)
}

const (
	connDone   quic.ApplicationErrorCode = 0
	streamDone quic.StreamErrorCode      = 0
	// streamTimeout is the node's: the client did not take an answer in time.
	streamTimeout quic.StreamErrorCode = 2
)
