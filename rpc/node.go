package rpc

import (
	"context"

	"quicproquo/fsm"
)

// Node is what the front door needs of the node behind it; Engine makes one of a
// *cluster.Node.
type Node interface {
	// Index is the log index up to which this node's own state is applied.
	Index() uint64
	// WaitSeen returns when Index is at least index, or with ctx's error.
	WaitSeen(ctx context.Context, index uint64) error
	// Linearize returns when this node's state holds every write that was
	// acknowledged anywhere before Linearize was called.
	Linearize(ctx context.Context) error
	// View opens a consistent view of this node's own state. It must be closed.
	View() (*fsm.View, error)
	// Watch tells of later changes of a queue. Watch first, then read.
	Watch(queue fsm.QueueID) *fsm.Watch
	// WatchDevice tells of later changes of any queue of a device.
	WatchDevice(owner fsm.AccountKey, device fsm.DeviceID) *fsm.Watch
	// Propose writes a framed schemas.Entry through the log and returns the index
	// and the result of applying it (cluster.Node says which errors).
	Propose(ctx context.Context, entry []byte) (uint64, fsm.Result, error)
	// Health is how the node is now. It must be cheap: anybody may ask.
	Health() Health
}

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
	// Members are the addresses of the cluster's nodes, HOST:PORT each.
	Members []string
}
