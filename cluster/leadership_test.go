package cluster

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// A leader that gives leadership away as soon as it has it refuses barriers all the
// while, at once: repeating them must leave raft the processor, and a simulation its
// time.
func TestBarrierRefusedDuringHandover(t *testing.T) {
	for _, c := range []struct {
		name string
		then error // when a second is over
		want bool
	}{
		{"the handover fails", nil, true},
		{"another leads", raft.ErrNotLeader, false},
		{"another leads, and the barrier was under way", raft.ErrLeadershipLost, false},
		{"the node closes", raft.ErrRaftShutdown, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const most = 1000
				calls, end := 0, time.Now().Add(time.Second)
				barrier := func() error {
					if calls++; calls > most {
						t.Fatalf("%d barriers in %v", calls, time.Second-time.Until(end))
					}
					if time.Now().Before(end) {
						return raft.ErrLeadershipTransferInProgress
					}
					return c.then
				}
				if got := awaitBarrier(t.Context(), barrier, slog.New(slog.DiscardHandler)); got != c.want {
					t.Errorf("got %v, want %v", got, c.want)
				}
			})
		})
	}
}

// The end of the term ends the waiting.
func TestBarrierEndsWithItsTerm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		refused := func() error { return raft.ErrLeadershipTransferInProgress }
		if awaitBarrier(ctx, refused, slog.New(slog.DiscardHandler)) {
			t.Error("a barrier that was always refused holds")
		}
	})
}
