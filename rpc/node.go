package rpc

import (
	"context"
	"sync"
	"time"

	"quicproquo/cluster"
)

// Node is what the front door needs of the node behind it: a *cluster.Node.
type Node interface {
	// Index is the log index up to which this node's own state is applied.
	Index() uint64
	// WaitSeen returns when Index is at least index, or with ctx's error.
	WaitSeen(ctx context.Context, index uint64) error
	// Linearize returns when this node's state holds every write that was
	// acknowledged anywhere before Linearize was called.
	Linearize(ctx context.Context) error
	// Status describes the node.
	Status() cluster.Status
}

var _ Node = (*cluster.Node)(nil)

// State is one word for how a node is.
type State string

// The states of a node. The first that holds counts, from the bottom up.
const (
	StateOK         State = "ok"
	StateReadOnly   State = "read-only"   // its disk is nearly full
	StateCatchingUp State = "catching-up" // it is behind what is committed
	StateNoLeader   State = "no-leader"   // it knows no leader: writes wait
	StateDraining   State = "draining"    // it is about to stop, or has stopped serving
)

// Health is what a node tells everybody about itself.
type Health struct {
	NodeID       string
	State        State
	Leader       bool // this node leads
	FeatureLevel uint32
}

// healthOf sums a status up.
func healthOf(s cluster.Status) Health {
	h := Health{
		NodeID: string(s.ID), State: StateOK,
		Leader: s.Leader != "" && s.Leader == s.ID, FeatureLevel: s.FeatureLevel,
	}
	switch {
	case s.Fault != "":
		h.State = StateDraining
	case s.Leader == "":
		h.State = StateNoLeader
	case s.AppliedIndex+catchingUpLag < s.CommitIndex:
		h.State = StateCatchingUp
	case s.ReadOnly:
		h.State = StateReadOnly
	}
	return h
}

// healthCache keeps the last answer for a moment: anybody may ask for it, and a
// full status is not free. mu guards all fields.
type healthCache struct {
	mu    sync.Mutex
	last  Health
	until time.Time
}

func (c *healthCache) get(node Node) Health {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); !now.Before(c.until) {
		c.last, c.until = healthOf(node.Status()), now.Add(healthAge)
	}
	return c.last
}
