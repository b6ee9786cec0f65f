package testcluster

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"quicproquo/internal/await"
)

// Await is await.Until.
func Await(ctx context.Context, what string, ok func() error) error {
	return await.Until(ctx, what, ok)
}

// Leader returns the node that leads and is ready, nil for none.
func (c *Cluster) Leader() *Node {
	for _, n := range c.running() {
		if e := n.Engine(); e != nil && e.Ready() {
			return n
		}
	}
	return nil
}

// WaitLeader waits until a node leads and is ready.
func (c *Cluster) WaitLeader(ctx context.Context) (*Node, error) {
	var leader *Node
	err := Await(ctx, "a leader", func() error {
		if leader = c.Leader(); leader == nil {
			return fmt.Errorf("none of %d running nodes leads", len(c.running()))
		}
		return nil
	})
	return leader, err
}

// WaitSame waits until every running node has applied the same last command
// and has the same digest.
func (c *Cluster) WaitSame(ctx context.Context) error {
	return Await(ctx, "equal digests", func() error {
		nodes := c.running()
		if len(nodes) == 0 {
			return errors.New("no node runs")
		}
		for _, n := range nodes[1:] {
			first, mark := nodes[0].Engine().Digest(), n.Engine().Digest()
			if mark != first {
				return fmt.Errorf("%s is at %+v, %s at %+v", nodes[0].id, first, n.id, mark)
			}
		}
		return nil
	})
}

// WaitVoter waits until a node follows a leader whose configuration has it as voter.
func (c *Cluster) WaitVoter(ctx context.Context, n *Node) error {
	return Await(ctx, "node "+string(n.id)+" votes", func() error {
		// First, since a node that has lost its disk is still a voter to a leader that
		// it has not heard.
		if e := n.Engine(); e == nil || e.Leader() == "" {
			return errors.New("it follows nobody")
		}
		leader := c.Leader()
		if leader == nil {
			return errors.New("nobody leads")
		}
		engine := leader.Engine()
		if engine == nil {
			return errors.New("nobody leads")
		}
		for _, m := range engine.Members() {
			if m.ID == n.id && m.Voter {
				return nil
			}
		}
		return errors.New("it is no voter yet")
	})
}

// awaitTime bounds every wait of a test.
const awaitTime = 30 * time.Second

// LeaderT is WaitLeader for tests.
func (c *Cluster) LeaderT(tb testing.TB) *Node {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), awaitTime)
	defer cancel()
	leader, err := c.WaitLeader(ctx)
	if err != nil {
		tb.Fatal(err)
	}
	return leader
}

// FollowersT returns the running nodes that do not lead.
func (c *Cluster) FollowersT(tb testing.TB) []*Node {
	tb.Helper()
	leader := c.LeaderT(tb)
	var followers []*Node
	for _, n := range c.running() {
		if n != leader {
			followers = append(followers, n)
		}
	}
	return followers
}

// SameT is WaitSame for tests.
func (c *Cluster) SameT(tb testing.TB) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), awaitTime)
	defer cancel()
	if err := c.WaitSame(ctx); err != nil {
		tb.Fatal(err)
	}
}
