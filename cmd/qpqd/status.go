package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sort"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"quicproquo/cluster"
	"quicproquo/cmd/internal/node"
	"quicproquo/crypto/tlsid"
	"quicproquo/fsm"
)

// statusTime bounds the whole command.
const statusTime = 10 * time.Second

func statusCommand() *cobra.Command {
	var dir string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show every member: who leads, who follows, how far",
		Long: `Asks every member of the cluster for its state, with the certificate that lies in
a node's directory. Works from any machine that has one such directory, whether
or not that node runs.`,
		Example: `  qpqd status                     # the cluster of "qpqd dev"
  qpqd status --dir /var/lib/qpqd # a node of a real one
  qpqd status --json | jq -r '.[] | select(.state=="leader").id'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), statusTime)
			defer cancel()
			rows, err := status(ctx, dir)
			if err != nil {
				return err
			}
			if asJSON {
				err = json.NewEncoder(cmd.OutOrStdout()).Encode(rows)
			} else {
				err = printStatus(cmd.OutOrStdout(), rows)
			}
			return errors.Join(err, verdict(rows))
		},
	}
	cmd.Flags().StringVar(&dir, "dir", devDir, "a node's directory, or one that holds several")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print an array of objects")
	return cmd
}

// statusRow is one member in the output; the names of the JSON fields stay.
type statusRow struct {
	ID           string `json:"id"`
	State        string `json:"state"` // leader, follower, candidate, shutdown, unreachable
	Voter        bool   `json:"voter"`
	Address      string `json:"address"`
	Configured   string `json:"configuredAddress"` // in raft's configuration, which clients are told
	AppliedIndex uint64 `json:"appliedIndex"`
	CommandIndex uint64 `json:"commandIndex"`
	Lag          uint64 `json:"lag"` // raft entries behind the one that is furthest
	Term         uint64 `json:"term"`
	Leader       string `json:"leader"`
	Version      string `json:"version"`
	ReadOnly     bool   `json:"readOnly"`
	ClockOffMs   int64  `json:"clockOffMs"` // ahead of a majority's clocks
	ClockWrong   bool   `json:"clockWrong"` // by more than the setting clock_error_secs
	// Key is what the furthest member knows it by, 64 hexadecimal digits; "" if it does not.
	Key    string `json:"key,omitempty"`
	Denied bool   `json:"denied"` // nobody lets that key in
	// DeniedKeys are those that this member's store denies: key, and whose it was.
	DeniedKeys []deniedKey `json:"deniedKeys,omitempty"`
	Fault      string      `json:"fault,omitempty"`
	Error      string      `json:"error,omitempty"`
}

func status(ctx context.Context, dir string) ([]statusRow, error) {
	seen, err := observe(ctx, dir)
	return statusRows(seen), err
}

// observe asks every node for its status, from a directory of one.
func observe(ctx context.Context, dir string) ([]cluster.Observation, error) {
	peers, identity, err := readNode(dir)
	if err != nil {
		return nil, err
	}
	conn, err := openSocket()
	if err != nil {
		return nil, err
	}
	seen, err := cluster.Observe(ctx, conn, identity, peers, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, exitError{exitIO, err}
	}
	return seen, nil
}

// openSocket is where a command calls nodes from.
func openSocket() (net.PacketConn, error) {
	conn, err := net.ListenPacket("udp", ":0")
	if err != nil {
		return nil, exitError{exitIO, fmt.Errorf("open a UDP socket: %w", err)}
	}
	return conn, nil
}

// readNode returns the peers and the certificate of a node that has its directory at or
// below dir.
func readNode(dir string) ([]cluster.Peer, *tlsid.Identity, error) {
	home, err := findNodeDir(dir)
	if err != nil {
		return nil, nil, err
	}
	config, err := node.Load(home)
	if err != nil {
		return nil, nil, err
	}
	peers, err := node.ParsePeers(config.Peers)
	if err != nil {
		return nil, nil, err
	}
	identity, err := cluster.LoadIdentity(home)
	if err != nil {
		return nil, nil, err
	}
	return peers, identity, nil
}

// findNodeDir returns dir if it is a node's directory, else the first one in it.
func findNodeDir(dir string) (string, error) {
	if _, err := os.Stat(filepath.Join(dir, node.ConfigFile)); err == nil {
		return dir, nil
	}
	found, err := filepath.Glob(filepath.Join(dir, "*", node.ConfigFile))
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("no node's directory at %s: start a cluster with `qpqd dev`, or name a directory with --dir", dir)
	}
	sort.Strings(found)
	return filepath.Dir(found[0]), nil
}

// deniedKey is a key that nobody lets in.
type deniedKey struct {
	Key  string `json:"key"`
	Node string `json:"node,omitempty"`
}

func deniedKeys(keys *fsm.NodeKeys) (list []deniedKey) {
	for _, d := range keys.Denied {
		list = append(list, deniedKey{fmt.Sprintf("%x", d.Key), d.Node})
	}
	return list
}

func statusRows(seen []cluster.Observation) []statusRow {
	var furthest uint64
	var keys fsm.NodeKeys // of the member that is furthest
	for _, o := range seen {
		if o.Status != nil && o.Status.AppliedIndex >= furthest {
			furthest, keys = o.Status.AppliedIndex, o.Status.NodeKeys
		}
	}
	rows := make([]statusRow, 0, len(seen))
	for _, o := range seen {
		row := statusRow{ID: string(o.ID), Address: o.Address, Configured: o.Configured, Voter: o.Voter, State: "unreachable"}
		if key, known := keys.KeyOf(string(o.ID)); known {
			row.Key, row.Denied = fmt.Sprintf("%x", key), keys.Denies(key)
		}
		if o.Err != nil {
			row.Error = o.Err.Error()
		}
		if s := o.Status; s != nil {
			row.State, row.Version, row.Leader, row.Term = s.State, s.Version, string(s.Leader), s.Term
			row.AppliedIndex, row.CommandIndex = s.AppliedIndex, s.CommandIndex
			row.Lag = furthest - s.AppliedIndex
			row.ReadOnly, row.Fault = s.ReadOnly, s.Fault
			row.DeniedKeys = deniedKeys(&s.NodeKeys)
			row.ClockOffMs, row.ClockWrong = s.ClockOff.Milliseconds(), s.ClockWrong
		}
		rows = append(rows, row)
	}
	sort.Slice(rows, func(i, j int) bool { return rows[i].ID < rows[j].ID })
	return rows
}

// signed is how far a clock is ahead, to the second.
func signed(ms int64) string {
	d := (time.Duration(ms) * time.Millisecond).Round(time.Second)
	if d > 0 {
		return "+" + d.String()
	}
	return d.String()
}

func printStatus(w io.Writer, rows []statusRow) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tSTATE\tAPPLIED\tCOMMANDS\tLAG\tVERSION\tADDRESS")
	for _, r := range rows {
		state := r.State
		if !r.Voter {
			state += " (catching up)"
		}
		if r.ReadOnly {
			state += " (disk nearly full)"
		}
		if r.ClockWrong {
			state += fmt.Sprintf(" (clock %s)", signed(r.ClockOffMs))
		}
		if r.Denied {
			state += " (denied)"
		}
		if r.State == "unreachable" {
			fmt.Fprintf(table, "%s\t%s\t-\t-\t-\t-\t%s\n", r.ID, state, r.Address)
			continue
		}
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%d\t%s\t%s\n",
			r.ID, state, r.AppliedIndex, r.CommandIndex, r.Lag, r.Version, r.Address)
	}
	return errors.Join(table.Flush(), printDenied(w, rows))
}

// printDenied lists the keys that the furthest member denies.
func printDenied(w io.Writer, rows []statusRow) error {
	var furthest *statusRow
	for i := range rows {
		if furthest == nil || rows[i].AppliedIndex > furthest.AppliedIndex {
			furthest = &rows[i]
		}
	}
	if furthest == nil || len(furthest.DeniedKeys) == 0 {
		return nil
	}
	fmt.Fprintln(w, "\nDenied keys:")
	for _, d := range furthest.DeniedKeys {
		if _, err := fmt.Fprintf(w, "%s  %s\n", d.Key, d.Node); err != nil {
			return err
		}
	}
	return nil
}

// verdict makes scripts notice a cluster that can't write: no leader that a
// majority of the voters follows.
func verdict(rows []statusRow) error {
	voters, followed := 0, map[string]int{}
	for _, r := range rows {
		if r.Voter {
			voters++
			if r.Leader != "" {
				followed[r.Leader]++
			}
		}
	}
	for _, r := range rows {
		if r.State == "leader" && followed[r.ID] > voters/2 {
			return nil
		}
	}
	return exitError{exitIO, errors.New("no leader that a majority follows: the cluster can't take writes now. " +
		"Check that most nodes run and reach each other; after a crash an election takes about two seconds")}
}
