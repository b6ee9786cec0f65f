package chaos

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"time"

	"quicproquo/client"
	"quicproquo/cluster"
	"quicproquo/testcluster"
)

// processes is a target of real processes.
type processes struct {
	c *testcluster.Processes
	w *world // to tell what was seen
}

func (p *processes) nodes() int                   { return len(p.c.Nodes()) }
func (p *processes) kill(i int) error             { return p.c.Nodes()[i].Kill() }
func (p *processes) stop(i int) error             { return p.c.Nodes()[i].Stop() }
func (p *processes) start(i int) error            { return p.c.Nodes()[i].Start() }
func (p *processes) pause(i int) error            { return p.c.Nodes()[i].Signal(syscall.SIGSTOP) }
func (p *processes) resume(i int) error           { return p.c.Nodes()[i].Signal(syscall.SIGCONT) }
func (p *processes) network() *testcluster.Faults { return p.c.Faults() }
func (p *processes) name(i int) string            { return string(p.c.Nodes()[i].ID()) }

func (p *processes) leader(ctx context.Context) (int, error) {
	leader, err := p.c.WaitLeader(ctx)
	return place(p.c.Nodes(), leader, err)
}

func (p *processes) connect(nodes ...int) (*client.Conn, error) {
	var list []*testcluster.Process
	for _, i := range nodes {
		list = append(list, p.c.Nodes()[i])
	}
	return dialInOrder(p.c.ClientOptions(list...))
}

// same compares the nodes' marks: digests of the state at certain indexes, which all
// nodes take at the same ones.
func (p *processes) same(ctx context.Context) error {
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

func (p *processes) harm(ctx context.Context, f Fault, victim int) (undo func() error, err error) {
	n := p.c.Nodes()[victim]
	switch f.Kind { //nolint:exhaustive // the others are not this level's
	case PowerCut:
		return func() error { return errors.Join(n.RestorePower(), n.Start()) }, testcluster.CutPower(n)
	case PowerCutAll:
		all := p.c.Nodes()
		return func() error {
			var errs []error
			for _, n := range all {
				errs = append(errs, n.RestorePower(), n.Start())
			}
			return errors.Join(errs...)
		}, testcluster.CutPower(all...)
	case FullDisk:
		return func() error { return n.FillDisk(false) }, n.FillDisk(true)
	case BitFlip:
		return p.flip(ctx, f, n)
	}
	return nothing, fmt.Errorf("there is no fault %q: %w", f.Kind, errNotHere)
}

// flip changes a bit of a node's log. The node must refuse to run, or the bit was
// nobody's. Afterwards the bit is what it was, where it still lies: what an operator
// has who puts a copy of the disk back that was made while the node was down.
func (p *processes) flip(ctx context.Context, f Fault, n *testcluster.Process) (func() error, error) {
	if err := n.Kill(); err != nil {
		return n.Start, err
	}
	flip, err := testcluster.FlipBit(filepath.Join(n.Dir(), "raft"), p.w.rng(f))
	if err != nil {
		return n.Start, err
	}
	said := "nothing: no entry needed it"
	if err := n.Start(); err != nil {
		return n.Start, err
	}
	for end := time.Now().Add(f.For); time.Now().Before(end) && sleep(ctx, 50*time.Millisecond); {
		if words := n.LastWords(); words != "" {
			said = words
			break
		}
	}
	p.w.tell("bit flipped in %s; the node said: %.160s", flip, said)
	return func() error {
		if err := n.Kill(); err != nil {
			return err
		}
		return errors.Join(flip.Undo(), n.Start())
	}, nil
}
