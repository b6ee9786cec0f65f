package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"

	"github.com/spf13/cobra"

	"quicproquo/cmd/internal/node"
	"quicproquo/cmd/qpq/internal/demo"
)

// demoNode is the hidden command that the demo's node processes run.
const demoNode = "demo-node"

func (a *app) demoCommand() *cobra.Command {
	o := demo.Options{Timeline: a.out}
	var keep bool
	cmd := &cobra.Command{
		Use:   "demo",
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
		Example: "  qpq demo\n  qpq demo --messages 1000 --nodes 5\n  qpq demo --json | jq .ok",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := o.Check(); err != nil {
				return usage("%w", err)
			}
			if a.options.json {
				o.Timeline = io.Discard
			}
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find this program: %w", err)
			}
			if o.Dir, err = os.MkdirTemp("", "qpq-demo-"); err != nil {
				return fmt.Errorf("make a temporary directory: %w", err)
			}
			defer func() { err = errors.Join(err, demo.Cleanup(o.Dir, keep)) }()
			o.Command = func(dir string) *exec.Cmd { return childCommand(self, demoNode, "--dir", dir) }
			report, err := demo.Run(cmd.Context(), o)
			if err != nil {
				return fmt.Errorf("the demo did not come to its end: %w", err)
			}
			if keep {
				a.note("kept: %s", o.Dir)
			}
			return a.verdict(report)
		},
	}
	cmd.Flags().IntVar(&o.Nodes, "nodes", demo.MinNodes, "how many nodes")
	cmd.Flags().IntVar(&o.Messages, "messages", 200, "how many messages are said")
	cmd.Flags().BoolVar(&keep, "keep", false, "keep the directory with the nodes' and the clients' data")
	return cmd
}

// errDemo is what a demo ends with that has shown a fault.
var errDemo = errors.New("the demo has shown a fault: please report it with the timeline")

func (a *app) verdict(r demo.Report) error {
	if a.options.json {
		raw, err := object(r)
		if err != nil {
			return fmt.Errorf("print the report: %w", err)
		}
		if err := a.say("%s", raw); err != nil {
			return err
		}
	} else if err := a.say("\n%s", r); err != nil {
		return err
	}
	if !r.OK {
		return errDemo
	}
	return nil
}

func (a *app) demoNodeCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: demoNode, Hidden: true, Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			logger := slog.New(slog.NewTextHandler(a.notes, &slog.HandlerOptions{Level: slog.LevelWarn}))
			return node.RunChild(cmd.Context(), dir, node.ChildOptions{Version: version}, a.in, logger)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "the node's directory")
	return cmd
}
