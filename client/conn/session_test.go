package conn

import (
	"context"
	"crypto/ed25519"
	"errors"
	"sync"
	"testing"
	"time"

	"quicproquo/client/internal/scripted"
	"quicproquo/crypto/account"
	"quicproquo/schemas"
)

func newSession(b byte) *Session {
	seed := make([]byte, ed25519.SeedSize)
	seed[0] = b
	return &Session{Token: account.Token{b}, Account: AccountKey{b}, Key: ed25519.NewKeyFromSeed(seed)}
}

// ask is a call that needs a session.
func ask(ctx context.Context, c *Conn) error {
	_, err := c.ResolveIdentity(ctx, AccountKey{})
	return err
}

// Many calls at once on a new connection wait for one binding, and all go after
// it.
func TestSessionIsBoundOnceForEachConnection(t *testing.T) {
	run(t, 1, func(r scripted.Request) scripted.Reply {
		if r.Method == methodBindSession {
			return scripted.Reply{Delay: 100 * time.Millisecond}
		}
		return scripted.Reply{}
	}, func(c *cluster) {
		t := c.T
		conn := c.open(t)
		conn.SetSession(newSession(1))
		var calls sync.WaitGroup
		for range 20 {
			calls.Go(func() {
				if err := ask(within(t, 10*time.Second), conn); err != nil {
					t.Error(err)
				}
			})
		}
		calls.Wait()
		got := c.Methods()
		if len(got) != 21 || got[0] != methodBindSession || scripted.Count(got, methodBindSession) != 1 {
			t.Errorf("requests were %v, want one binding and then 20 calls", got)
		}
	})
}

// A call that needs no session does not wait for a binding.
func TestOpenCallsBindNothing(t *testing.T) {
	run(t, 1, always(scripted.Reply{}), func(c *cluster) {
		conn := c.open(c.T)
		conn.SetSession(newSession(1))
		if err := read(within(c.T, 10*time.Second), conn); err != nil {
			c.T.Error(err)
		}
		if got := c.Methods(); scripted.Count(got, methodBindSession) != 0 {
			c.T.Errorf("requests were %v", got)
		}
	})
}

// The next connection is bound anew, be the last one dead in the middle of a call
// or of the binding.
func TestNextConnectionIsBoundAnew(t *testing.T) {
	for what, method := range map[string]uint16{"in a call": methodResolveIdentity, "in the binding": methodBindSession} {
		t.Run(what, func(t *testing.T) {
			dead := false
			run(t, 2, func(r scripted.Request) scripted.Reply {
				if r.Method == method && !dead {
					dead = true
					return scripted.Reply{HangUp: true}
				}
				return scripted.Reply{}
			}, func(c *cluster) {
				t := c.T
				conn := c.open(t)
				conn.SetSession(newSession(1))
				if err := ask(within(t, 10*time.Second), conn); err != nil {
					t.Fatal(err)
				}
				got := c.Methods()
				if scripted.Count(got, methodBindSession) != 2 || got[len(got)-2] != methodBindSession || got[len(got)-1] != methodResolveIdentity {
					t.Errorf("requests were %v, want a binding on each connection, before the call", got)
				}
			})
		})
	}
}

// A session that the cluster refuses is reported as the cluster says, at once,
// and the call is not sent.
func TestRefusedSessionIsReported(t *testing.T) {
	for _, code := range []schemas.Code{schemas.Code_tokenInvalid, schemas.Code_tokenExpired, schemas.Code_signatureInvalid} {
		run(t, 2, always(scripted.Reply{Code: code}), func(c *cluster) {
			conn := c.open(c.T)
			conn.SetSession(newSession(1))
			if err := ask(within(c.T, 10*time.Second), conn); !Is(err, code) {
				c.T.Errorf("got %v, want %s", err, code)
			}
			if got := c.Methods(); len(got) != 1 || got[0] != methodBindSession {
				c.T.Errorf("requests were %v, want one binding", got)
			}
		})
	}
}

// A node that can't bind now sends the call to another one.
func TestBindingMovesOn(t *testing.T) {
	run(t, 2, first(scripted.Reply{Code: schemas.Code_unavailable}), func(c *cluster) {
		conn := c.open(c.T)
		conn.SetSession(newSession(1))
		if err := ask(within(c.T, 10*time.Second), conn); err != nil {
			c.T.Error(err)
		}
		got := c.Requests()
		if len(got) != 3 || got[0].Node == got[1].Node {
			c.T.Errorf("requests were %+v", got)
		}
	})
}

// A Conn that becomes somebody else does so on another connection, and a write
// that was never sent has no open outcome.
func TestSetSessionTakesAnotherConnection(t *testing.T) {
	run(t, 1, always(scripted.Reply{}), func(c *cluster) {
		t := c.T
		conn := c.open(t)
		if err := ask(within(t, time.Second), conn); !errors.Is(err, ErrTokenMissing) {
			t.Errorf("as nobody: %v", err)
		}
		for i := range byte(3) {
			conn.SetSession(newSession(i))
			for range 2 {
				if err := ask(within(t, 10*time.Second), conn); err != nil {
					t.Fatal(err)
				}
			}
		}
		got := c.Methods()
		if scripted.Count(got, methodBindSession) != 3 || len(got) != 9 {
			t.Errorf("requests were %v, want a binding and two calls for each of three sessions", got)
		}
		conn.SetSession(nil)
		if err := conn.RevokeDevice(within(t, time.Second), DeviceID{}, nil); !errors.Is(err, ErrTokenMissing) {
			t.Errorf("as nobody again: %v", err)
		}
	})
}

// Sessions that change while calls run: every call ends, as whom it began or with
// the word that its session was replaced.
func TestSessionsChangeUnderCalls(t *testing.T) {
	run(t, 1, func(scripted.Request) scripted.Reply { return scripted.Reply{Delay: 3 * time.Millisecond} }, func(c *cluster) {
		t := c.T
		conn := c.open(t)
		conn.SetSession(newSession(0))
		var calls sync.WaitGroup
		for range 8 {
			calls.Go(func() {
				for range 20 {
					if err := ask(within(t, 20*time.Second), conn); err != nil && !errors.Is(err, ErrSessionReplaced) {
						t.Error(err)
					}
				}
			})
		}
		for i := range byte(10) {
			time.Sleep(20 * time.Millisecond)
			conn.SetSession(newSession(i + 1))
		}
		calls.Wait()
		if err := ask(within(t, 10*time.Second), conn); err != nil {
			t.Errorf("at the end: %v", err)
		}
	})
}

// A session without a key is not bound; only a call that is larger than what a
// node takes from strangers makes it known before.
func TestBearerSessionsIntroduceLargeCalls(t *testing.T) {
	run(t, 1, always(scripted.Reply{}), func(c *cluster) {
		t := c.T
		conn := c.open(t)
		conn.SetSession(&Session{Token: account.Token{1}})
		send := func(size int) {
			t.Helper()
			err := CallAs(within(t, 10*time.Second), conn, Request{Method: 2, Write: true}, schemas.NewEnqueueParams,
				func(p schemas.EnqueueParams) error { return p.SetPayload(make([]byte, size)) },
				func(schemas.EnqueueResults) error { return nil })
			if err != nil {
				t.Fatal(err)
			}
		}
		send(100)
		send(100 << 10)
		send(100 << 10)
		want := []uint16{2, methodWhoami, 2, 2}
		got := c.Methods()
		if len(got) != len(want) || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
			t.Errorf("requests were %v, want %v", got, want)
		}
	})
}
