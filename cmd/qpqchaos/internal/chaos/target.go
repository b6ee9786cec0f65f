package chaos

import (
	"context"
	"errors"
	"slices"

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
	// options are those of a client of these nodes, tried in their order.
	options(nodes ...int) (client.Options, error)
	// harm does what this level alone can; errNotHere for everything else.
	harm(ctx context.Context, f Fault, victim int) (undo func() error, err error)
	// stopped are the nodes that have stopped by themselves, and why.
	stopped() []string
	// same waits until all nodes have applied the same entries to the same state.
	same(ctx context.Context) error
}

// place is where the leader stands in the list of nodes.
func place[N comparable](nodes []N, leader N, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	if i := slices.Index(nodes, leader); i >= 0 {
		return i, nil
	}
	return 0, errors.New("the leader is no node of ours")
}

var errNotHere = errors.New("this level can't do that")
