package conn

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"quicproquo/client/internal/scripted"
	"quicproquo/schemas"
)

// A node that says that its answer reflects what the cluster never wrote stops nobody:
// the next that knows better is believed, at once, and from then on each node is asked
// once for all that was acknowledged, so that what was written is read.
func TestIndexThatNeverWasIsCorrected(t *testing.T) {
	beyond := func(r scripted.Request) scripted.Reply {
		return scripted.Reply{Code: schemas.Code_seenTooFarAhead, Value: 50, Index: 50}
	}
	honest := func(r scripted.Request) scripted.Reply {
		if r.Seen > 50 {
			return beyond(r)
		}
		return scripted.Reply{Index: 50}
	}
	for name, call := range map[string]func(context.Context, *Conn) error{"read": read, "write": write} {
		t.Run(name, func(t *testing.T) {
			lies := true
			run(t, 1, func(r scripted.Request) scripted.Reply {
				if lies {
					lies = false
					return scripted.Reply{Index: 1_000_000_000}
				}
				return honest(r)
			}, func(c *cluster) {
				t := c.T
				conn := c.open(t)
				began := time.Now()
				for range 3 {
					if err := call(within(t, 10*time.Second), conn); err != nil {
						t.Fatal(err)
					}
				}
				got := c.Requests()
				want := []scripted.Request{{Seen: 0}, {Seen: 1_000_000_000}, {Seen: 50, Linearizable: true}, {Seen: 50}}
				if len(got) != len(want) {
					t.Fatalf("%d requests, want %d", len(got), len(want))
				}
				for i, w := range want {
					if got[i].Seen != w.Seen || got[i].Linearizable != w.Linearizable {
						t.Errorf("request %d said %d, linearizable %v; want %d, %v", i, got[i].Seen, got[i].Linearizable, w.Seen, w.Linearizable)
					}
				}
				if took := time.Since(began); took > time.Second {
					t.Errorf("it took %v", took)
				}
				if conn.Seen() != 50 || conn.Corrections() != 1 {
					t.Errorf("seen is %d after %d corrections, want 50 after 1", conn.Seen(), conn.Corrections())
				}
			})
		})
	}
}

// Every node is asked linearizably once after a correction, whatever another has
// answered: a liar that has the index lowered gains nothing at the honest.
func TestEachNodeIsAskedAnewAfterACorrection(t *testing.T) {
	lowered := false
	run(t, 2, func(r scripted.Request) scripted.Reply {
		if r.Seen == 50 && !lowered { // a lie: it was written
			lowered = true
			return scripted.Reply{Code: schemas.Code_seenTooFarAhead}
		}
		return scripted.Reply{Index: 50}
	}, func(c *cluster) {
		t := c.T
		a, b := c.Endpoints[0], c.Endpoints[1]
		options := c.options(a, b)
		options.InOrder = true
		conn, err := Dial(options)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		for range 3 { // the second is told that 50 never was
			if err := read(within(t, 10*time.Second), conn); err != nil {
				t.Fatal(err)
			}
		}
		c.Network.Silence(a)
		for range 2 {
			if err := read(within(t, 20*time.Second), conn); err != nil {
				t.Fatal(err)
			}
		}
		var linear []bool
		for _, r := range c.Requests() {
			if r.Node == b {
				linear = append(linear, r.Linearizable)
			}
		}
		if len(linear) != 2 || !linear[0] || linear[1] {
			t.Errorf("the other node was asked linearizably: %v, want the first time only", linear)
		}
	})
}

// Where the refusal makes no sense, or the program wants to know, it is reported.
func TestIndexThatIsKept(t *testing.T) {
	for name, c := range map[string]struct {
		value uint64
		keep  bool
		calls int
	}{
		"the node has more than was asked for": {100, false, 1},
		"the program tests a cluster":          {50, true, 1},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, 1, always(scripted.Reply{Code: schemas.Code_seenTooFarAhead, Value: c.value}), func(cl *cluster) {
				t := cl.T
				options := cl.options()
				options.KeepSeen = c.keep
				conn, err := Dial(options)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = conn.Close() }()
				conn.Observe(100)
				err = read(within(t, 10*time.Second), conn)
				if !Is(err, schemas.Code_seenTooFarAhead) || len(cl.Requests()) != c.calls || conn.Seen() != 100 {
					t.Errorf("got %v after %d calls, seen %d; want E049 after %d, 100", err, len(cl.Requests()), conn.Seen(), c.calls)
				}
			})
		})
	}
}

// A node that refuses everything so does not keep a call for longer than it has.
func TestRefusedIndexTakesNoLongerThanTheCall(t *testing.T) {
	n := uint64(1_000_000)
	run(t, 1, func(r scripted.Request) scripted.Reply {
		n--
		return scripted.Reply{Code: schemas.Code_seenTooFarAhead, Value: n - 1, Index: n}
	}, func(c *cluster) {
		t := c.T
		conn := c.open(t)
		conn.Observe(n)
		began := time.Now()
		err := write(within(t, 3*time.Second), conn)
		if !Is(err, schemas.Code_seenTooFarAhead) || time.Since(began) > 4*time.Second {
			t.Errorf("got %v after %v, want E049 within the call's time", err, time.Since(began))
		}
		if calls := len(c.Requests()); calls > 20 {
			t.Errorf("%d calls in three seconds, want pauses between them", calls)
		}
	})
}

// What no log can come to is not believed at all.
func TestAbsurdIndex(t *testing.T) {
	run(t, 1, first(scripted.Reply{Index: math.MaxInt64 + 1}, scripted.Reply{Index: math.MaxUint64}, scripted.Reply{Index: 7}), func(c *cluster) {
		t := c.T
		conn := c.open(t)
		for range 3 {
			if err := read(within(t, time.Second), conn); err != nil {
				t.Fatal(err)
			}
		}
		if conn.Seen() != 7 {
			t.Errorf("seen is %d, want 7", conn.Seen())
		}
	})
	seg := func() (e schemas.Envelope) {
		_, s := schemas.NewMessage()
		e, err := schemas.NewRootEnvelope(s)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}()
	seg.SetSeq(math.MaxInt64 + 1)
	var e Envelope
	if err := e.read(seg); !errors.Is(err, ErrResponse) {
		t.Errorf("an envelope of the number 2^63 is read (%v), want a refusal: no vault can keep it", err)
	}
}

// A node that can't serve is avoided for a minute at most, whatever it asks for: who
// knows no other would wait for weeks.
func TestRefusalElsewhereIsBounded(t *testing.T) {
	h := history{request: &Request{}}
	next := h.judge(outcome{err: &Error{Code: schemas.Code_unavailable, RetryAfter: 49 * 24 * time.Hour}}, time.Hour)
	if next.stop || !next.elsewhere || next.pause != maxElsewhere {
		t.Errorf("what follows is %+v, want another node after %v", next, maxElsewhere)
	}
}
