package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"quicproquo/cmd/qpqchaos/internal/chaos"
	"quicproquo/internal/planted"
	"quicproquo/testcluster"
)

// found is how a planted fault was caught.
type found struct {
	Bug       planted.Bug `json:"bug"`
	Seconds   float64     `json:"seconds"` // of this machine's time until a run had caught it
	Runs      int         `json:"runs"`
	Seed      uint64      `json:"seed"`
	Violation string      `json:"violation"`
}

// verdict is what planted prints.
type verdict struct {
	Planted int           `json:"planted"`
	Caught  int           `json:"caught"`
	Missed  []planted.Bug `json:"missed"`
	// Skipped are faults that can't be looked for on this machine, and why; they are not
	// among Planted.
	Skipped map[planted.Bug]string `json:"skipped,omitempty"`
	Found   []found                `json:"found"`
	Control bool                   `json:"control"` // a run without a fault violated nothing
}

// scenarios are the runs that show the faults: the workload that is meant to see each,
// and the kind of fault that it waits for, where that is rare otherwise.
//
//nolint:gochecknoglobals // a table
var scenarios = map[planted.Bug][]string{
	planted.AckBeforeCommit:       {"--workload", "queue"},
	planted.DedupeOff:             {"--workload", "queue"},
	planted.StaleRead:             {"--workload", "queue"},
	planted.EpochCheckOff:         {"--workload", "commit"},
	planted.RevokeOnLeader:        {"--workload", "session"},
	planted.SnapshotWithoutDedupe: {"--workload", "queue", "--nemesis", "lost-disk,minority-for-long"},
	planted.FsyncOff:              {"--workload", "queue", "--level", "proc", "--disks", "--nemesis", "power-cut-all", "--for", "40s"},
	planted.ChecksumOff:           {"--workload", "queue", "--nemesis", "bit-flip", "--for", "30s"},
	planted.HeartbeatFastPath:     {"--workload", "queue", "--nemesis", "very-slow-clock", "--for", "4m"},
	planted.VerifyLeaderRead:      {"--workload", "queue", "--nemesis", "late-answers", "--for", "4m"},
	planted.RandomApply:           {"--for", "30s"},
	planted.RequestIDAlone:        {"--workload", "queue"},
	planted.StampUnbounded:        {"--workload", "session,queue", "--nemesis", "leader-clock-jump", "--for", "4m"},
	planted.VoteTwice:             {"--workload", "queue", "--nemesis", "mix-up", "--for", "40s"},
	planted.SharesOff:             {"--workload", "queue", "--nemesis", "stalled", "--for", "1m"},
	planted.ProposalFilterOff:     {"--workload", "member"},
	planted.LineageOff:            {"--workload", "liar", "--nemesis", "snapshot-storm", "--for", "40s"},
	planted.WelcomeOff:            {"--workload", "liar", "--nemesis", "snapshot-storm", "--for", "40s"},
}

func plantedCommand() *cobra.Command {
	var asJSON bool
	var only []string
	var each time.Duration
	var runs int
	cmd := &cobra.Command{
		Use: "planted", Short: "Catch the faults that this program was built with", Args: cobra.NoArgs,
		Long: `Runs clusters with one planted fault each, and one without, and tells which of the
faults were caught: simulations, and for fsync-off processes whose power is cut (root;
skipped elsewhere). It needs a program with faults: go run -tags planted
./cmd/qpqchaos planted. The exit code is 1 if one was missed.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !planted.Compiled {
				return errors.New("this program has no faults planted: go run -tags planted ./cmd/qpqchaos planted")
			}
			bugs, err := chosen(only)
			if err != nil {
				return err
			}
			v, err := catchAll(cmd.Context(), cmd.ErrOrStderr(), bugs, each, runs)
			if err != nil {
				return err
			}
			return v.print(cmd.OutOrStdout(), asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.Flags().StringSliceVar(&only, "only", nil, "faults, comma-separated (default: all)")
	cmd.Flags().DurationVar(&each, "for", 2*time.Minute, "how long a run is, in the cluster's time, where the fault takes no other")
	cmd.Flags().IntVar(&runs, "runs", 3, "how many seeds a fault may take")
	return cmd
}

// chosen are the faults of these names, all for none.
func chosen(names []string) ([]planted.Bug, error) {
	if len(names) == 0 {
		return planted.All, nil
	}
	var bugs []planted.Bug
	for _, name := range names {
		if !slices.Contains(planted.All, planted.Bug(name)) {
			return nil, fmt.Errorf("no fault %q is planted; there are %v", name, planted.All)
		}
		bugs = append(bugs, planted.Bug(name))
	}
	return bugs, nil
}

func catchAll(ctx context.Context, notes io.Writer, bugs []planted.Bug, each time.Duration, runs int) (v verdict, err error) {
	v = verdict{Planted: len(bugs), Missed: []planted.Bug{}}
	control, err := simulate(ctx, "", 1, each)
	if err != nil {
		return v, fmt.Errorf("run without a fault: %w", err)
	}
	v.Control = control.OK
	for _, bug := range bugs {
		if why := notHere(bug); why != nil {
			v.skip(bug, why)
			fmt.Fprintf(notes, "%s: skipped: %v\n", bug, why)
			continue
		}
		began := time.Now()
		f := found{Bug: bug}
		for f.Runs < runs && f.Violation == "" {
			f.Runs++
			f.Seed = uint64(f.Runs)
			s, err := simulate(ctx, bug, f.Seed, each)
			switch {
			case err != nil:
				fmt.Fprintf(notes, "%s: a run proves nothing: %v\n", bug, err)
			case len(s.Violations) > 0:
				f.Violation = s.Violations[0].Workload + ": " + s.Violations[0].What
			case !s.OK:
				f.Violation = "not linearizable"
			}
		}
		f.Seconds = time.Since(began).Seconds()
		if f.Violation == "" {
			v.Missed = append(v.Missed, bug)
			fmt.Fprintf(notes, "%s: missed in %d runs\n", bug, f.Runs)
			continue
		}
		v.Caught++
		v.Found = append(v.Found, f)
		fmt.Fprintf(notes, "%s: caught after %.0f s: %s\n", bug, f.Seconds, f.Violation)
	}
	return v, ctx.Err()
}

// notHere tells why a fault can't be looked for on this machine.
func notHere(bug planted.Bug) error {
	if slices.Contains(scenarios[bug], "--disks") {
		return testcluster.LoopDisks()
	}
	return nil
}

func (v *verdict) skip(bug planted.Bug, why error) {
	if v.Skipped == nil {
		v.Skipped = map[planted.Bug]string{}
	}
	v.Skipped[bug] = why.Error()
	v.Planted--
}

// simulate runs this program with a fault switched on: a process per simulation.
func simulate(ctx context.Context, bug planted.Bug, seed uint64, d time.Duration) (s chaos.Summary, err error) {
	self, err := os.Executable()
	if err != nil {
		return s, fmt.Errorf("find this program: %w", err)
	}
	args := []string{"run", "--level", "sim", "--for", d.String(), "--seed", fmt.Sprint(seed), "--json", "--save", os.DevNull}
	cmd := exec.CommandContext(ctx, self, append(args, scenarios[bug]...)...)
	cmd.Env = append(os.Environ(), "QPQ_PLANTED="+string(bug))
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if len(out) == 0 {
		return s, fmt.Errorf("%w: %s", err, lastLines(errs.String()))
	}
	return s, json.Unmarshal(out, &s)
}

func lastLines(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], " | ")
}

func (v *verdict) print(w io.Writer, asJSON bool) error {
	if asJSON {
		if err := json.NewEncoder(w).Encode(v); err != nil {
			return err
		}
	} else if _, err := fmt.Fprintf(w, "%d of %d planted faults were caught\n", v.Caught, v.Planted); err != nil {
		return err
	}
	switch {
	case len(v.Missed) > 0:
		return fmt.Errorf("missed: %v", v.Missed)
	case !v.Control:
		return errors.New("the run without a fault found violations")
	}
	return nil
}
