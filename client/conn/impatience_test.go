package conn

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go/testutils/simnet"

	"quicproquo/client/internal/scripted"
	"quicproquo/client/internal/turnstile"
	"quicproquo/schemas"
)

// hush makes a node silent for a while.
func (c *cluster) hush(node string, d time.Duration) {
	c.Network.Silence(node)
	time.AfterFunc(d, func() {
		c.Network.Mu.Lock()
		defer c.Network.Mu.Unlock()
		delete(c.Network.Dark, node)
	})
}

// A client that has left a node in vain is more patient the next time.
func TestPatienceGrowsInVain(t *testing.T) {
	var c *cluster
	script := func(r scripted.Request) scripted.Reply {
		c.hush(r.Node, 1700*time.Millisecond)
		return scripted.Reply{}
	}
	run(t, 1, script, func(of *cluster) {
		c = of
		if err := read(within(c.T, 10*time.Second), c.open(c.T)); err != nil {
			c.T.Error(err)
		}
		if n := c.Hellos[c.Endpoints[0]]; n != 2 {
			c.T.Errorf("a node that is silent for 1.7 s after each request was dialed %d times, want twice", n)
		}
	})
}

// A client that knows that answers take long is patient from the beginning: it makes no
// new connection.
func TestPatienceIsLearned(t *testing.T) {
	for name, learn := range map[string]func(*cluster, *Conn){
		"by late acknowledgements": func(c *cluster, conn *Conn) {
			c.Delay = 3 * time.Second
			for i := range 20 {
				c.hush(c.Endpoints[0], time.Duration(i%2)*700*time.Millisecond)
				if err := read(within(c.T, 10*time.Second), conn); err != nil {
					c.T.Fatal(err)
				}
			}
			c.Delay = 0
		},
		"by late answers": func(c *cluster, conn *Conn) {
			for i := range 20 {
				c.hush(c.Endpoints[0], time.Duration(i%2)*700*time.Millisecond)
				if err := read(within(c.T, 10*time.Second), conn); err != nil {
					c.T.Fatal(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, 1, always(scripted.Reply{}), func(c *cluster) {
				t := c.T
				node := c.Endpoints[0]
				conn := c.open(t)
				if err := read(within(t, 10*time.Second), conn); err != nil {
					t.Fatal(err)
				}
				learn(c, conn)
				before := c.Hellos[node]
				c.hush(node, 1300*time.Millisecond)
				if err := read(within(t, 10*time.Second), conn); err != nil {
					t.Error(err)
				}
				if c.Hellos[node] != before {
					t.Errorf("a client that has learned made a new connection when nothing came for 1.3 s, with a patience of %v", conn.patience.With(0))
				}
			})
		})
	}
}

// The time that a call waits for something is no answer time: who waits for messages is
// as quick to leave a dead node as others.
func TestWaitingIsNoAnswerTime(t *testing.T) {
	short := false
	script := func(scripted.Request) scripted.Reply {
		if short = !short; short {
			return scripted.Reply{}
		}
		return scripted.Reply{Delay: 480 * time.Millisecond}
	}
	run(t, 1, script, func(c *cluster) {
		t := c.T
		conn := c.open(t)
		for range 50 {
			err := Call(within(t, 10*time.Second), conn, Request{Method: methodFetchWait}, schemas.NewFetchWaitParams, nil,
				func(schemas.FetchResults) error { return nil })
			if err != nil {
				t.Fatal(err)
			}
		}
		if got := conn.patience.With(0); got != time.Second {
			t.Errorf("the patience is %v, want a second", got)
		}
	})
}

// A client that comes back to a node resumes its TLS session, so that neither has to sign
// or verify, and goes on as well as before.
func TestComingBackResumes(t *testing.T) {
	run(t, 1, first(scripted.Reply{}, scripted.Reply{HangUp: true}), func(c *cluster) {
		t := c.T
		conn := c.open(t)
		for i, want := range []bool{false, true} {
			if err := read(within(t, 10*time.Second), conn); err != nil {
				t.Fatal(err)
			}
			if got := conn.link.conn.ConnectionState(); got.TLS.DidResume != want || got.Used0RTT {
				t.Errorf("connection %d resumed: %t, with 0-RTT: %t; want %t, and never that", i+1, got.TLS.DidResume, got.Used0RTT, want)
			}
		}
	})
}

// The Conns of a process make a few handshakes at a time, whoever of them comes first,
// and all of them are served.
func TestDialersTakeTurns(t *testing.T) {
	run(t, 1, always(scripted.Reply{}), func(c *cluster) {
		t := c.T
		node := c.Endpoints[0]
		c.Slow[node] = 100 * time.Millisecond
		gate := turnstile.New(8, time.Minute, time.Minute)
		var all sync.WaitGroup
		for i := range 40 {
			options := c.options()
			addr := &net.UDPAddr{IP: net.IPv4(10, 0, 1, byte(2+i)), Port: 5000}
			socket := simnet.NewSimConn(addr, c.Network)
			c.Network.AddNode(addr, socket)
			options.PacketConn = socket
			conn, err := Dial(options)
			if err != nil {
				t.Fatal(err)
			}
			conn.dialers = gate
			t.Cleanup(func() { _ = conn.Close() })
			all.Go(func() {
				if err := read(within(t, time.Minute), conn); err != nil {
					t.Error(fmt.Errorf("conn %d: %w", i, err))
				}
			})
		}
		time.Sleep(110 * time.Millisecond)
		c.Mu.Lock()
		if n := c.Hellos[node]; n > 8 {
			t.Errorf("%d handshakes were begun at once, want 8", n)
		}
		c.Mu.Unlock()
		all.Wait()
		if c.Hellos[node] != 40 {
			t.Errorf("%d handshakes for 40 connections", c.Hellos[node])
		}
	})
}

// Every Conn of a process is in the same turnstile.
func TestDialersAreTheProcesss(t *testing.T) {
	run(t, 1, always(scripted.Reply{}), func(c *cluster) {
		one, other := c.open(c.T), c.open(c.T)
		if one.dialers == nil || one.dialers != other.dialers {
			c.T.Error("two connections have two turnstiles")
		}
	})
}

// A client whose translator gives it another port, or that is in another network, goes on
// within two seconds of its next call: on the connection that it has, or, where it moves
// more often than a node follows, on another.
func TestClientThatMoves(t *testing.T) {
	for name, to := range map[string]*net.UDPAddr{
		"another port":    {IP: net.IPv4(10, 0, 1, 1), Port: 5999},
		"another network": {IP: net.IPv4(172, 16, 0, 9), Port: 40001},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, 1, always(scripted.Reply{}), func(c *cluster) {
				t := c.T
				conn := c.open(t)
				if err := read(within(t, 10*time.Second), conn); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				for i := range 3 {
					c.Network.Move("10.0.1.1:5000", &net.UDPAddr{IP: to.IP, Port: to.Port + i})
					began := time.Now()
					if err := write(within(t, 10*time.Second), conn); err != nil {
						t.Fatal(err)
					}
					if took := time.Since(began); took > 2*time.Second {
						t.Errorf("after its move number %d the client was served after %v", i+1, took)
					}
					if n := c.Hellos[c.Endpoints[0]]; i < 2 && n != 1 {
						t.Errorf("after its move number %d the client has made %d handshakes, want that it keeps its connection", i+1, n)
					}
				}
			})
		})
	}
}

// A node that refuses a request before it has read it says why, and the client hears it
// though it could not write to the end.
func TestRefusedBeforeItWasRead(t *testing.T) {
	run(t, 1, always(scripted.Reply{}), func(c *cluster) {
		c.Takes = 64 << 10
		err := Call(within(c.T, 10*time.Second), c.open(c.T), Request{Method: 2, Write: true}, schemas.NewEnqueueParams,
			func(p schemas.EnqueueParams) error { return p.SetPayload(make([]byte, 900<<10)) },
			func(schemas.EnqueueResults) error { return nil })
		if !Is(err, schemas.Code_messageTooLarge) {
			c.T.Errorf("got %v, want the node's own refusal", err)
		}
	})
}

// A stream that ends in peace before an answer has taken no request; one that breaks off in
// the middle of an answer may have.
func TestStreamThatEndsInPeace(t *testing.T) {
	for name, tt := range map[string]struct {
		reply   scripted.Reply
		certain bool
	}{
		"in peace":                   {scripted.Reply{End: true}, true},
		"in the middle of an answer": {scripted.Reply{Raw: []byte{0, 0, 0}}, false},
		"reset":                      {scripted.Reply{Reset: true}, false},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, 1, always(tt.reply), func(c *cluster) {
				err := write(within(c.T, 2*time.Second), c.open(c.T))
				if err == nil || errors.Is(err, ErrUnknownOutcome) == tt.certain {
					c.T.Errorf("got %v, want an error, and certain that nothing was applied: %t", err, tt.certain)
				}
			})
		})
	}
}

// A session says to the next connection what a node must have seen to know it.
func TestSessionCarriesWhatWasSeen(t *testing.T) {
	run(t, 1, always(scripted.Reply{}), func(c *cluster) {
		conn := c.open(c.T)
		conn.SetSession(&Session{Seen: 77})
		if err := read(within(c.T, 10*time.Second), conn); err != nil {
			c.T.Fatal(err)
		}
		if got := c.Requests()[0].Seen; got != 77 {
			c.T.Errorf("the first call of a session that index 77 has made asks for index %d", got)
		}
	})
}
