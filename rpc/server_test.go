package rpc

import (
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"quicproquo/schemas"
)

// slowDoor serves health as a call that runs until the test lets it go.
func slowDoor(t *testing.T, options Options) (d *door, started chan struct{}, release chan struct{}) {
	t.Helper()
	server := NewServer(newFakeNode(3), options)
	started, release = make(chan struct{}, 64), make(chan struct{})
	tab := open
	tab[7] = method{name: "slow", maxBytes: smallMethod, timeout: time.Minute, handle: func(c *call) error {
		started <- struct{}{}
		select {
		case <-release:
			return tab[healthMethod].handle(c)
		case <-c.context().Done():
			return c.context().Err()
		}
	}}
	server.open = &tab
	return openDoor(t, server), started, release
}

// A closing server lets running calls finish, refuses new ones with UNAVAILABLE
// but still says how it is, ends its streams and tells clients to go elsewhere.
func TestCloseDrains(t *testing.T) {
	d, started, release := slowDoor(t, Options{Limits: Limits{Linger: time.Minute}})
	qc := d.dial(t)
	idle := openStream(t, qc, healthFrame(t))
	if got, err := readAnswer(t, idle); err != nil || got.status != "ok" {
		t.Fatalf("got %+v, %v", got, err)
	}
	running := openStream(t, qc, frameOf(t, 7, nil))
	<-started

	closed := make(chan struct{})
	go func() {
		defer close(closed)
		d.close(t, testPatience)
	}()
	eventually(t, "the server drains", d.server.draining.Load)
	if got := callOn(t, qc, frameOf(t, 7, nil)); got.code != schemas.Code_unavailable {
		t.Errorf("a new call got %+v, want UNAVAILABLE", got)
	}
	if got := callOn(t, qc, healthFrame(t)); got.status != string(StateDraining) {
		t.Errorf("health is %+v, want draining", got)
	}
	select {
	case <-closed:
		t.Fatal("Close returned while a call was running")
	default:
	}
	close(release)
	if got, err := readAnswer(t, running); err != nil || got.status != string(StateDraining) {
		t.Errorf("the running call got %+v, %v; want its answer", got, err)
	}
	for _, s := range []*quic.Stream{running, idle} {
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("after the last answer: got %v, want the end of the stream", err)
		}
	}
	_ = qc.CloseWithError(0, "") // the client leaves, so nobody lingers
	<-closed
}

// When the time to drain is over, calls are cut and the client learns why.
func TestCloseCutsWhatDoesNotEnd(t *testing.T) {
	d, started, _ := slowDoor(t, Options{Limits: Limits{Linger: time.Millisecond}})
	qc := d.dial(t)
	s := openStream(t, qc, frameOf(t, 7, nil))
	<-started
	d.close(t, time.Millisecond)
	var closed *quic.ApplicationError
	if _, err := readAnswer(t, s); !errors.As(err, &closed) || closed.ErrorCode != ConnDraining {
		t.Errorf("got %v, want the connection closed with code %d", err, ConnDraining)
	}
}

// A reset of the stream cancels its call.
func TestResetCancelsTheCall(t *testing.T) {
	d, started, _ := slowDoor(t, Options{})
	qc := d.dial(t)
	s := openStream(t, qc, frameOf(t, 7, nil))
	<-started
	s.CancelRead(StreamDone)
	eventually(t, "the call has ended", func() bool { return d.server.running.Load() == 0 })
	if got := callOn(t, qc, healthFrame(t)); got.status != "ok" {
		t.Errorf("the connection's next call got %+v", got)
	}
}

// A connection has a few calls at once before login; the others wait their turn
// and all are answered. Streams over the limit are reset.
func TestConnectionLimits(t *testing.T) {
	d, started, release := slowDoor(t, Options{Limits: Limits{OpenCalls: 2, ConnStreams: 5}})
	qc := d.dial(t)
	var streams []*quic.Stream
	for range 5 {
		streams = append(streams, openStream(t, qc, frameOf(t, 7, nil)))
	}
	<-started
	<-started
	var reset *quic.StreamError
	over := openStream(t, qc, healthFrame(t))
	if _, err := readAnswer(t, over); !errors.As(err, &reset) || reset.ErrorCode != StreamTooMany {
		t.Errorf("the sixth stream got %v, want a reset with code %d", err, StreamTooMany)
	}
	if n := d.server.running.Load(); n != 2 {
		t.Errorf("%d calls run, want 2", n)
	}
	close(release)
	for i, s := range streams {
		if got, err := readAnswer(t, s); err != nil || got.status != "ok" {
			t.Errorf("call %d got %+v, %v", i, got, err)
		}
	}
}

// A server that has as many connections as it may refuses one more with a code
// that says so.
func TestConnectionCap(t *testing.T) {
	d := openDoor(t, NewServer(newFakeNode(1), Options{Limits: Limits{Conns: 1}}))
	first := d.dial(t)
	if got := callOn(t, first, healthFrame(t)); got.status != "ok" {
		t.Fatalf("got %+v", got)
	}
	second := d.dial(t)
	var closed *quic.ApplicationError
	<-second.Context().Done()
	if err := context.Cause(second.Context()); !errors.As(err, &closed) || closed.ErrorCode != ConnTooMany {
		t.Errorf("got %v, want the connection closed with code %d", err, ConnTooMany)
	}
	if got := callOn(t, first, healthFrame(t)); got.status != "ok" {
		t.Errorf("the first connection got %+v", got)
	}
}

// A client that takes no answers is cut; its connection and others go on.
func TestSlowReaderIsCut(t *testing.T) {
	server := NewServer(newFakeNode(1), Options{Limits: Limits{Write: 50 * time.Millisecond}})
	tab := open
	tab[7] = method{name: "large", maxBytes: smallMethod, timeout: time.Minute, handle: func(c *call) error {
		return fillResponse(c, 4<<20)
	}}
	server.open = &tab
	qc := openDoor(t, server).dial(t)
	slow := openStream(t, qc, frameOf(t, 7, nil)) // reads nothing: its window fills
	eventually(t, "the stream is given up", func() bool { return slow.Context().Err() != nil })
	var reset *quic.StreamError
	if _, err := io.Copy(io.Discard, slow); !errors.As(err, &reset) || reset.ErrorCode != StreamTimeout {
		t.Errorf("got %v, want a reset with code %d", err, StreamTimeout)
	}
	if got := callOn(t, qc, healthFrame(t)); got.status != "ok" {
		t.Errorf("the connection's next call got %+v", got)
	}
}

// Thousands of stalled streams cost a bounded amount of memory and disturb
// nobody else: not those that sent nothing whole, not those that claim the most
// that a stranger may send.
func TestStalledStreams(t *testing.T) {
	const conns, perConn = 32, 63
	d := openDoor(t, NewServer(newFakeNode(1), Options{}))
	other := d.client(t)
	if _, err := other.Health(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := liveBytes()
	claim := head(schemas.MaxRequestOpen - frameHead)
	stall := [][]byte{{0}, head(64), claim}
	for range conns {
		qc := d.dial(t)
		for i := range perConn {
			openStream(t, qc, stall[i%len(stall)])
		}
	}
	eventually(t, "all streams are being read", func() bool { return d.server.streams.Load() >= conns*perConn })
	if reserved := d.server.strange.used(); reserved > conns*int64(d.server.limits.OpenCalls)*smallRequest {
		t.Errorf("%d bytes are reserved for requests of which %d have arrived", reserved, frameHead)
	}
	// Both ends live in this process; a stream costs each about 12 KiB and a
	// connection about 42 KiB.
	grown := liveBytes() - before
	t.Logf("%d stalled streams on %d connections: %d KiB for both ends, %d bytes a stream",
		conns*perConn, conns, grown>>10, grown/(conns*perConn))
	if limit := int64(conns*perConn*2*16<<10 + conns*(2*64<<10+4*schemas.MaxRequestOpen)); grown > limit {
		t.Errorf("stalled streams hold %d bytes, want at most %d", grown, limit)
	}
	if h, err := other.Health(t.Context()); err != nil || h.Status != "ok" {
		t.Errorf("another client got %+v, %v", h, err)
	}
}

func liveBytes() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// Idle streams of a live connection end with their time, so that a client which
// opens and forgets does not hold them.
func TestIdleStreamsEnd(t *testing.T) {
	d := openDoor(t, NewServer(newFakeNode(1), Options{Limits: Limits{Idle: 20 * time.Millisecond}}))
	qc := d.dial(t)
	s := openStream(t, qc, healthFrame(t))
	if got, err := readAnswer(t, s); err != nil || got.status != "ok" {
		t.Fatalf("got %+v, %v", got, err)
	}
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, want the end of the stream", err)
	}
	eventually(t, "the stream is gone", func() bool { return d.server.streams.Load() == 0 })
}

// Strangers leave streams for others: those of one address for those of another,
// and all together for those who have a session. A connection whose caller is
// known counts no more, and every stream leaves the count when it ends.
func TestStrangersLeaveRoom(t *testing.T) {
	server := NewServer(newFakeNode(1), Options{Limits: Limits{OpenStreams: 6, AddressStreams: 4, Streams: 8}})
	connect := func(from byte) *conn {
		c := newConn(server, quiet())
		c.address = [48]byte{from}
		return c
	}
	open := func(c *conn, want int) (list []stream) {
		t.Helper()
		for range 9 {
			if s := newFakeStream(nil); c.add(s) {
				list = append(list, s)
			}
		}
		if len(list) != want {
			t.Errorf("%d streams were opened, want %d", len(list), want)
		}
		return list
	}
	one, same, other, known := connect(1), connect(1), connect(2), connect(3)
	first := open(one, 4)
	open(same, 0)
	second := open(other, 2)
	known.welcome(&caller{})
	third := open(known, 2)
	for _, s := range third {
		known.remove(s)
	}
	one.welcome(&caller{})
	if n := server.Stats().OpenStreams; n != 2 {
		t.Errorf("%d streams count as strangers' after one of two logged in, want 2", n)
	}
	fourth := open(same, 2) // 8 in all
	for c, list := range map[*conn][]stream{one: first, other: second, same: fourth} {
		for _, s := range list {
			c.remove(s)
		}
	}
	if s := server.Stats(); s.OpenStreams != 0 || s.Streams != 0 || len(server.strangers.addresses) != 0 {
		t.Errorf("left over: %+v, %d addresses", s, len(server.strangers.addresses))
	}
}
