package chaos

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"quicproquo/client"
	"quicproquo/cluster"
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

// processes is a target of real processes.
type processes struct{ c *testcluster.Processes }

func (p processes) nodes() int                   { return len(p.c.Nodes()) }
func (p processes) kill(i int) error             { return p.c.Nodes()[i].Kill() }
func (p processes) stop(i int) error             { return p.c.Nodes()[i].Stop() }
func (p processes) start(i int) error            { return p.c.Nodes()[i].Start() }
func (p processes) pause(i int) error            { return p.c.Nodes()[i].Signal(syscall.SIGSTOP) }
func (p processes) resume(i int) error           { return p.c.Nodes()[i].Signal(syscall.SIGCONT) }
func (p processes) network() *testcluster.Faults { return nil }
func (p processes) name(i int) string            { return string(p.c.Nodes()[i].ID()) }

func (p processes) leader(ctx context.Context) (int, error) {
	leader, err := p.c.WaitLeader(ctx)
	if err != nil {
		return 0, err
	}
	for i, n := range p.c.Nodes() {
		if n == leader {
			return i, nil
		}
	}
	return 0, errors.New("the leader is no node of ours")
}

func (p processes) connect(nodes ...int) (*client.Conn, error) {
	var list []*testcluster.Process
	for _, i := range nodes {
		list = append(list, p.c.Nodes()[i])
	}
	options, err := p.c.ClientOptions(list...)
	if err != nil {
		return nil, err
	}
	options.InOrder = true
	return client.Dial(options)
}

// same compares the nodes' marks: digests of the state at certain indexes, which all
// nodes take at the same ones.
func (p processes) same(ctx context.Context) error {
	return testcluster.Await(ctx, "equal states", func() error {
		seen, err := p.c.Observe(ctx)
		if err != nil {
			return err
		}
		return compare(seen, p.nodes())
	})
}

func compare(seen []cluster.Observation, nodes int) error {
	answered := 0
	var first *cluster.Status
	for _, o := range seen {
		if o.Status == nil {
			continue
		}
		answered++
		if o.Status.Fault != "" {
			return fmt.Errorf("node %s has stopped: %s", o.ID, o.Status.Fault)
		}
		if first == nil {
			first = o.Status
			continue
		}
		if o.Status.CommandIndex != first.CommandIndex {
			return fmt.Errorf("node %s is at %d, %s at %d", o.ID, o.Status.CommandIndex, first.ID, first.CommandIndex)
		}
		for _, a := range first.Marks {
			for _, b := range o.Status.Marks {
				if a.Index == b.Index && a != b {
					return fmt.Errorf("nodes %s and %s differ at index %d", first.ID, o.ID, a.Index)
				}
			}
		}
	}
	if answered < nodes {
		return fmt.Errorf("%d of %d nodes answer", answered, nodes)
	}
	return nil
}

func (p processes) harm(context.Context, Fault, int) (func() error, error) {
	return nothing, errNotHere
}
