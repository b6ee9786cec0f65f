package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"quicproquo/client"
	"quicproquo/cmd/qpq/internal/bench"
)

func (a *app) benchCommand() *cobra.Command {
	o := bench.Options{InFlight: 64, Connections: 64, Accounts: 16, Size: 1024, Recipients: 16}
	var start bool
	var files benchFiles
	cmd := &cobra.Command{
		Use:   "bench WORKLOAD",
		Short: "Measure a cluster as its clients meet it",
		Long: `Measures one workload with real connections and accounts that it makes for this
(named bench-…), on the cluster of --server, or with --start on three nodes of its own,
each a process, in a temporary directory. Nothing is written into a profile.

Workloads:
` + bench.About() + `

Without --rate it is a closed loop: --in-flight calls at once, each worker's next begins
when its last is done. With --rate calls are due at that rate whatever became of those
before, and a time is from when a call was due to its end, waiting included.

A cluster limits how often a caller calls (docs/limits.md): one that is measured with more
than that must be started with "qpqd run --rates off", as --start does. Numbers depend on
the machine and on what else it does: compare what was measured in turns.`,
		Example: `  qpq bench enqueue --start --for 10s
  qpq bench fetch --server "$(qpqd pin)" --in-flight 256 --connections 64
  qpq bench mixed --start --rate 2000 --html report.html`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) (err error) {
			o.Workload = given[0]
			if o.Workload == "e2e" && !cmd.Flags().Changed("in-flight") {
				o.InFlight = 4
			}
			if err := o.Check(); err != nil {
				return usage("%w", err)
			}
			if o.Dir, err = os.MkdirTemp("", "qpq-bench-"); err != nil {
				return fmt.Errorf("make a temporary directory: %w", err)
			}
			defer func() { err = errors.Join(err, os.RemoveAll(o.Dir)) }()
			if err := a.benchTarget(&o, start); err != nil {
				return err
			}
			if a.showing && !a.options.json {
				o.Progress = func(s bench.Second) { a.note("%3d s  %8d/s  p99 %s", s.At, s.Calls, bench.Micros(s.P99)) }
			}
			report, err := bench.Run(cmd.Context(), o)
			if err != nil {
				return err
			}
			return errors.Join(files.write(report), a.benchReport(report))
		},
	}
	f := cmd.Flags()
	f.BoolVar(&start, "start", false, "start nodes of its own, whatever --server says")
	f.IntVar(&o.InFlight, "in-flight", o.InFlight, "calls at once (e2e: pairs of clients, 4)")
	f.IntVar(&o.Connections, "connections", o.Connections, "connections that they share")
	f.IntVar(&o.Accounts, "accounts", o.Accounts, "accounts that the connections share")
	f.Float64Var(&o.Rate, "rate", 0, "calls due a second; 0: the closed loop")
	f.IntVar(&o.Size, "size", o.Size, "bytes of a payload")
	f.IntVar(&o.Recipients, "recipients", o.Recipients, "queues that a call of batch and fanout fills")
	f.DurationVar(&o.Warmup, "warmup", 2*time.Second, "how long before anything is counted")
	f.DurationVar(&o.For, "for", 10*time.Second, "how long is counted")
	f.IntVar(&o.Nodes.Count, "nodes", 3, "with --start: how many nodes")
	f.StringVar(&o.Nodes.LogStore, "log-store", "boltdb", "with --start: boltdb or wal")
	f.StringVar(&o.Nodes.Program, "qpqd", "", "with --start: the server's program (default: qpqd beside this one, else on PATH)")
	f.StringVar(&files.csv, "csv", "", "write a line a second to this file")
	f.StringVar(&files.html, "html", "", "write a report with plots to this file")
	return cmd
}

// benchTarget says which cluster is measured.
func (a *app) benchTarget(o *bench.Options, start bool) error {
	if !start {
		if len(a.options.servers) == 0 {
			return usage("name the cluster with --server, or add --start for one of its own")
		}
		o.Dial = func() (client.Options, error) {
			options, err := a.connection()
			options.Fixed = true
			return options, err
		}
		return nil
	}
	if o.Nodes.Count < 1 || o.Nodes.Count > 9 {
		return usage("--nodes %d: choose 1 to 9", o.Nodes.Count)
	}
	if o.Nodes.Program != "" {
		return nil
	}
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), "qpqd")
		if _, err := os.Stat(beside); err == nil {
			o.Nodes.Program = beside
			return nil
		}
	}
	program, err := exec.LookPath("qpqd")
	if err != nil {
		return usage("there is no qpqd beside this program or on PATH: build it (go build ./cmd/qpqd) or name it with --qpqd")
	}
	o.Nodes.Program = program
	return nil
}

// errBench is what a measurement ends with in which calls failed.
var errBench = errors.New("calls failed: see above")

func (a *app) benchReport(r *bench.Report) error {
	text := r.String()
	if a.options.json {
		raw, err := object(r)
		if err != nil {
			return fmt.Errorf("print the report: %w", err)
		}
		text = string(raw)
	}
	if err := a.say("%s", text); err != nil {
		return err
	}
	if r.Errors > 0 {
		return errBench
	}
	return nil
}

// benchFiles are where a report goes besides.
type benchFiles struct{ csv, html string }

func (f *benchFiles) write(r *bench.Report) error {
	return errors.Join(writeReport(f.csv, r.WriteCSV), writeReport(f.html, r.WriteHTML))
}

func writeReport(file string, write func(io.Writer) error) (err error) {
	if file == "" {
		return nil
	}
	out, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	return write(out)
}
