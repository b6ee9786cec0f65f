package rpc

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"quicproquo/schemas"
)

// The node answers when it has applied what the caller has seen, says that it
// lags when that takes too long, and that the caller is on another planet when
// the leader never wrote so much. All on fake time.
func TestSeenIndex(t *testing.T) {
	const forever = 100 * time.Hour
	leader := func(index uint64, n *fakeNode) func(context.Context) error {
		return func(context.Context) error { n.apply(max(n.Index(), index)); return nil }
	}
	noLeader := func(*fakeNode) func(context.Context) error {
		return func(context.Context) error { return errors.New("no leader") }
	}
	for _, c := range []struct {
		name      string
		seen      uint64
		linear    bool
		applies   time.Duration // when the node gets to index 20
		linearize func(*fakeNode) func(context.Context) error
		want      schemas.Code
		index     uint64
		after     time.Duration
	}{
		{"nothing seen", 0, false, forever, noLeader, schemas.Code_ok, 10, 0},
		{"just there", 10, false, forever, noLeader, schemas.Code_ok, 10, 0},
		{"soon there", 20, false, 300 * time.Millisecond, noLeader, schemas.Code_ok, 20, 300 * time.Millisecond},
		{"there at last, without a leader", 20, false, 3 * time.Second, noLeader, schemas.Code_ok, 20, 3 * time.Second},
		{"too slow", 20, false, forever, noLeader, schemas.Code_lagging, 10, 5 * time.Second},
		{
			"the leader brings the node there", 20, false, forever,
			func(n *fakeNode) func(context.Context) error { return leader(25, n) },
			schemas.Code_ok, 25, seenPatience,
		},
		{
			"nobody ever wrote that", 20, false, forever,
			func(n *fakeNode) func(context.Context) error { return leader(19, n) },
			schemas.Code_seenTooFarAhead, 19, seenPatience,
		},
		{
			"absurd, and the leader says so at once", 1 << 60, false, forever,
			func(n *fakeNode) func(context.Context) error { return leader(19, n) },
			schemas.Code_seenTooFarAhead, 19, 0,
		},
		{"absurd, and no leader to ask", 1 << 60, false, forever, noLeader, schemas.Code_lagging, 10, 5 * time.Second},
		{
			"linearizable", 0, true, forever,
			func(n *fakeNode) func(context.Context) error { return leader(30, n) },
			schemas.Code_ok, 30, 0,
		},
		{
			"linearizable without a leader", 0, true, forever,
			func(*fakeNode) func(context.Context) error {
				return func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
			},
			schemas.Code_deadlineExceeded, 10, 5 * time.Second,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				node := newFakeNode(10)
				node.linearize = c.linearize(node)
				timer := time.AfterFunc(c.applies, func() { node.apply(20) })
				defer timer.Stop()
				start := time.Now()
				s := newFakeStream(frameOf(t, healthMethod, func(r schemas.Request) {
					r.SetSeen(c.seen)
					r.SetLinearizable(c.linear)
					r.SetTimeoutMs(5000)
				}))
				newConn(NewServer(node, Options{}), quiet()).serveStream(s)
				got := s.answers(t)
				if len(got) != 1 || got[0].code != c.want || got[0].index != c.index {
					t.Fatalf("got %+v, want one answer with %s at index %d", got, c.want.ID(), c.index)
				}
				if d := time.Since(start); d != c.after {
					t.Errorf("answered after %v, want %v", d, c.after)
				}
			})
		})
	}
}
