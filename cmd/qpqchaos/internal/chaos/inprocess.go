package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"quicproquo/client"
	"quicproquo/cluster"
	"quicproquo/cluster/raftlog"
	"quicproquo/schemas"
	"quicproquo/testcluster"
)

// inProcess is a target in this process, on a network that can be harmed.
type inProcess struct {
	c *testcluster.Cluster
	w *world // to tell what was seen
}

func (p *inProcess) nodes() int                   { return len(p.c.Nodes()) }
func (p *inProcess) kill(i int) error             { return p.c.Node(i).Kill() }
func (p *inProcess) start(i int) error            { return p.c.Node(i).Start() }
func (p *inProcess) pause(int) error              { return errNotHere }
func (p *inProcess) resume(int) error             { return errNotHere }
func (p *inProcess) network() *testcluster.Faults { return p.c.Faults() }
func (p *inProcess) name(i int) string            { return string(p.c.Node(i).ID()) }

func (p *inProcess) stop(i int) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return p.c.Node(i).Stop(ctx)
}

func (p *inProcess) leader(ctx context.Context) (int, error) {
	leader, err := p.c.WaitLeader(ctx)
	return place(p.c.Nodes(), leader, err)
}

func (p *inProcess) options(nodes ...int) (client.Options, error) {
	var list []*testcluster.Node
	for _, i := range nodes {
		list = append(list, p.c.Node(i))
	}
	return p.c.ClientOptions(list...)
}

func (p *inProcess) proposeOn(ctx context.Context, node int, entry []byte) error {
	engine := p.c.Node(node).Engine()
	if engine == nil {
		return errDown
	}
	_, result, err := engine.Propose(ctx, entry)
	if err == nil && result.Code != schemas.Code_ok {
		err = fmt.Errorf("change a setting: %s", result.Code.ID())
	}
	return err
}

func (p *inProcess) settingOn(ctx context.Context, node int, name string) (uint64, error) {
	engine := p.c.Node(node).Engine()
	if engine == nil {
		return 0, errDown
	}
	if err := engine.Linearize(ctx); err != nil {
		return 0, err
	}
	view, err := engine.View()
	if err != nil {
		return 0, err
	}
	value, ok, err := view.Setting(name)
	if err == nil && !ok {
		err = fmt.Errorf("there is no setting %s", name)
	}
	return value, errors.Join(err, view.Close())
}

var errDown = errors.New("the node is down")

func (p *inProcess) stopped() (list []string) {
	for _, n := range p.c.Nodes() {
		if engine := n.Engine(); engine != nil && engine.Err() != nil {
			list = append(list, fmt.Sprintf("%s: %v", n.ID(), engine.Err()))
		}
	}
	return list
}

func (p *inProcess) same(ctx context.Context) error { return p.c.WaitSame(ctx) }

// repairTime bounds taking a node out and putting another in.
const repairTime = time.Minute

func (p *inProcess) harm(ctx context.Context, f Fault, victim int) (undo func() error, err error) {
	n := p.c.Node(victim)
	restart := func() error { return n.Start() }
	rng := p.w.rng(f)
	switch f.Kind { //nolint:exhaustive // the others are not this level's
	case PowerCut:
		return restart, n.PowerCut(rng, rng.IntN(2)*rng.IntN(100))
	case PowerCutAll:
		return p.cutAll(rng)
	case FullDisk:
		n.FillDisk(true)
		return func() error { n.FillDisk(false); return nil }, nil
	case FailingWrites:
		n.FailDisk(true)
		return func() error { n.FailDisk(false); return n.Restart() }, nil
	case BitFlip:
		return p.flip(ctx, victim, rng)
	case LostDisk:
		return func() error { return p.replace(ctx, victim) }, n.Kill()
	case WipedDisk:
		if err := n.Kill(); err != nil {
			return restart, err
		}
		return func() error { return errors.Join(n.Start(), p.voter(ctx, n)) }, n.Wipe()
	case Churn:
		return p.churn(ctx)
	case SnapshotStorm:
		p.storm(ctx, f)
		return nothing, nil
	case ClockJump, LeaderClockJump:
		jumps := []time.Duration{2 * time.Minute, 10 * time.Minute, 60 * 24 * time.Hour}
		n.SetClock(jumps[rng.IntN(len(jumps))] * time.Duration(1-2*rng.IntN(2)))
		return func() error { n.SetClock(0); return nil }, nil
	case MixUp:
		return restart, p.mixUp(n, rng)
	case SlowClock, VerySlowClock, LateAnswers:
		return p.harmSlowly(ctx, f.Kind, n)
	case SwitchLog:
		if err := n.Kill(); err != nil {
			return restart, err
		}
		_, err := n.MigrateLog()
		return restart, err
	case RenewCertificates:
		return nothing, p.renew(ctx)
	}
	return nothing, fmt.Errorf("there is no fault %q: %w", f.Kind, errNotHere)
}

// cutAll cuts the power of all nodes at once.
func (p *inProcess) cutAll(rng *rand.Rand) (func() error, error) {
	var errs []error
	for _, n := range p.c.Nodes() {
		errs = append(errs, n.PowerCut(rng, rng.IntN(2)*rng.IntN(100)))
	}
	return func() error {
		var errs []error
		for _, n := range p.c.Nodes() {
			errs = append(errs, n.Start())
		}
		return errors.Join(errs...)
	}, errors.Join(errs...)
}

// flip changes a bit of an entry in a node's log. The node must refuse to run.
// Afterwards an operator replaces it.
func (p *inProcess) flip(ctx context.Context, victim int, rng *rand.Rand) (func() error, error) {
	n := p.c.Node(victim)
	replace := func() error { return p.replace(ctx, victim) }
	if err := n.Kill(); err != nil {
		return replace, err
	}
	flips, err := n.FlipEntry(rng)
	if err != nil {
		return replace, err
	}
	refusal := n.Start()
	p.w.tell("bit flipped in %s; the node said: %.120v", flips, refusal)
	p.w.flipped(errors.Is(refusal, raftlog.ErrDamaged))
	return replace, n.Kill()
}

// replace puts a fresh node in the place of one that is down forever.
func (p *inProcess) replace(ctx context.Context, victim int) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), repairTime)
	defer cancel()
	_, err := p.c.Replace(ctx, p.c.Node(victim))
	return err
}

// voter waits until a leader counts on a node again: what happens next could otherwise
// leave no majority.
func (p *inProcess) voter(ctx context.Context, n *testcluster.Node) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), repairTime)
	defer cancel()
	return p.c.WaitVoter(ctx, n)
}

// churn adds a node, and takes it away again.
func (p *inProcess) churn(ctx context.Context) (func() error, error) {
	ctx = context.WithoutCancel(ctx)
	come, cancel := context.WithTimeout(ctx, repairTime)
	defer cancel()
	n, err := p.c.Add(come)
	if err != nil {
		return nothing, fmt.Errorf("add a node: %w", err)
	}
	return func() error {
		going, cancel := context.WithTimeout(ctx, repairTime)
		defer cancel()
		return errors.Join(p.c.WaitVoter(going, n), p.c.Drop(going, n))
	}, nil
}

// storm makes snapshots as long as the fault lasts.
func (p *inProcess) storm(ctx context.Context, f Fault) {
	for end := time.Now().Add(f.For); time.Now().Before(end); {
		for _, n := range p.c.Nodes() {
			if engine := n.Engine(); engine != nil {
				_ = engine.Snapshot() // one that stops meanwhile makes none
			}
		}
		if !sleep(ctx, 200*time.Millisecond) {
			return
		}
	}
}

// slowClock makes a node's timers slow by a factor, and the node the leader: then it
// believes for long that it still leads when others know better, which depose sees to.
func (p *inProcess) slowClock(ctx context.Context, n *testcluster.Node, factor int, depose func([]*testcluster.Node)) (func() error, error) {
	t := cluster.DefaultTiming()
	for _, d := range []*time.Duration{&t.Heartbeat, &t.Election, &t.Lease} {
		*d *= time.Duration(factor)
	}
	n.SetTiming(t)
	undo := func() error {
		n.SetTiming(cluster.Timing{})
		p.c.Heal()
		return n.Restart()
	}
	if err := n.Restart(); err != nil {
		return undo, err
	}
	short, cancel := context.WithTimeout(ctx, findLeader)
	defer cancel()
	if _, err := p.c.WaitLeader(short); err != nil {
		return undo, nil // nobody leads: it is slow all the same
	}
	sleep(ctx, time.Second) // it catches up
	_ = n.Engine().TransferLeadership(short, n.ID())
	depose(slices.DeleteFunc(p.c.Nodes(), func(other *testcluster.Node) bool { return other == n }))
	p.c.Heal()
	return undo, nil
}

// mixUp starts a node with another's certificate or in another's data directory, as an
// operator does who has put the wrong disk in. It must refuse: two nodes of one name vote
// twice.
func (p *inProcess) mixUp(n *testcluster.Node, rng *rand.Rand) error {
	others := slices.DeleteFunc(p.c.Nodes(), func(other *testcluster.Node) bool { return other == n })
	other := others[rng.IntN(len(others))]
	if err := n.Kill(); err != nil {
		return err
	}
	what, mixed := "certificate", testcluster.Mixed{Secrets: other}
	if rng.IntN(2) == 0 {
		what, mixed = "data", testcluster.Mixed{Data: other}
	}
	err := n.StartMixed(mixed)
	p.w.tell("%s was started with %s's %s: %.160v", n.ID(), other.ID(), what, err)
	if !errors.Is(err, cluster.ErrIdentity) {
		p.w.violation("nemesis", "%s was started with %s's %s, and its answer was: %v", n.ID(), other.ID(), what, err)
	}
	return nil
}

// harmSlowly does the kinds of faults in which a leader has a slow clock.
func (p *inProcess) harmSlowly(ctx context.Context, kind Kind, n *testcluster.Node) (func() error, error) {
	links := func(from, to []*testcluster.Node, fault testcluster.LinkFault) {
		for _, a := range from {
			for _, b := range to {
				p.c.Faults().Set(string(a.ID()), string(b.ID()), fault)
			}
		}
	}
	me := []*testcluster.Node{n}
	switch kind {
	case VerySlowClock:
		// It believes for so long that it leads that its successor reaches it while it
		// does. What is said to it comes in any order.
		return p.slowClock(ctx, n, 10, func(others []*testcluster.Node) {
			p.c.Partition(me, others)
			sleep(ctx, electionTime)
			p.c.Heal()
			links(others, me, testcluster.LinkFault{Jitter: 100 * time.Millisecond})
			sleep(ctx, 2*electionTime)
		})
	case LateAnswers:
		// It can hear the others when they have elected another, but what it hears then
		// they said before.
		return p.slowClock(ctx, n, 5, func(others []*testcluster.Node) {
			links(others, me, testcluster.LinkFault{Delay: electionTime})
			sleep(ctx, electionTime)
			links(me, others, testcluster.LinkFault{Cut: true})
			sleep(ctx, 2*electionTime)
		})
	default:
		// It is cut off for as long as the others need to elect one of their own; for a
		// while afterwards it may not know.
		return p.slowClock(ctx, n, 5, func(others []*testcluster.Node) {
			p.c.Partition(me, others)
			sleep(ctx, electionTime)
		})
	}
}

// electionTime is enough for an election.
const electionTime = 2 * time.Second

// renew gives each node a new certificate.
func (p *inProcess) renew(ctx context.Context) error {
	for _, n := range p.c.Nodes() {
		if engine := n.Engine(); engine != nil {
			if err := engine.RenewCertificate(ctx); err != nil {
				return fmt.Errorf("renew the certificate of node %s: %w", n.ID(), err)
			}
		}
	}
	return nil
}
