package cluster_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"quicproquo/cluster"
	"quicproquo/testcluster"
)

// AddMember of a known id at a new address is a move, on whichever node it is called: who
// votes goes on to vote, and every node has the address. Another member's address is
// refused, and so is what is none. The member itself knows best where it is: when it is
// back, raft's configuration follows its word.
func TestAddMemberAtANewAddressIsAMove(t *testing.T) {
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{})
	leader, followers := c.LeaderT(t), c.FollowersT(t)
	moved, other := followers[0], followers[1]
	if err := moved.Kill(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	const elsewhere = "127.0.0.1:1"
	if err := other.Engine().AddMember(ctx, moved.ID(), elsewhere); err != nil {
		t.Fatalf("a move: %v", err)
	}
	for _, n := range []*testcluster.Node{leader, other} {
		awaitMember(ctx, t, n, cluster.Member{ID: moved.ID(), Address: elsewhere, Voter: true})
	}
	for address, want := range map[string]error{leader.Address(): cluster.ErrMemberExists, "nonsense": cluster.ErrBadEntry} {
		if err := other.Engine().AddMember(ctx, moved.ID(), address); !errors.Is(err, want) {
			t.Errorf("a move to %s: %v, want %v", address, err, want)
		}
	}
	if err := moved.Start(); err != nil {
		t.Fatal(err)
	}
	for _, n := range c.Nodes() {
		awaitMember(ctx, t, n, cluster.Member{ID: moved.ID(), Address: moved.Address(), Voter: true})
	}
}

// awaitMember waits until a node has a member so.
func awaitMember(ctx context.Context, t *testing.T, n *testcluster.Node, want cluster.Member) {
	t.Helper()
	for {
		have := n.Engine().Members()
		if slices.Contains(have, want) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s has the members %v, want %v among them", n.ID(), have, want)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
