package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"quicproquo/cmd/qpqchaos/internal/chaos"
)

// shrinker looks for fewer faults that still lead to a violation: delta debugging
// (Zeller and Hildebrandt 2002). A run is not the same twice, so what it finds is
// small, not least. Each trial is a process of its own.
type shrinker struct {
	options chaos.Options // of the run that violated something
	notes   io.Writer
	dir     string
	trials  int
}

// tries is how often a smaller scenario may fail to show the violation.
const tries = 2

// shrink returns the smallest scenario that it finds within a time.
func shrink(ctx context.Context, o chaos.Options, first chaos.Violation, patience time.Duration, notes io.Writer) (chaos.Options, error) {
	dir, err := os.MkdirTemp("", "qpqchaos-shrink-")
	if err != nil {
		return o, fmt.Errorf("make a directory for smaller scenarios: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s := &shrinker{options: o, notes: notes, dir: dir}
	faults := o.Faults
	for i, f := range faults { // those after the violation did not lead to it
		if f.At > first.At {
			faults = faults[:i]
			break
		}
	}
	faults = s.reduce(ctx, faults)
	fmt.Fprintf(notes, "of %d faults %d are left after %d trials\n", len(o.Faults), len(faults), s.trials)
	return s.with(faults), nil
}

// reduce removes parts, smaller ones each time round, as long as a violation remains.
func (s *shrinker) reduce(ctx context.Context, faults []chaos.Fault) []chaos.Fault {
	for parts := 2; len(faults) > 1 && ctx.Err() == nil; {
		size := (len(faults) + parts - 1) / parts
		removed := false
		for at := 0; at < len(faults) && ctx.Err() == nil; {
			rest := append(append([]chaos.Fault{}, faults[:at]...), faults[min(at+size, len(faults)):]...)
			if len(rest) > 0 && s.violates(ctx, rest) {
				faults, removed = rest, true
				continue
			}
			at += size
		}
		switch {
		case removed:
			parts = max(parts-1, 2)
		case size == 1:
			return faults
		default:
			parts = min(2*parts, len(faults))
		}
	}
	return faults
}

// with is the scenario with other faults, closer to each other where some are missing.
func (s *shrinker) with(faults []chaos.Fault) chaos.Options {
	const gap = 5 * time.Second
	o := s.options
	o.Faults = make([]chaos.Fault, len(faults))
	end := time.Duration(0)
	for i, f := range faults {
		f.At = min(f.At, end+gap)
		o.Faults[i] = f
		end = f.At + f.For
	}
	o.For = min(o.For, end+30*time.Second)
	return o
}

func (s *shrinker) violates(ctx context.Context, faults []chaos.Fault) bool {
	file := filepath.Join(s.dir, "scenario.json")
	if err := saveScenario(file, s.with(faults)); err != nil {
		return false
	}
	for range tries {
		s.trials++
		summary, err := trial(ctx, file)
		if err == nil && !summary.OK {
			fmt.Fprintf(s.notes, "trial %d: %d faults suffice\n", s.trials, len(faults))
			return true
		}
		if ctx.Err() != nil {
			return false
		}
	}
	return false
}

// trial replays a scenario in a process of its own.
func trial(ctx context.Context, file string) (s chaos.Summary, err error) {
	self, err := os.Executable()
	if err != nil {
		return s, fmt.Errorf("find this program: %w", err)
	}
	out, err := exec.CommandContext(ctx, self, "replay", file, "--json", "--shrink", "0", "--save", os.DevNull).Output()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		return s, err
	}
	return s, json.Unmarshal(out, &s)
}
