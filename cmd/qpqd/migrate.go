package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"quicproquo/cluster"
	"quicproquo/cluster/raftlog"
	"quicproquo/cmd/internal/node"
)

func migrateCommand() *cobra.Command {
	var dir, to string
	cmd := &cobra.Command{
		Use:   "migrate-log",
		Short: "Move a stopped node's raft log to another log store",
		Long: `Copies the raft log of a stopped node from one log store to the other, checks
every entry, and switches over. Interrupted at any point, it can be run again.
Afterwards start the node with the same --log-store.`,
		Example: `  qpqd migrate-log --dir /var/lib/qpqd --to wal`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			moved, err := cluster.MigrateLog(dir, raftlog.Kind(to))
			if err != nil {
				return exitError{exitIO, err}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%d entries are in %s now; set log-store = %q in %s\n",
				moved, to, to, filepath.Join(dir, node.ConfigFile))
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "the node's directory")
	cmd.Flags().StringVar(&to, "to", "", "the log store to move to: boltdb or wal")
	_ = cmd.MarkFlagRequired("dir") // fails only for a flag that does not exist
	_ = cmd.MarkFlagRequired("to")
	return cmd
}
