package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quicproquo/cluster"
	"quicproquo/testcluster"
)

// A wiped node is whole again through a snapshot while writes go on.
func TestWipedNodeComesBackBySnapshot(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{
		Snapshot: cluster.SnapshotPolicy{Interval: time.Second, Threshold: 1 << 40, Trailing: 16},
	})
	c.LeaderT(t)
	victim := c.FollowersT(t)[0]
	var others []*testcluster.Node
	for _, n := range c.Nodes() {
		if n != victim {
			others = append(others, n)
		}
	}
	l := startLoad(t, others, 4)
	l.await(t, 200)
	if err := victim.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := victim.Wipe(); err != nil {
		t.Fatal(err)
	}
	l.await(t, 200)
	for _, n := range others {
		if err := n.Engine().Snapshot(); err != nil {
			t.Fatal(err)
		}
	}
	l.await(t, 50)
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	l.await(t, 100)
	l.stop()
	c.SameT(t)
	l.check(t, victim)
	if snaps := victim.Engine().SnapshotCount(); snaps == 0 {
		t.Error("the wiped node caught up without a snapshot: the test proved nothing")
	}
}

// A member whose log and store are gone does not start without --join, for it would vote
// as at the very first start; with it it is whole again. Its first start needs nothing.
func TestForgottenMemberNeedsJoin(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{})
	write(t, c.LeaderT(t), 1, nil, "acknowledged")
	c.SameT(t)
	victim := c.FollowersT(t)[0]
	if err := victim.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"raft", "store", "snapshots"} {
		if err := os.RemoveAll(filepath.Join(victim.Dir(), part)); err != nil {
			t.Fatal(err)
		}
	}
	err := victim.Start()
	if !errors.Is(err, cluster.ErrForgotten) || !strings.Contains(err.Error(), "--join") || !strings.Contains(err.Error(), victim.Dir()) {
		t.Fatalf("start without --join: got %v, want ErrForgotten that names the directory and --join", err)
	}
	if err := victim.Wipe(); err != nil { // starts with Join from now on
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := c.WaitVoter(ctx, victim); err != nil {
		t.Fatal(err)
	}
	c.SameT(t)
}

// A voter that has lost its disk has no vote until it has caught up: with a node that
// lags it would elect a leader without what was acknowledged. Where no other node has
// that, there is no leader until one comes back.
func TestWipedVoterElectsNobody(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{})
	leader, followers := c.LeaderT(t), c.FollowersT(t)
	wiped, behind := followers[0], followers[1]
	write(t, leader, 1, nil, "everybody has this")
	c.SameT(t)
	c.Partition([]*testcluster.Node{leader, wiped}, []*testcluster.Node{behind})
	const acked = 20
	for range acked {
		write(t, leader, 1, nil, "the node that lags does not have this")
	}
	for _, n := range []*testcluster.Node{leader, wiped} {
		if err := n.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	if err := wiped.Wipe(); err != nil {
		t.Fatal(err)
	}
	c.Heal()
	if err := wiped.Start(); err != nil {
		t.Fatal(err)
	}
	// Long enough for several elections.
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if wiped.Engine().Leader() == wiped.ID() || behind.Engine().Leader() == behind.ID() {
			t.Fatal("a wiped voter and one that lags have elected a leader: what was acknowledged is lost")
		}
	}
	if err := leader.Start(); err != nil {
		t.Fatal(err)
	}
	write(t, c.LeaderT(t), 1, nil, "after")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := c.WaitVoter(ctx, wiped); err != nil {
		t.Fatal(err)
	}
	c.SameT(t)
	for _, n := range c.Nodes() {
		if got := bodies(t, n, 1); len(got) != acked+2 {
			t.Errorf("%s has %d envelopes, want %d", n.ID(), len(got), acked+2)
		}
	}
}

// A new node is added, catches up and becomes a voter; a removed one stops and
// says so, and its connections are refused.
func TestMembersComeAndGo(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{})
	c.LeaderT(t)
	write(t, c.Node(0), 1, nil, "before")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	added, err := c.Add(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := testcluster.Await(ctx, "promotion", func() error {
		for _, m := range c.Node(0).Engine().Members() {
			if m.ID == added.ID() && m.Voter {
				return nil
			}
		}
		return fmt.Errorf("%s is no voter yet", added.ID())
	}); err != nil {
		t.Fatal(err)
	}
	write(t, added, 1, nil, "by the new node")
	c.SameT(t)

	gone := c.FollowersT(t)[0]
	engine := gone.Engine()
	if err := c.LeaderT(t).Engine().RemoveMember(ctx, gone.ID()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-engine.Failed():
	case <-ctx.Done():
		t.Fatal("the removed node did not stop")
	}
	if err := engine.Err(); !errors.Is(err, cluster.ErrRemoved) {
		t.Errorf("the removed node says %v, want ErrRemoved", err)
	}
	if err := gone.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := c.LeaderT(t).Engine().RemoveMember(ctx, "nobody"); !errors.Is(err, cluster.ErrMemberUnknown) {
		t.Errorf("removing a stranger: %v, want ErrMemberUnknown", err)
	}
	write(t, added, 1, nil, "after")
	c.SameT(t)
}

// A leader that has just died can be taken out, asked from a node that does not know
// yet that it is dead.
func TestRemoveALeaderThatHasJustDied(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{})
	leader, via := c.LeaderT(t), c.FollowersT(t)[0]
	write(t, c.Node(0), 1, nil, "before")
	if err := leader.Kill(); err != nil {
		t.Fatal(err)
	}
	// The follower still believes in it and asks it. It must not wait for the answer for
	// as long as a change may take: 10 s.
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	if err := via.Engine().RemoveMember(ctx, leader.ID()); err != nil {
		t.Fatalf("remove node %s: %v", leader.ID(), err)
	}
	c.LeaderT(t)
	for _, m := range via.Engine().Members() {
		if m.ID == leader.ID() {
			t.Errorf("node %s is still a member", m.ID)
		}
	}
}

// Leadership goes where the operator wants it, asked from any node.
func TestTransferLeadership(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{})
	c.LeaderT(t)
	for _, to := range c.Nodes() {
		for _, via := range c.Nodes()[:2] {
			if err := via.Engine().TransferLeadership(t.Context(), to.ID()); err != nil {
				t.Fatalf("transfer to %s via %s: %v", to.ID(), via.ID(), err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), proposeTime)
		if err := testcluster.Await(ctx, "the new leader", func() error {
			if !to.Engine().Ready() {
				return fmt.Errorf("%s does not lead", to.ID())
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		cancel()
	}
	if err := c.Node(0).Engine().TransferLeadership(t.Context(), "nobody"); !errors.Is(err, cluster.ErrMemberUnknown) {
		t.Errorf("transfer to a stranger: %v, want ErrMemberUnknown", err)
	}
}
