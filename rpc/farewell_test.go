package rpc

import (
	"crypto/sha256"
	"testing"
	"testing/synctest"
	"time"

	"quicproquo/schemas"
)

// A connection has the limits of one with a session only while its session lives: turns,
// streams and memory are a stranger's again when it ends, whether a call shows the token
// or not, and also if calls run meanwhile. Another session gives them back. On fake time.
func TestLimitsEndWithTheSession(t *testing.T) {
	for _, c := range []struct {
		name string
		ends func(*world, *conn)
	}{
		{"logged out, and the token is shown", func(w *world, c *conn) {
			w.closeSession()
			one := newCall(c, newFakeStream(nil))
			defer one.release()
			if err := one.identify(sha256.Sum256(w.onPhone), nil); err == nil {
				w.tb.Error("an ended session is taken")
			}
		}},
		{"logged out, and something small is asked a second later", func(w *world, c *conn) {
			w.closeSession()
			time.Sleep(revouchEvery)
			c.serveStream(newFakeStream(healthFrame(w.tb)))
		}},
		{"logged out, and something large comes at once", func(w *world, c *conn) {
			w.closeSession()
			c.serveStream(newFakeStream(frameOf(w.tb, healthMethod, func(r schemas.Request) {
				must(w.tb, r.SetRequestId(make([]byte, 65<<10)))
			})))
		}},
		{"it has expired", func(w *world, c *conn) {
			w.node.setSkew(40 * 365 * 24 * time.Hour) // fake time begins in 2000
			w.node.set(w.tb, "session_ttl_secs", 300) // an entry: log time moves
			time.Sleep(revouchEvery)
			c.serveStream(newFakeStream(healthFrame(w.tb)))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			synctest.Test(t, func(t *testing.T) {
				conn := newConn(w.server, quiet())
				limits := &w.server.limits
				s := newFakeStream(nil)
				if !conn.add(s) {
					t.Fatal("a stream is refused")
				}
				defer conn.remove(s)
				conn.welcome(&caller{account: w.alice.key, token: sha256.Sum256(w.onPhone)})
				for range 7 { // calls that run, more than a stranger may
					must(t, conn.takeTurn(s))
				}
				if conn.requests() != w.server.memory || w.server.strangers.count() != 0 || len(conn.turns) != limits.BoundCalls-7 {
					t.Fatal("the connection has not the limits of one with a session")
				}
				conn.serveStream(newFakeStream(healthFrame(t)))
				if conn.vouch.Load() == nil {
					t.Error("a session that lives gives no limits")
				}
				c.ends(w, conn)
				for range 7 {
					conn.giveTurn()
				}
				if conn.requests() != w.server.strange || conn.account() != nil {
					t.Error("its requests draw on the memory of those with a session")
				}
				if n := len(conn.turns); n != limits.OpenCalls {
					t.Errorf("%d calls may run at once, want %d", n, limits.OpenCalls)
				}
				if n := w.server.strangers.count(); n != 1 {
					t.Errorf("%d streams count as strangers', want 1", n)
				}
				conn.welcome(&caller{account: w.alice.key, token: sha256.Sum256(w.onDesk)})
				if len(conn.turns) != limits.BoundCalls || w.server.strangers.count() != 0 {
					t.Errorf("another session: %d turns, %d streams of strangers", len(conn.turns), w.server.strangers.count())
				}
			})
		})
	}
}

// closeSession ends alice's session on her phone.
func (w *world) closeSession() {
	w.tb.Helper()
	w.node.run(w.tb, w.alice.caller(), func(c schemas.Entry_command) error {
		s, err := c.NewCloseSessions()
		must(w.tb, err)
		hash := sha256.Sum256(w.onPhone)
		return s.SetTokenHash(hash[:])
	})
}
