package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"quicproquo/cluster"
	"quicproquo/testcluster"
)

// Without a majority a write is refused as certainly not applied, and is
// indeed absent later.
func TestWithoutMajorityWritesAreUnavailable(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{})
	leader := c.LeaderT(t)
	alone := c.FollowersT(t)[0]
	for _, n := range c.Nodes() {
		if n != alone {
			if err := n.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	waitNoLeader(t, alone)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, _, err := alone.Engine().Propose(ctx, testcluster.EnqueueEntry(testcluster.Account(1), nil, []byte("lost")))
	if !errors.Is(err, cluster.ErrUnavailable) {
		t.Fatalf("got %v, want ErrUnavailable", err)
	}
	if err := leader.Start(); err != nil {
		t.Fatal(err)
	}
	_, index := write(t, alone, 1, nil, "found")
	if err := alone.Engine().WaitSeen(t.Context(), index); err != nil { // the leader's answer comes before its entry is applied here
		t.Fatal(err)
	}
	if got := bodies(t, alone, 1); len(got) != 1 || got[0] != "found" {
		t.Errorf("inbox %v, want [found]: a write refused as unavailable was applied", got)
	}
}

func waitNoLeader(t *testing.T, n *testcluster.Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), proposeTime)
	defer cancel()
	if err := testcluster.Await(ctx, "the loss of the leader", func() error {
		if l := n.Engine().Leader(); l != "" {
			return fmt.Errorf("%s still follows %s", n.ID(), l)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// A write that a leader took and could not commit before the deadline is
// UNKNOWN, never failed; repeating it with its id gives one effect.
func TestIsolatedLeaderReportsUnknownOutcome(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{})
	leader := c.LeaderT(t)
	followers := c.FollowersT(t)
	c.Partition([]*testcluster.Node{leader}, followers)
	id := []byte("fedcba9876543210")
	entry := testcluster.EnqueueEntry(testcluster.Account(5), id, []byte("maybe"))
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, _, err := leader.Engine().Propose(ctx, entry); !errors.Is(err, cluster.ErrUnknownOutcome) {
		t.Fatalf("isolated leader: got %v, want ErrUnknownOutcome", err)
	}
	write(t, followers[0], 5, nil, "meanwhile")
	c.Heal()
	write(t, leader, 5, id, "maybe")
	c.SameT(t)
	count := 0
	for _, b := range bodies(t, leader, 5) {
		if b == "maybe" {
			count++
		}
	}
	if count != 1 {
		t.Errorf("the repeated write had %d effects, want 1", count)
	}
}

// A linearizable read on any connected node sees every acknowledged write; on
// an isolated old leader it fails rather than answer from the past.
func TestLinearizeNeverAnswersFromThePast(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{})
	leader := c.LeaderT(t)
	for i := range 30 {
		write(t, c.Node(i%3), 9, nil, "x")
		reader := c.Node((i + 1) % 3)
		if err := reader.Engine().Linearize(t.Context()); err != nil {
			t.Fatalf("linearize on %s: %v", reader.ID(), err)
		}
		if got := bodies(t, reader, 9); len(got) != i+1 {
			t.Fatalf("%s shows %d envelopes after %d acknowledged writes", reader.ID(), len(got), i+1)
		}
	}
	followers := c.FollowersT(t)
	c.Partition([]*testcluster.Node{leader}, followers)
	write(t, followers[0], 9, nil, "new")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := leader.Engine().Linearize(ctx); err == nil {
		t.Error("the isolated old leader confirmed a read that misses an acknowledged write")
	}
	if err := followers[1].Engine().Linearize(t.Context()); err != nil {
		t.Errorf("a node on the majority's side: %v", err)
	}
}
