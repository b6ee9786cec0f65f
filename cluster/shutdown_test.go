package cluster_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quicproquo/cluster"
	"quicproquo/testcluster"
)

// A node that goes answers every proposal that it holds, long before their
// deadlines, and closes. hashicorp/raft never answers what is in its buffer of
// proposals (BatchApplyCh) when it shuts down: with the buffer on, this hangs.
func TestShutdownAnswersEveryProposal(t *testing.T) {
	const (
		writers = 64
		lanes   = 32 // each with a raft entry of its own
		rounds  = 5
		late    = 10 * time.Second
	)
	for range rounds {
		c := testcluster.StartT(t, testcluster.Options{
			Nodes:    1,
			Batching: cluster.Batching{Entries: 1, Bytes: 1 << 20, InFlight: lanes, ForwardLanes: 1},
		})
		n := c.LeaderT(t)
		engine := n.Engine()
		// A failing test must end: the proposals that hang give up then.
		ctx, cancel := context.WithTimeout(t.Context(), 4*late)
		var acked atomic.Int64
		var open sync.WaitGroup
		for w := range writers {
			open.Go(func() {
				for {
					entry := testcluster.EnqueueEntry(testcluster.Account(w), nil, []byte("x"))
					if _, _, err := engine.Propose(ctx, entry); err != nil {
						return
					}
					acked.Add(1)
				}
			})
		}
		if err := testcluster.Await(ctx, "load", func() error {
			if acked.Load() < writers {
				return context.DeadlineExceeded
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		closed, answered := make(chan error, 1), make(chan struct{})
		go func() { closed <- n.Kill() }()
		go func() { open.Wait(); close(answered) }()
		tooLate, stop := context.WithTimeout(context.Background(), late)
		select {
		case <-answered:
		case <-tooLate.Done():
			t.Error("proposals are left without an answer")
		}
		select {
		case err := <-closed:
			if err != nil {
				t.Errorf("close: %v", err)
			}
		case <-tooLate.Done():
			t.Fatal("the node does not close")
		}
		stop()
		cancel()
	}
}
