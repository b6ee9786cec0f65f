package conn

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go/testutils/simnet"

	"quicproquo/client/internal/patience"
	"quicproquo/client/internal/scripted"
	"quicproquo/crypto/tlsid"
	"quicproquo/happyeyeballs"
	"quicproquo/schemas"
)

// A node dies in the middle of calls, without a word: all of them, reads and
// writes, end well on another node, the writes with the id they began with, and
// long before the connection's idle time.
func TestFailoverInTheMiddleOfCalls(t *testing.T) {
	var dead string
	script := func(r scripted.Request) scripted.Reply {
		if dead == "" || r.Node == dead {
			dead = r.Node
			return scripted.Reply{Delay: 50 * time.Millisecond, Crash: true}
		}
		return scripted.Reply{Index: 9}
	}
	run(t, 3, script, func(c *cluster) {
		t := c.T
		conn := c.open(t)
		start := time.Now()
		var calls sync.WaitGroup
		for i := range 10 {
			calls.Go(func() {
				call := read
				if i%2 == 0 {
					call = write
				}
				if err := call(within(t, 10*time.Second), conn); err != nil {
					t.Errorf("call %d: %v", i, err)
				}
			})
		}
		calls.Wait()
		if d := time.Since(start); d > 3*patience.Least {
			t.Errorf("failover took %v, want about %v", d, patience.Least*3/2)
		}
		attempts := map[string]int{}
		for _, r := range c.Requests() {
			if r.Method == 2 {
				attempts[string(r.ID)]++
			}
		}
		if len(attempts) != 5 {
			t.Errorf("5 writes used %d request ids", len(attempts))
		}
		for id, n := range attempts {
			if n < 2 {
				t.Errorf("write %x was sent %d times, want a repetition", id, n)
			}
		}
		if conn.Endpoint() == dead || conn.Endpoint() == "" {
			t.Errorf("calls go to %q, want a living node", conn.Endpoint())
		}
	})
}

// Endpoints that do not answer cost a short while each, not a handshake timeout.
func TestDeadEndpointsAreSkipped(t *testing.T) {
	run(t, 3, always(scripted.Reply{}), func(c *cluster) {
		t := c.T
		c.Network.Silence(c.Endpoints[0])
		c.Network.Silence(c.Endpoints[1])
		conn := c.open(t)
		start := time.Now()
		if err := read(t.Context(), conn); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d > 2*happyeyeballs.Stagger+100*time.Millisecond {
			t.Errorf("the first call took %v, want at most two staggers of %v", d, happyeyeballs.Stagger)
		}
	})
}

// A path of 1,280 bytes of IP, as of many VPNs, loses longer packets without a word from
// the first one on: a client gets through, and so do long requests.
func TestNarrowPath(t *testing.T) {
	run(t, 1, always(scripted.Reply{}), func(c *cluster) {
		t := c.T
		c.Network.Largest = 1280 - 20 - 8
		if err := read(within(t, 5*time.Second), c.open(t)); err != nil {
			t.Error(err)
		}
	})
}

// A node that answers is waited for, though its handshake takes long: it has much to do,
// and the next node would have so too. One that dies in the middle is not waited for.
func TestNodeThatAnswersLateIsWaitedFor(t *testing.T) {
	run(t, 2, always(scripted.Reply{}), func(c *cluster) {
		t := c.T
		first, second := c.Endpoints[0], c.Endpoints[1]
		c.Slow[first] = 2 * time.Second
		options := c.options()
		options.InOrder = true
		conn, err := Dial(options)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if err := read(within(t, 10*time.Second), conn); err != nil {
			t.Fatal(err)
		}
		if conn.Endpoint() != first || c.Hellos[second] != 0 {
			t.Errorf("the client is at %s, and %d handshakes came to the second node; want it at %s, and none", conn.Endpoint(), c.Hellos[second], first)
		}
	})
	run(t, 2, always(scripted.Reply{}), func(c *cluster) {
		t := c.T
		first, second := c.Endpoints[0], c.Endpoints[1]
		c.Slow[first] = time.Hour
		options := c.options()
		options.InOrder = true
		conn, err := Dial(options)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		began := time.Now()
		if err := read(within(t, 10*time.Second), conn); err != nil || conn.Endpoint() != second {
			t.Fatalf("after %v the client is at %q: %v", time.Since(began), conn.Endpoint(), err)
		}
		if took := time.Since(began); took > happyeyeballs.Fresh+500*time.Millisecond {
			t.Errorf("it took %v to leave a node that died in the handshake, want %v", took, happyeyeballs.Fresh)
		}
		c.Mu.Lock()
		delete(c.Slow, first)
		c.Mu.Unlock()
	})
}

// With no node in reach a write was certainly not applied, and the error says
// whom it tried; when a node comes back, calls go on by themselves.
func TestNoNodeAnswers(t *testing.T) {
	run(t, 2, always(scripted.Reply{}), func(c *cluster) {
		t := c.T
		for _, e := range c.Endpoints {
			c.Network.Silence(e)
		}
		conn := c.open(t)
		err := write(within(t, 8*time.Second), conn)
		if !errors.Is(err, ErrUnavailable) && !Is(err, schemas.Code_deadlineExceeded) {
			t.Errorf("got %v, want UNAVAILABLE or DEADLINE_EXCEEDED: nothing was sent", err)
		}
		c.Network.Mu.Lock()
		clear(c.Network.Dark)
		c.Network.Mu.Unlock()
		if err := write(within(t, 20*time.Second), conn); err != nil {
			t.Errorf("after the nodes came back: %v", err)
		}
	})
}

// A node of another cluster is not talked to.
func TestForeignClusterIsRefused(t *testing.T) {
	run(t, 1, always(scripted.Reply{}), func(c *cluster) {
		t := c.T
		ca, err := tlsid.NewAuthority(tlsid.NewClusterID(), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if c.TLS, err = tlsid.ClientDialConfig(ca.CertificatePEM(), nil); err != nil {
			t.Fatal(err)
		}
		if err := write(within(t, time.Second), c.open(t)); !errors.Is(err, ErrUnavailable) || len(c.Requests()) != 0 {
			t.Errorf("got %v and %d requests, want UNAVAILABLE and none", err, len(c.Requests()))
		}
	})
}

// The seen index only grows, is sent with every call, and can be carried over.
func TestSeenIndex(t *testing.T) {
	replies := []scripted.Reply{{Index: 20}, {Index: 15}, {Code: schemas.Code_tokenMissing, Index: 30}}
	run(t, 1, first(replies...), func(c *cluster) {
		t := c.T
		conn := c.open(t)
		conn.Observe(10)
		for range 3 {
			_ = read(t.Context(), conn)
		}
		conn.Observe(5)
		_ = read(t.Context(), conn)
		for i, want := range []uint64{10, 20, 20, 30} {
			if got := c.Requests()[i].Seen; got != want {
				t.Errorf("call %d sent seen %d, want %d", i, got, want)
			}
		}
		if conn.Seen() != 30 {
			t.Errorf("seen is %d, want 30", conn.Seen())
		}
	})
}

// One node gets half of a call's time while there is another to ask, so that a
// node that is stuck does not use up all of it.
func TestStuckNodeLeavesTimeForAnother(t *testing.T) {
	var stuck string
	script := func(r scripted.Request) scripted.Reply {
		if stuck == "" || r.Node == stuck {
			stuck = r.Node
			return scripted.Reply{Endless: true}
		}
		return scripted.Reply{}
	}
	run(t, 2, script, func(c *cluster) {
		t := c.T
		if err := read(within(t, 10*time.Second), c.open(t)); err != nil {
			t.Fatal(err)
		}
		got := c.Requests()
		if len(got) != 2 || got[0].Timeout > 5*time.Second || got[0].Timeout < 4*time.Second {
			t.Errorf("got %+v, want a first attempt of 5 seconds and a second", got)
		}
	})
}

// Cancelling a call ends it at once, resets its stream on the node, and leaves
// the connection to others. A write that was on its way has an open outcome.
func TestCancel(t *testing.T) {
	run(t, 1, first(scripted.Reply{Endless: true}, scripted.Reply{Endless: true}), func(c *cluster) {
		t := c.T
		conn := c.open(t)
		for _, call := range []func(context.Context, *Conn) error{read, write} {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			start := time.Now()
			err := call(ctx, conn)
			if !errors.Is(err, context.Canceled) || time.Since(start) > time.Second {
				t.Errorf("got %v after %v, want it cancelled after a second", err, time.Since(start))
			}
		}
		endpoint := conn.Endpoint()
		if err := read(t.Context(), conn); err != nil || conn.Endpoint() != endpoint {
			t.Errorf("next call: %v at %q, want it at %q", err, conn.Endpoint(), endpoint)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		c.Mu.Lock()
		defer c.Mu.Unlock()
		if c.Resets != 2 {
			t.Errorf("the node saw %d resets, want 2", c.Resets)
		}
	})
}

// Calls share streams in turn; more calls than streams wait and are answered.
func TestManyCallsAtOnce(t *testing.T) {
	run(t, 1, always(scripted.Reply{Delay: 10 * time.Millisecond}), func(c *cluster) {
		t := c.T
		conn := c.open(t)
		var calls sync.WaitGroup
		for range 10 * maxStreams {
			calls.Go(func() {
				if err := read(t.Context(), conn); err != nil {
					t.Error(err)
				}
			})
		}
		calls.Wait()
		if n := len(conn.link.idle); n > maxStreams {
			t.Errorf("%d streams were opened, want at most %d", n, maxStreams)
		}
		time.Sleep(maxIdleStream)
		if err := read(t.Context(), conn); err != nil || len(conn.link.idle) != 1 {
			t.Errorf("after a long pause: %v, %d streams kept; want the old ones gone", err, len(conn.link.idle))
		}
	})
}

// A long call on a living node is waited for; its connection is kept alive.
func TestLongCall(t *testing.T) {
	run(t, 1, always(scripted.Reply{Delay: 55 * time.Second}), func(c *cluster) {
		t := c.T
		if err := read(within(t, time.Minute), c.open(t)); err != nil || len(c.Requests()) != 1 {
			t.Errorf("got %v after %d attempts, want one long one", err, len(c.Requests()))
		}
	})
}

// Close ends calls that are on their way; a closed Conn makes none.
func TestClose(t *testing.T) {
	run(t, 1, always(scripted.Reply{Endless: true}), func(c *cluster) {
		t := c.T
		conn := c.open(t)
		time.AfterFunc(time.Second, func() {
			if err := conn.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
		if err := write(within(t, time.Minute), conn); !errors.Is(err, ErrUnknownOutcome) {
			t.Errorf("the write that Close cut: got %v, want UNKNOWN_OUTCOME", err)
		}
		if err := write(t.Context(), conn); !errors.Is(err, ErrClosed) {
			t.Errorf("a write after Close: got %v, want %v", err, ErrClosed)
		}
		if err := conn.Close(); err != nil {
			t.Errorf("closing twice: %v", err)
		}
	})
}

// Options that can't work are refused with words, and the socket is closed.
func TestOpenRefuses(t *testing.T) {
	for name, o := range map[string]Options{
		"no endpoints":     {},
		"no port":          {Endpoints: []string{"example.org"}},
		"no host":          {Endpoints: []string{":4430"}},
		"no TLS":           {Endpoints: []string{"example.org:4430"}},
		"too many of them": {Endpoints: make([]string, maxEndpoints+1)},
	} {
		addr := &net.UDPAddr{IP: net.IPv4(10, 0, 2, 2), Port: 1}
		o.PacketConn = simnet.NewSimConn(addr, &scripted.Network{})
		if _, err := Dial(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if _, err := o.PacketConn.WriteTo(nil, addr); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: the socket is still open (%v)", name, err)
		}
	}
	if _, err := Dial(Options{Endpoints: []string{"example.org:4430"}}); err == nil {
		t.Error("accepted without a socket")
	}
}
