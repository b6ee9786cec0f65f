package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"quicproquo/cmd/qpqchaos/internal/chaos"
	"quicproquo/cmd/qpqchaos/internal/crowd"
)

// childSpin is the hidden command of the processes that take all of a processor.
const childSpin = "spin"

func crowdCommand() *cobra.Command {
	var o crowd.Options
	var asJSON bool
	cmd := &cobra.Command{
		Use: "crowd", Args: cobra.NoArgs,
		Short: "Measure what many clients at once meet: beside other load, and when their node dies",
		Long: `Starts three nodes, each a process, and measures them with many clients. Numbers depend on
the machine and on what else it does; read the ratios, which are of turns in one run.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			program, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find this program: %w", err)
			}
			if o.Dir, err = os.MkdirTemp("", "qpqchaos-crowd-"); err != nil {
				return fmt.Errorf("make a directory: %w", err)
			}
			defer os.RemoveAll(o.Dir)
			o.Command = func(dir string) *exec.Cmd { return nodeProcess(program, dir, &chaos.Options{}) }
			o.Spin = func() *exec.Cmd { return childCommand(program, childSpin) }
			o.Tell = func(format string, args ...any) { fmt.Fprintf(cmd.ErrOrStderr(), format+"\n", args...) }
			report, err := crowd.Run(cmd.Context(), o)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(report)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.Few, "few", 64, "connections to compare with")
	f.IntVar(&o.Many, "many", 1024, "connections")
	f.IntVar(&o.Spins, "spins", runtime.NumCPU(), "processes beside them that take a processor each")
	f.DurationVar(&o.Turn, "turn", 10*time.Second, "how long each measurement of calls takes")
	f.IntVar(&o.Turns, "turns", 2, "how often few and many, alone and beside, take turns; 0: no calls are measured")
	f.IntVar(&o.Arrive, "arrive", 3000, "clients that come to one node, which is killed; 0: none")
	f.IntVar(&o.Lone, "lone", 3, "how often the only node is killed that a client was given")
	f.BoolVar(&asJSON, "json", false, "print the report as one JSON object")
	return cmd
}

// spinCommand takes a processor until its standard input closes.
func spinCommand() *cobra.Command {
	return &cobra.Command{
		Use: childSpin, Hidden: true, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			var over atomic.Bool
			go func() {
				_, _ = io.Copy(io.Discard, os.Stdin) // ends with whoever started it
				over.Store(true)
			}()
			for !over.Load() {
			}
			return nil
		},
	}
}
