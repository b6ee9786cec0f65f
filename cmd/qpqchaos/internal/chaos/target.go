package chaos

import (
	"context"
	"errors"

	"quicproquo/client"
	"quicproquo/testcluster"
)

// target is a cluster to which things can be done. Nodes are numbered from 0.
type target interface {
	nodes() int
	leader(ctx context.Context) (int, error)
	kill(i int) error
	stop(i int) error
	start(i int) error
	pause(i int) error
	resume(i int) error
	// network returns what can be done to the links, nil for nothing.
	network() *testcluster.Faults
	name(i int) string
	// connect opens a client of these nodes, tried in their order.
	connect(nodes ...int) (*client.Conn, error)
	// harm does what this level alone can; errNotHere for everything else.
	harm(ctx context.Context, f Fault, victim int) (undo func() error, err error)
	// same waits until all nodes have applied the same entries to the same state.
	same(ctx context.Context) error
}

var errNotHere = errors.New("this level can't do that")
