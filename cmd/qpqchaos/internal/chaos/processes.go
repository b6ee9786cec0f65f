package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"quicproquo/client"
	"quicproquo/cluster"
	"quicproquo/cluster/raftlog"
	"quicproquo/cmd/qpqchaos/internal/netns"
	"quicproquo/cmd/qpqchaos/internal/weakdisk"
	"quicproquo/crypto/tlsid"
	"quicproquo/testcluster"
)

// processes is a target of real processes.
type processes struct {
	c     *testcluster.Processes
	w     *world       // to tell what was seen
	hosts *netns.Hosts // nil: all are on this machine's loopback
	// others run the other version; only the nemesis uses it.
	others map[int]bool

	mu   sync.Mutex
	weak map[string]*weakdisk.Disk // by the nodes' directories
}

// command is how a node's process is started: in its directory, or, where it has a weak
// disk, in that one's, which is mounted beside it when the node first starts.
func (p *processes) command(program, dir string) *exec.Cmd {
	at := p.directory(dir)
	if at == dir {
		return p.w.options.Command(program, dir)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.weak[dir] == nil {
		disk, err := mountWeak(dir, at)
		if err != nil {
			p.w.violation("nemesis", "%v", err)
			return p.w.options.Command(program, dir)
		}
		p.weak[dir] = disk
	}
	return p.w.options.Command(program, at)
}

// directory is where a node sees its directory.
func (p *processes) directory(dir string) string {
	if p.w.options.WeakDisks {
		return dir + ".weak"
	}
	return dir
}

func mountWeak(dir, at string) (*weakdisk.Disk, error) {
	if err := os.Mkdir(at, 0o700); err != nil {
		return nil, fmt.Errorf("make a weak disk: %w", err)
	}
	return weakdisk.Mount(dir, at)
}

// disk is a node's weak one.
func (p *processes) disk(n *testcluster.Process) *weakdisk.Disk {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.weak[n.Dir()]
}

// unmount takes the weak disks away, after the nodes have ended.
func (p *processes) unmount() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, disk := range p.weak {
		errs = append(errs, disk.Close())
	}
	return errors.Join(errs...)
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

func (p *processes) options(nodes ...int) (client.Options, error) {
	var list []*testcluster.Process
	for _, i := range nodes {
		list = append(list, p.c.Nodes()[i])
	}
	return p.c.ClientOptions(list...)
}

func (p *processes) stopped() (list []string) {
	for _, n := range p.c.Nodes() {
		if words := n.LastWords(); words != "" {
			list = append(list, fmt.Sprintf("%s: %s", n.ID(), words))
		}
	}
	return list
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
	case SlowFlushes:
		disk := p.disk(n)
		disk.SlowSyncs(time.Duration(100+p.w.rng(f).IntN(400)) * time.Millisecond)
		return func() error { disk.SlowSyncs(0); return nil }, nil
	case FailingFlushes:
		p.disk(n).FailSyncs(true)
		return mend(n, func() error { p.disk(n).FailSyncs(false); return nil }), nil
	case FailingWrites:
		p.disk(n).FailWrites(true)
		return mend(n, func() error { p.disk(n).FailWrites(false); return nil }), nil
	case Unplugged:
		id := string(n.ID())
		return func() error { return p.hosts.Unplug(id, false) }, p.hosts.Unplug(id, true)
	case NarrowLink:
		id := string(n.ID())
		return func() error { return p.hosts.Narrow(id, false) }, p.hosts.Narrow(id, true)
	case SwitchVersion:
		return nothing, p.switchVersion(victim)
	case WipedDisk:
		return p.wipe(ctx, victim)
	case NewAddress:
		return p.move(n)
	case NewAddresses:
		return p.move(p.c.Nodes()...)
	case BitFlip:
		return p.flip(ctx, f, n)
	case BitRot:
		return p.rot(ctx, f, n)
	}
	return nothing, fmt.Errorf("there is no fault %q: %w", f.Kind, errNotHere)
}

// move ends nodes; they come back at other addresses, which every node.toml has then.
func (p *processes) move(nodes ...*testcluster.Process) (undo func() error, err error) {
	back := func() error {
		var errs []error
		for _, n := range nodes {
			errs = append(errs, n.Start())
		}
		return errors.Join(errs...)
	}
	for _, n := range nodes {
		if err := n.Kill(); err != nil {
			return back, err
		}
	}
	return back, p.c.Move(nodes...)
}

// switchVersion upgrades a node, or downgrades it: it stops in good order and goes on
// with the other version of the program, which shares the cluster with this one until it
// is switched again.
func (p *processes) switchVersion(victim int) error {
	n := p.c.Nodes()[victim]
	if err := n.Stop(); err != nil {
		return err
	}
	var next func(string) *exec.Cmd
	if !p.others[victim] {
		next = func(dir string) *exec.Cmd { return p.command(p.w.options.Other, dir) }
	}
	p.others[victim] = next != nil
	n.SetCommand(next)
	return n.Start()
}

// wipe ends a node and takes all that it stored. It comes back as an operator would
// start it then.
func (p *processes) wipe(ctx context.Context, victim int) (undo func() error, err error) {
	n := p.c.Nodes()[victim]
	if err := n.Kill(); err != nil {
		return n.Start, err
	}
	for _, part := range []string{"raft", "store", "snapshots"} {
		if err := os.RemoveAll(filepath.Join(p.directory(n.Dir()), part)); err != nil {
			return n.Start, fmt.Errorf("wipe node %s: %w", n.ID(), err)
		}
	}
	p.others[victim] = false
	return func() error {
		n.SetCommand(func(dir string) *exec.Cmd {
			command := p.command("", dir)
			command.Args = append(command.Args, "--join")
			return command
		})
		if err := n.Start(); err != nil {
			return err
		}
		n.SetCommand(nil)
		return p.voter(ctx, n)
	}, nil
}

// voter waits until a leader counts on a node again, as in a simulation.
func (p *processes) voter(ctx context.Context, n *testcluster.Process) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), repairTime)
	defer cancel()
	follows := false
	return testcluster.Await(ctx, "node "+string(n.ID())+" votes", func() error {
		seen, err := p.c.Observe(ctx)
		if err != nil {
			return err
		}
		before := follows
		for _, o := range seen {
			switch {
			case o.Status == nil:
			case o.ID == n.ID():
				follows = o.Status.Leader != ""
			case before && o.Status.Leader == o.ID && votes(o.Status.Members, n.ID()):
				return nil
			}
		}
		return errors.New("it follows nobody, or no leader counts on it")
	})
}

func votes(members []cluster.Member, id tlsid.NodeID) bool {
	return slices.ContainsFunc(members, func(m cluster.Member) bool { return m.ID == id && m.Voter })
}

// flip changes a bit of an entry in a node's log. The node must refuse to run.
// Afterwards the bit is what it was: what an operator has who puts a copy of the disk
// back that was made while the node was down.
func (p *processes) flip(ctx context.Context, f Fault, n *testcluster.Process) (func() error, error) {
	if err := n.Kill(); err != nil {
		return n.Start, err
	}
	flips, err := testcluster.FlipEntry(filepath.Join(n.Dir(), "raft"), p.w.options.LogStore, p.w.rng(f))
	if err != nil {
		return n.Start, errors.Join(err, flips.Undo())
	}
	said, err := lastWords(ctx, n, noticeTime)
	p.w.tell("bit flipped in %s; the node said: %.160s", flips, said)
	p.w.flipped(strings.Contains(said, raftlog.ErrDamaged.Error()))
	return mend(n, flips.Undo), err
}

// noticeTime is how long a node may take to notice that its newest entries are damaged.
const noticeTime = 30 * time.Second

// rot changes a bit anywhere in a node's files: in its log, its store or a snapshot. The
// node must refuse to run or stop, or the bit was nobody's; what comes of it in the
// state is found by comparing the nodes.
func (p *processes) rot(ctx context.Context, f Fault, n *testcluster.Process) (func() error, error) {
	if err := n.Kill(); err != nil {
		return n.Start, err
	}
	at := func(part string) string { return filepath.Join(n.Dir(), part) }
	flip, err := testcluster.FlipBit(p.w.rng(f), at("raft"), at("store"), at("snapshots"))
	if err != nil {
		return n.Start, err
	}
	said, err := lastWords(ctx, n, f.For)
	if said == "" {
		said = "nothing: it did not come to that bit"
	}
	p.w.tell("bit flipped in %s; the node said: %.160s", flip, said)
	return mend(n, flip.Undo), err
}

// lastWords starts a node and returns what it said if it has ended within a time, for
// whatever reason.
func lastWords(ctx context.Context, n *testcluster.Process, patience time.Duration) (words string, err error) {
	if err := n.Start(); err != nil {
		return "", err
	}
	for end := time.Now().Add(patience); time.Now().Before(end) && sleep(ctx, 50*time.Millisecond); {
		if words = n.LastWords(); words != "" {
			break
		}
	}
	return words, nil
}

// mend ends a node whose disk was harmed, if it has not stopped by itself, undoes the harm
// and starts it.
func mend(n *testcluster.Process, undo func() error) func() error {
	return func() error {
		if err := n.Kill(); err != nil {
			return err
		}
		return errors.Join(undo(), n.Start())
	}
}
