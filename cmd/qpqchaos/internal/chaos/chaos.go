package chaos

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"quicproquo/cluster"
	"quicproquo/cluster/raftlog"
	"quicproquo/cmd/internal/node"
	"quicproquo/cmd/qpqchaos/internal/netns"
	"quicproquo/cmd/qpqchaos/internal/weakdisk"
	"quicproquo/rpc"
	"quicproquo/testcluster"
)

// Level is where the cluster runs.
type Level string

// Levels.
const (
	// LevelSim is a cluster on fake time and a network in memory: RunSim.
	LevelSim Level = "sim"
	// LevelProc is a cluster of processes on this machine's loopback.
	LevelProc Level = "proc"
	// LevelNetns is LevelProc with a network namespace for each node: package netns.
	LevelNetns Level = "netns"
)

// Options say what to run. Everything random follows Seed.
type Options struct {
	Level     Level
	Nodes     int
	For       time.Duration
	Seed      uint64
	Nemesis   []Kind        // nil: all that the level has
	Workloads []string      // nil: all
	Pace      time.Duration // between calls of one caller
	Calm      time.Duration // between faults; up to twice as long
	Dir       string
	// Faults are what is to happen, instead of what Seed draws.
	Faults []Fault
	// Disks gives each process a disk whose power can be cut: testcluster.LoopDisks.
	Disks bool
	// WeakDisks puts a file system between each process and its disk whose flushes can be
	// slow and fail, and whose writes can fail: package weakdisk.
	WeakDisks bool
	// LogStore of all nodes; empty: the default.
	LogStore raftlog.Kind
	// MTU is how long IP packets may be on any path, in bytes, from the first one on: longer
	// ones are lost without a word, as behind many VPNs. 0: what the network takes.
	MTU int
	// Command starts a node's process (but for LevelSim) with a program, empty for this one.
	Command func(program, dir string) *exec.Cmd
	// Other is another version of the program, a file; empty: there is none.
	Other string
	// Beat is called at least every two seconds of the cluster's time, nil for never.
	Beat func()
	// Tell is called with what happens; nil for silence.
	Tell func(at time.Duration, what string)
}

// Workloads are their names.
var Workloads = []string{"queue", "channel", "name", "commit", "session", "keys", "settings", "talk", "member", "liar", "prober"}

// workloads are those that a level has.
func (o *Options) workloads() []string {
	if len(o.Workloads) > 0 {
		return o.Workloads
	}
	if o.Level == LevelSim {
		return Workloads
	}
	return slices.DeleteFunc(slices.Clone(Workloads), func(name string) bool { return name == "settings" || name == "liar" })
}

// Summary is the result of a run.
type Summary struct {
	Ops               int64 `json:"ops"`
	Acked             int64 `json:"acked"`
	Lost              int   `json:"lost"`
	Duplicated        int   `json:"duplicated"`
	Reordered         int   `json:"reordered"`
	UnauthorizedReads int64 `json:"unauthorizedReads"`
	Linearizable      bool  `json:"linearizable"`
	Faults            int64 `json:"faults"`
	LeaderChanges     int   `json:"leaderChanges"`
	LongestWriteGapMs int64 `json:"longestWriteGapMs"`
	// BitFlips are entries that were damaged, BitFlipsDetected those of which the node
	// said so.
	BitFlips         int64 `json:"bitFlips"`
	BitFlipsDetected int64 `json:"bitFlipsDetected"`
	// WriteGap is around the faults of one node; Recovery counts from when all nodes,
	// which were gone, are started again.
	WriteGap        Gaps         `json:"writeGap"`
	Recovery        Gaps         `json:"recovery"`
	Kinds           map[Kind]int `json:"kinds"`
	UnknownOutcomes int64        `json:"unknownOutcomes"`
	// Unattacked are faults that attack a node beside honest callers, and could not,
	// because the cluster was not there: of them the run says nothing.
	Unattacked int64       `json:"unattacked,omitempty"`
	Violations []Violation `json:"violations,omitempty"`
	Seed       uint64      `json:"seed"`
	Level      Level       `json:"level"`
	Seconds    float64     `json:"seconds"` // of the cluster's time
	OK         bool        `json:"ok"`

	timeline *timeline
}

// Draw writes what led to the first violation, or what happened last, as pictures that
// a browser shows, and returns their names: base-1.html and so on.
func (s *Summary) Draw(base string) ([]string, error) { return s.timeline.draw(base) }

// Plan returns the faults of a run, those given or those that the seed draws.
func (o *Options) Plan() ([]Fault, error) {
	if o.Faults != nil {
		return o.Faults, nil
	}
	return plan(o)
}

// ipv4Headers is what an IP packet has before the UDP payload, in bytes.
const ipv4Headers = 20 + 8

// largest is how much UDP payload passes on any path, in bytes; 0: any.
func (o *Options) largest() int { return max(0, o.MTU-ipv4Headers) }

// workload does something all the time, and judges at the end.
type workload interface {
	name() string
	// run works until ctx ends; what it has begun it may end with finish.
	run(ctx, finish context.Context)
	check(ctx context.Context, s *Summary)
}

// Times around a run.
const (
	setUpTime  = 5 * time.Minute
	finishTime = 2 * time.Minute
)

// RunProc runs at LevelProc or LevelNetns.
func RunProc(ctx context.Context, o Options) (s Summary, err error) {
	faults, err := o.Plan()
	if err != nil {
		return s, err
	}
	t := &processes{others: map[int]bool{}, weak: map[string]*weakdisk.Disk{}}
	t.w = newWorld(o, t)
	options := testcluster.ProcessOptions{
		Nodes: o.Nodes, Dir: filepath.Join(o.Dir, "nodes"), Command: func(dir string) *exec.Cmd { return t.command("", dir) },
		Prepare: node.Provision, Faults: testcluster.NewFaults(o.Seed), LoopDisks: o.Disks,
	}
	if o.Level == LevelNetns {
		if t.hosts, err = netns.New(nodeNames(o.Nodes), options.Faults, func(err error) { t.w.violation("nemesis", "%v", err) }); err != nil {
			return s, err
		}
		options.Hosts = t.hosts
		defer func() { err = errors.Join(err, t.hosts.Close()) }()
	}
	options.Faults.Narrow(o.largest())
	defer func() { err = errors.Join(err, t.unmount()) }()
	c, err := testcluster.StartProcesses(options)
	if err != nil {
		return s, err
	}
	t.c = c
	s, err = run(ctx, t.w, faults)
	return s, errors.Join(err, c.Close())
}

// nodeNames are those of so many nodes.
func nodeNames(nodes int) (list []string) {
	for i := range nodes {
		list = append(list, string(testcluster.ProcessID(i)))
	}
	return list
}

// RunHere runs with a cluster in this process; in a bubble of synctest this is
// LevelSim.
func RunHere(ctx context.Context, o Options) (s Summary, err error) {
	faults, err := o.Plan()
	if err != nil {
		return s, err
	}
	timing := cluster.DefaultTiming()
	timing.Commit = 50 * time.Millisecond // an idle leader's pace: nearly all that a simulation does
	network := testcluster.NewMemory(testcluster.NewFaults(o.Seed))
	network.Faults().Narrow(o.largest())
	c, err := testcluster.Start(testcluster.Options{
		Timing: timing, LogStore: o.LogStore,
		Nodes: o.Nodes, Dir: o.Dir, MemoryStore: true, Network: network,
		Limits: rpc.Limits{Rates: rpc.Off}, Logger: slog.New(slog.DiscardHandler),
		// Logs are cut often, and whoever was away for long gets a snapshot. Far more
		// entries stay than are ever on their way here (hashicorp/raft #697).
		Snapshot: cluster.SnapshotPolicy{Interval: 30 * time.Second, Threshold: 256, Trailing: 256},
	})
	if err != nil {
		return s, err
	}
	t := &inProcess{c: c}
	t.w = newWorld(o, t)
	s, err = run(ctx, t.w, faults)
	return s, errors.Join(err, c.Close(context.WithoutCancel(ctx)))
}

// run does the faults while the workloads run, then judges.
func run(ctx context.Context, w *world, faults []Fault) (s Summary, err error) {
	o, t := w.options, w.target
	defer func() { err = errors.Join(err, w.close()) }()
	setUp, cancel := context.WithTimeout(ctx, setUpTime)
	defer cancel()
	if _, err := t.leader(setUp); err != nil {
		return s, err
	}
	work, err := w.workloads(setUp)
	if err != nil {
		return w.neverBegan(fmt.Errorf("set up the workloads: %w", err))
	}
	w.began = time.Now()
	running, stop := context.WithTimeout(ctx, o.For)
	defer stop()
	finish, stopFinish := context.WithTimeout(ctx, o.For+finishTime)
	defer stopFinish()
	var wg sync.WaitGroup
	for _, one := range work {
		wg.Go(func() { one.run(running, finish) })
	}
	wg.Go(func() { w.watch(running) })
	w.harm(running, faults)
	<-running.Done()
	wg.Wait()
	s = Summary{Linearizable: true, Seed: o.Seed, Level: o.Level, Seconds: time.Since(w.began).Seconds()}
	w.judge(ctx, work, &s)
	return s, ctx.Err()
}

// neverBegan is the end of a run that could not be set up: a violation if nodes have
// stopped by themselves, although no fault was done to them.
func (w *world) neverBegan(err error) (Summary, error) {
	list := w.target.stopped()
	if len(list) == 0 {
		return Summary{}, err
	}
	w.violation("cluster", "nodes have stopped by themselves: %s", strings.Join(list, "; "))
	s := Summary{Linearizable: true, Seed: w.options.Seed, Level: w.options.Level}
	w.sum(&s)
	return s, nil
}

// workloads sets up what is wanted.
func (w *world) workloads(ctx context.Context) (list []workload, err error) {
	queues, err := newQueues(ctx, w, 4)
	if err != nil {
		return nil, err
	}
	for _, name := range w.options.workloads() {
		var one workload
		switch name {
		case "queue":
			one = queues
		case "channel":
			one, err = newChannels(ctx, w, 6)
		case "name":
			one, err = newNames(ctx, w)
		case "commit":
			one, err = newCommits(ctx, w, 3)
		case "session":
			one, err = newSessions(ctx, w)
		case "keys":
			one, err = newPools(ctx, w)
		case "settings":
			one, err = newRegisters(w)
		case "talk":
			one, err = newTalks(ctx, w)
		case "member":
			one, err = newMembers(ctx, w)
		case "liar":
			one, err = newLies(ctx, w)
		case "prober":
			one, err = newProber(ctx, w, queues)
		default:
			return nil, fmt.Errorf("there is no workload %q; there are %s", name, words(Workloads))
		}
		if err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	return list, nil
}

// judge fills the summary.
func (w *world) judge(ctx context.Context, work []workload, s *Summary) {
	ctx, cancel := context.WithTimeout(ctx, finishTime)
	defer cancel()
	if err := w.target.same(ctx); err != nil {
		w.violation("cluster", "the nodes do not come to one state: %v", err)
	}
	for _, one := range work {
		one.check(ctx, s)
	}
	w.sum(s)
}

// sum fills in what was counted.
func (w *world) sum(s *Summary) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s.Ops, s.Acked, s.UnknownOutcomes = w.ops.Load(), w.acked.Load(), w.unknown.Load()
	s.Unattacked = w.unattacked.Load()
	s.UnauthorizedReads, s.Faults = w.unauthorized.Load(), w.faults.Load()
	s.LeaderChanges, s.LongestWriteGapMs = max(len(w.leaders)-1, 0), w.longestGap.Milliseconds()
	s.WriteGap, s.Recovery = gapsAfter(w.harmed, w.gaps, oneNode, false), gapsAfter(w.harmed, w.gaps, allNodes, true)
	s.BitFlips, s.BitFlipsDetected = w.flips.Load(), w.detected.Load()
	s.Kinds = map[Kind]int{}
	for _, h := range w.harmed {
		s.Kinds[h.fault.Kind]++
	}
	s.Violations, s.timeline = w.violations, &w.timeline
	if s.Acked == 0 {
		s.Violations = append(s.Violations, Violation{0, "cluster", "nothing was acknowledged: the run proves nothing"})
	}
	s.OK = len(s.Violations) == 0 && s.Linearizable
}
