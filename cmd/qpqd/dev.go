package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"quicproquo/cluster"
	"quicproquo/cluster/raftlog"
	"quicproquo/cmd/internal/localcluster"
	"quicproquo/cmd/internal/node"
	"quicproquo/nodeaddr"
	"quicproquo/rpc"
)

const (
	// devDir is where `dev` keeps its nodes and `status` looks for them.
	devDir = "./qpq-dev"
	// devPort is the first node's port, if it is free.
	devPort = 4731
	// devRefresh is how often the status line is looked at.
	devRefresh = 500 * time.Millisecond
)

func devCommand() *cobra.Command {
	var dir, logStore, logLevel, metrics string
	var nodes int
	var ephemeral bool
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a whole cluster on this machine",
		Long: `Starts real nodes in this process, each with its own log, store, certificate and
UDP port, and shows who leads. Ctrl-C stops them in good order; starting again
goes on with the same data.`,
		Example: `  qpqd dev
  qpqd dev --nodes 5 --ephemeral`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if nodes < 1 || nodes > devMaxNodes {
				return fmt.Errorf("--nodes %d: choose 1 to %d", nodes, devMaxNodes)
			}
			if ephemeral {
				temp, err := os.MkdirTemp("", "qpq-dev-")
				if err != nil {
					return exitError{exitIO, fmt.Errorf("make a temporary directory: %w", err)}
				}
				defer os.RemoveAll(temp)
				dir = temp
			}
			logger, err := newLogger(logLevel, "text")
			if err != nil {
				return err
			}
			return dev(cmd.Context(), cmd.OutOrStdout(), dir, nodes, cmd.Flags().Changed("nodes"), raftlog.Kind(logStore), metrics, logger)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", devDir, "where the nodes keep their data")
	cmd.Flags().IntVar(&nodes, "nodes", 3, "how many nodes a new cluster gets")
	cmd.Flags().BoolVar(&ephemeral, "ephemeral", false, "use a temporary directory and delete it at the end")
	cmd.Flags().StringVar(&logStore, "log-store", string(raftlog.BoltDB), "where the raft logs lie: boltdb or wal")
	cmd.Flags().StringVar(&metrics, "metrics", "", "HOST:PORT (TCP) that serves /metrics of all nodes for Prometheus; empty: nothing does")
	cmd.Flags().StringVar(&logLevel, "log-level", "error", "what goes to stderr: debug, info, warn or error")
	return cmd
}

// devMaxNodes keeps a slip of the finger from filling a machine.
const devMaxNodes = 9

func dev(ctx context.Context, w io.Writer, dir string, nodes int, chosen bool, kind raftlog.Kind, metrics string, logger *slog.Logger) error {
	dirs, err := devNodes(dir, nodes, chosen)
	if err != nil {
		return err
	}
	c, err := localcluster.Open(dirs, node.Options{Version: version, LogStore: kind}, logger)
	if err != nil {
		return exitError{exitIO, err}
	}
	var nodesSeen []observed
	for _, n := range c.Nodes() {
		nodesSeen = append(nodesSeen, observed{
			string(n.ID), func() *cluster.Node { return n.Engine }, func() *rpc.Server { return n.Server },
		})
		fmt.Fprintf(w, "%s  udp %s  %s\n", n.ID, n.Address, n.Dir)
	}
	fmt.Fprintf(w, "\n%d nodes run. See them with:  qpqd status --dir %s\n", len(dirs), dir)
	if clients, err := pinned(dir); err == nil {
		fmt.Fprintf(w, "Talk through them:           qpq register NAME --server '%s'\n", nodeaddr.Format(clients))
	}
	fmt.Fprint(w, "Ctrl-C stops them; the data stays.\n\n")
	stopMetrics, failure := serveMetrics(metrics, nodesSeen, logger)
	if failure == nil {
		failure = showStatus(ctx, w, c)
	}
	fmt.Fprintln(w, "\nstopping")
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), node.ShutdownTime)
	defer cancel()
	if stopMetrics != nil {
		failure = errors.Join(failure, stopMetrics(stopCtx))
	}
	return errors.Join(failure, c.Close(stopCtx))
}

// devNodes returns the directories of the nodes in dir, or makes a new cluster.
func devNodes(dir string, nodes int, chosen bool) ([]string, error) {
	found, err := filepath.Glob(filepath.Join(dir, "*", node.ConfigFile))
	if err != nil {
		return nil, fmt.Errorf("look into %s: %w", dir, err)
	}
	if len(found) == 0 {
		return newDevCluster(dir, nodes)
	}
	if chosen && nodes != len(found) {
		return nil, fmt.Errorf("%s holds a cluster of %d nodes: leave --nodes away, or choose another --dir", dir, len(found))
	}
	sort.Strings(found)
	dirs := make([]string, 0, len(found))
	for _, file := range found {
		dirs = append(dirs, filepath.Dir(file))
	}
	return dirs, nil
}

func newDevCluster(dir string, nodes int) ([]string, error) {
	peers, err := localcluster.Peers(nodes, devPort)
	if err != nil {
		return nil, exitError{exitIO, err}
	}
	dirs := make([]string, 0, nodes)
	for _, p := range peers {
		dirs = append(dirs, filepath.Join(dir, string(p.ID)))
	}
	return dirs, node.Provision(dir, peers, node.ListenThere)
}

// showStatus keeps one line up to date until ctx ends or a node fails.
func showStatus(ctx context.Context, w io.Writer, c *localcluster.Cluster) error {
	file, isFile := w.(*os.File)
	live := isFile && term.IsTerminal(int(file.Fd()))
	ticker := time.NewTicker(devRefresh)
	defer ticker.Stop()
	last := ""
	for {
		line, err := statusLine(c)
		if line != last {
			if live {
				fmt.Fprintf(w, "\r\033[K%s", line)
			} else {
				fmt.Fprintln(w, line)
			}
			last = line
		}
		if err != nil {
			return exitError{exitUnexpected, err}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func statusLine(c *localcluster.Cluster) (string, error) {
	var parts []string
	var failure error
	for _, n := range c.Nodes() {
		if err := n.Engine.Err(); err != nil {
			failure = fmt.Errorf("node %s stopped: %w", n.ID, err)
			parts = append(parts, fmt.Sprintf("%s stopped", n.ID))
			continue
		}
		s := n.Engine.Status()
		parts = append(parts, fmt.Sprintf("%s %s @%d", s.ID, s.State, s.AppliedIndex))
	}
	return strings.Join(parts, "   "), failure
}
