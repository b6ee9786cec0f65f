// Command qpqchaos proves that a cluster loses nothing: it runs one, talks to it as
// clients do, does faults to it, and judges the histories.
//
// Files: main.go (the commands), sim.go (the bubble of fake time), scenario.go (what
// a run was, for replay), shrink.go (fewer faults), planted.go (can it see faults at
// all?), crowd.go (many clients at once), node.go, child_linux.go and child_other.go (nodes
// as processes).
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"quicproquo/cluster/diskguard"
	"quicproquo/cluster/raftlog"
	"quicproquo/cmd/qpqchaos/internal/chaos"
	"quicproquo/cmd/qpqchaos/internal/netns"
	"quicproquo/cmd/qpqchaos/internal/weakdisk"
	"quicproquo/testcluster"
)

// errViolated ends the program with exit code 1 after everything is printed.
var errViolated = errors.New("the run found violations")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := rootCommand()
	err := root.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintf(os.Stderr, "qpqchaos: %v\n", err)
		os.Exit(1) //nolint:gocritic // stop only ends the wait for signals
	}
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use: "qpqchaos", Short: "Prove that a cluster loses nothing",
		SilenceUsage: true, SilenceErrors: true,
	}
	root.AddCommand(runCommand(), replayCommand(), plantedCommand(), crowdCommand(), nodeCommand(), spinCommand())
	return root
}

// flags are what run and replay share.
type flags struct {
	json   bool
	keep   string
	save   string
	shrink time.Duration
}

func (f *flags) register(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.json, "json", false, "print one JSON object at the end, and nothing else, on standard output")
	cmd.Flags().StringVar(&f.keep, "keep", "", "directory for the nodes' data, kept (default: a temporary one)")
	cmd.Flags().StringVar(&f.save, "save", "", "write the scenario to this file, for replay (default, after a violation: qpqchaos-SEED.json)")
	cmd.Flags().DurationVar(&f.shrink, "shrink", 5*time.Minute, "how long to look for fewer faults that show a violation too; 0: not at all")
}

func runCommand() *cobra.Command {
	var f flags
	o := chaos.Options{}
	var level, logStore string
	var nemesis []string
	cmd := &cobra.Command{
		Use: "run", Short: "Run a cluster under faults and judge it", Args: cobra.NoArgs,
		Long: `Runs a cluster under faults and judges it. Levels: sim is on fake time and a
network in memory, where an hour takes a few minutes; proc is real processes on this
machine, which are killed, stopped, paused and, by a relay between them, cut off;
with --disks their power is cut too; netns is proc with a network namespace for each
node, links of its own and the kernel's packet filter (root). Everything random
follows the seed.
The exit code is 1 if anything was violated.`,
		Example: "  qpqchaos run --level sim --for 1h --seed 7\n  qpqchaos run --level proc --for 10m --nemesis kill-leader,pause --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Level, o.LogStore = chaos.Level(level), raftlog.Kind(logStore)
			for _, n := range nemesis {
				o.Nemesis = append(o.Nemesis, chaos.Kind(n))
			}
			if o.Seed == 0 {
				o.Seed = uint64(time.Now().UnixNano())
			}
			return f.run(cmd, o)
		},
	}
	f.register(cmd)
	cmd.Flags().StringVar(&level, "level", string(chaos.LevelSim), "where the cluster runs: sim, proc or netns")
	cmd.Flags().DurationVar(&o.For, "for", 10*time.Minute, "how long, in the cluster's time")
	cmd.Flags().Uint64Var(&o.Seed, "seed", 0, "what everything random follows (default: a new one)")
	cmd.Flags().IntVar(&o.Nodes, "nodes", 3, "how many nodes")
	cmd.Flags().DurationVar(&o.Pace, "pace", 200*time.Millisecond, "how long callers pause between calls")
	cmd.Flags().BoolVar(&o.Disks, "disks", false, "levels proc and netns: give each node a disk in a file, whose power is cut and which fills up (needs root)")
	cmd.Flags().BoolVar(&o.WeakDisks, "weak-disks", false, "levels proc and netns: the nodes' disks can be slow to flush, and fail (needs root and FUSE)")
	cmd.Flags().StringVar(&o.Other, "other", "", "levels proc and netns: another version of this program, a file; nodes change between the two")
	cmd.Flags().IntVar(&o.MTU, "mtu", 0, "IP packets of more bytes are lost on every path, from the first one on, as behind many VPNs (1280); at least 1228 (default: as the network does)")
	cmd.Flags().StringVar(&logStore, "log-store", "", "where all nodes keep their logs: boltdb or wal (default boltdb)")
	cmd.Flags().DurationVar(&o.Calm, "calm", 3*time.Second, "how long nothing happens between two faults, at least; up to twice as long")
	cmd.Flags().StringSliceVar(&nemesis, "nemesis", nil, "kinds of faults, comma-separated (default: all of the level)")
	cmd.Flags().StringSliceVar(&o.Workloads, "workload", nil, fmt.Sprintf("workloads, comma-separated, of %s (default: all that the level has)", strings.Join(chaos.Workloads, ", ")))
	return cmd
}

func replayCommand() *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use: "replay FILE", Short: "Run a saved scenario again", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := loadScenario(args[0])
			if err != nil {
				return err
			}
			return f.run(cmd, o)
		},
	}
	f.register(cmd)
	return cmd
}

// run runs a scenario, prints its end, and keeps it if it found something.
func (f *flags) run(cmd *cobra.Command, o chaos.Options) error {
	if o.Nodes < 3 || o.For < 10*time.Second || o.Pace <= 0 {
		return fmt.Errorf("a run needs 3 nodes, 10 s and a pace above 0: --nodes %d --for %s --pace %s", o.Nodes, o.For, o.Pace)
	}
	if o.MTU != 0 && o.MTU < leastMTU {
		return fmt.Errorf("--mtu %d: QUIC needs paths for IP packets of %d bytes", o.MTU, leastMTU)
	}
	faults, err := o.Plan()
	if err != nil {
		return err
	}
	o.Faults = faults
	o.Dir = f.keep
	if o.Dir == "" {
		if o.Dir, err = os.MkdirTemp(scratch(o.Level), "qpqchaos-"); err != nil {
			return fmt.Errorf("make a directory for the nodes: %w", err)
		}
		defer func() { _ = os.RemoveAll(o.Dir) }()
	}
	notes := cmd.ErrOrStderr()
	fmt.Fprintf(notes, "level %s, seed %d, %s, %d nodes, %d faults planned\n", o.Level, o.Seed, o.For, o.Nodes, len(faults))
	o.Tell = func(at time.Duration, what string) {
		fmt.Fprintf(notes, "%10s  %s\n", at.Round(100*time.Millisecond), what)
	}
	s, err := runAt(cmd.Context(), o)
	if err != nil {
		return err
	}
	if err := f.report(cmd.Context(), o, &s, notes); err != nil {
		return err
	}
	if err := f.print(cmd.OutOrStdout(), &s); err != nil {
		return err
	}
	if !s.OK {
		return errViolated
	}
	return nil
}

// leastMTU is what QUIC needs of any path over IPv4, in bytes (RFC 9000 §14).
const leastMTU = 1200 + 20 + 8

// report saves the scenario, where that is wanted or something was violated; then also
// pictures of what led there and the scenario with fewer faults.
func (f *flags) report(ctx context.Context, o chaos.Options, s *chaos.Summary, notes io.Writer) error {
	file := f.save
	if file == "" && !s.OK {
		file = fmt.Sprintf("qpqchaos-%d.json", o.Seed)
	}
	if file == "" {
		return nil
	}
	if err := saveScenario(file, o); err != nil {
		return err
	}
	fmt.Fprintf(notes, "the scenario is in %s: qpqchaos replay %s\n", file, file)
	if s.OK || file == os.DevNull {
		return nil
	}
	base := strings.TrimSuffix(file, ".json")
	pictures, err := s.Draw(base)
	if err != nil {
		return err
	}
	fmt.Fprintf(notes, "what led to it: %s\n", strings.Join(pictures, ", "))
	if f.shrink <= 0 || len(s.Violations) == 0 {
		return nil
	}
	fmt.Fprintf(notes, "looking for fewer faults, for %s at most\n", f.shrink)
	small, err := shrink(ctx, o, s.Violations[0], f.shrink, notes)
	if err != nil {
		return err
	}
	if err := saveScenario(base+"-small.json", small); err != nil {
		return err
	}
	for _, fault := range small.Faults {
		fmt.Fprintf(notes, "  %s at %s for %s, node %d\n", fault.Kind, fault.At, fault.For, fault.Node)
	}
	fmt.Fprintf(notes, "seed %d, fewer faults: qpqchaos replay %s-small.json\n", o.Seed, base)
	return nil
}

// scratch is where a run's nodes have their directories: a simulation's, which loses
// nothing with the power of this machine, in memory where there is room for that.
func scratch(level chaos.Level) string {
	const memory = "/dev/shm"
	if usage, err := diskguard.Statfs(memory); level == chaos.LevelSim && err == nil && usage.Free > 1<<30 {
		return memory
	}
	return ""
}

func runAt(ctx context.Context, o chaos.Options) (chaos.Summary, error) {
	switch o.Level {
	case chaos.LevelSim:
		return runSim(ctx, o)
	case chaos.LevelProc, chaos.LevelNetns:
		return runProc(ctx, o)
	}
	return chaos.Summary{}, fmt.Errorf("there is no level %q: sim, proc and netns are", o.Level)
}

// runProc runs what is not a simulation, where this machine has what it needs.
func runProc(ctx context.Context, o chaos.Options) (chaos.Summary, error) {
	self, err := os.Executable()
	if err != nil {
		return chaos.Summary{}, fmt.Errorf("find this program: %w", err)
	}
	if o.Level == chaos.LevelNetns {
		if err := netns.Possible(); err != nil {
			return chaos.Summary{}, fmt.Errorf("level netns: %w; level proc needs none of them", err)
		}
	}
	if o.Disks {
		if err := testcluster.LoopDisks(); err != nil {
			return chaos.Summary{}, fmt.Errorf("--disks: %w; run without it, and no power is cut", err)
		}
	}
	if o.WeakDisks {
		if err := weakdisk.Possible(); err != nil {
			return chaos.Summary{}, fmt.Errorf("--weak-disks: %w; run without it, and no flush fails", err)
		}
	}
	o.Command = func(program, dir string) *exec.Cmd {
		return nodeProcess(cmp.Or(program, self), dir, &o)
	}
	return chaos.RunProc(ctx, o)
}

func (f *flags) print(w io.Writer, s *chaos.Summary) error {
	if f.json {
		return json.NewEncoder(w).Encode(s)
	}
	verdict := "OK"
	if !s.OK {
		verdict = "VIOLATED"
	}
	_, err := fmt.Fprintf(w, `%s: %.0f s, %d calls, %d writes acknowledged, %d faults, %d changes of leader
lost %d, doubled %d, reordered %d, unauthorized reads %d, linearizable %t
longest gap between writes %d ms, outcomes unknown at first %d
`, verdict, s.Seconds, s.Ops, s.Acked, s.Faults, s.LeaderChanges, s.Lost, s.Duplicated, s.Reordered, s.UnauthorizedReads,
		s.Linearizable, s.LongestWriteGapMs, s.UnknownOutcomes)
	for _, v := range s.Violations {
		_, err = fmt.Fprintf(w, "violation at %s in %s: %s\n", v.At.Round(time.Millisecond), v.Workload, v.What)
	}
	return err
}
