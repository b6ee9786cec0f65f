// Command qpqdemo shows the main job on this machine, in half a minute: three node
// processes, three people, a leader that is killed, a member who is removed, and a count
// of what arrived.
//
// Data goes to standard output, notes to standard error. Exit codes: 0 all is well, 1 a
// mistake in how it was called, 2 the demo has shown a fault or did not come to its end.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"quicproquo/cmd/internal/localcluster"
	"quicproquo/cmd/internal/node"
	"quicproquo/cmd/qpqdemo/internal/demo"
)

// version is set at build time: -ldflags "-X main.version=v1.2.3".
var version = "dev" //nolint:gochecknoglobals // the linker sets it

// nodeCommand is the hidden command that the node processes run.
const nodeCommand = "node"

// Exit codes.
const (
	exitUser  = 1
	exitFault = 2
)

func main() { os.Exit(run(os.Args[1:])) }

// run is the whole program; it returns the exit code.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	began := false
	root := demoCommand(&began)
	root.AddCommand(childCommand(&began))
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintf(os.Stderr, "qpqdemo: %v\n", err)
	if !began { // it was called in a way that it does not know
		fmt.Fprintln(os.Stderr, "next: qpqdemo --help")
		return exitUser
	}
	return exitFault
}

// demoCommand is the program's command. began is set once the command line is understood.
func demoCommand(began *bool) *cobra.Command {
	o := demo.Options{}
	var keep, asJSON bool
	cmd := &cobra.Command{
		Use:   "qpqdemo",
		Short: "See everything at work on this machine, in half a minute",
		Long: `Starts three real node processes in a temporary directory, registers alice, bob and
carol on different nodes, opens a conversation of two and a group of three, lets
them talk, kills the leader with SIGKILL in the middle, starts it again, removes
carol from the group, and gives a copy of her old keys everything that was said
afterwards. Then it counts. The nodes are real ones with their defaults, except that
rates are not limited.

With --json it prints one object at the end: sent is how many messages the cluster
acknowledged, delivered how many times one reached a recipient's application, lost
and duplicates how many times one did not, or came twice; failoverMs is the time
from the kill to the next acknowledged message.`,
		Example:           "  qpqdemo\n  qpqdemo --messages 1000 --nodes 5\n  qpqdemo --json | jq .ok",
		Version:           version,
		Args:              cobra.NoArgs,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Check(); err != nil {
				return err
			}
			*began = true
			if o.Timeline = cmd.OutOrStdout(); asJSON {
				o.Timeline = io.Discard
			}
			report, err := play(cmd.Context(), o, keep)
			if err != nil {
				return fmt.Errorf("the demo did not come to its end: %w", err)
			}
			return verdict(cmd.OutOrStdout(), report, asJSON)
		},
	}
	cmd.Flags().IntVar(&o.Nodes, "nodes", demo.MinNodes, "how many nodes")
	cmd.Flags().IntVar(&o.Messages, "messages", 200, "how many messages are said")
	cmd.Flags().BoolVar(&keep, "keep", false, "keep the directory with the nodes' and the clients' data")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object at the end and nothing else")
	return cmd
}

// play runs the demo in a temporary directory.
func play(ctx context.Context, o demo.Options, keep bool) (report demo.Report, err error) {
	self, err := os.Executable()
	if err != nil {
		return report, fmt.Errorf("find this program: %w", err)
	}
	if o.Dir, err = os.MkdirTemp("", "qpqdemo-"); err != nil {
		return report, fmt.Errorf("make a temporary directory: %w", err)
	}
	if keep {
		fmt.Fprintf(os.Stderr, "kept: %s\n", o.Dir)
	}
	defer func() { err = errors.Join(err, demo.Cleanup(o.Dir, keep)) }()
	o.Command = func(dir string) *exec.Cmd { return localcluster.Command(self, nodeCommand, "--dir", dir) }
	return demo.Run(ctx, o)
}

// errFault is what a demo ends with that has shown a fault.
var errFault = errors.New("the demo has shown a fault: please report it with the timeline")

func verdict(w io.Writer, r demo.Report, asJSON bool) error {
	text := "\n" + r.String()
	if asJSON {
		raw, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("print the report: %w", err)
		}
		text = string(raw)
	}
	if _, err := fmt.Fprintln(w, text); err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	if !r.OK {
		return errFault
	}
	return nil
}

// childCommand runs one node, until the process that started it ends.
func childCommand(began *bool) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: nodeCommand, Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			*began = true
			logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
			return node.RunChild(cmd.Context(), dir, node.ChildOptions{Options: node.Options{Version: version}}, os.Stdin, logger)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "the node's directory")
	return cmd
}
