package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"quicproquo/cluster"
	"quicproquo/cmd/internal/keysource"
	"quicproquo/cmd/internal/node"
	"quicproquo/crypto/tlsid"
	"quicproquo/schemas"
)

func rotateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Replace a key of the whole cluster while it runs",
	}
	cmd.AddCommand(rotateClusterKeyCommand())
	return cmd
}

func rotateClusterKeyCommand() *cobra.Command {
	var dir, from string
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "cluster-key",
		Short: "Replace the cluster key",
		Long: `Gives all members a new cluster key over their own connections, seals under it what lay
under the old one (the secrets of logins, and the authority's key where a node holds it), and
has every node forget the old key. Logins and calls go on; passwords stay what they are.

A member that is down gets the key when it comes back, and until then both keys are valid:
deny one that does not come back (` + "`qpqd deny`" + `). Whose key is denied never gets it. Started again while a rotation is under way, the command waits for that one.

Where nodes have the key in their directory, in the clear or under a passphrase, they put the
new one there. Where it comes from a command or a file descriptor, put a new key there first
and name it with --new-key; each node goes on with both until its source gives the new one.`,
		Example: `  qpqd rotate cluster-key --dir /var/lib/qpqd
  qpqd rotate cluster-key --dir /var/lib/qpqd --new-key 'command:/usr/local/bin/kms get qpq-2'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			key, err := newClusterKey(dir, from)
			if err != nil {
				return err
			}
			defer clear(key[:])
			if err := rotateClusterKey(cmd.Context(), dir, key); err != nil {
				if !errors.Is(err, cluster.ErrRotating) {
					return err
				}
				fmt.Fprintf(cmd.ErrOrStderr(), "%v\n", err)
			}
			return awaitRotation(cmd.Context(), cmd.ErrOrStderr(), dir, wait)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", devDir, "a node's directory, or one that holds several")
	cmd.Flags().StringVar(&from, "new-key", "", "where the new key comes from: fd:N or command:PROGRAM ARGS (default: it is drawn)")
	cmd.Flags().DurationVar(&wait, "wait", operateTime, "how long to wait until all members have it")
	return cmd
}

// newClusterKey draws a key, or reads the one that an operator has made where this node's
// directory is not where keys come from.
func newClusterKey(dir, from string) (key tlsid.ClusterKey, err error) {
	home, err := findNodeDir(dir)
	if err != nil {
		return key, err
	}
	config, err := node.Load(home)
	if err != nil {
		return key, err
	}
	if from == "" {
		source, err := keysource.Parse(config.ClusterKey)
		switch {
		case err != nil:
			return key, err
		case !source.Local() && !source.Sealed():
			return key, fmt.Errorf("this node's cluster key comes from %s: put a new key where such a source gives it, and name that with --new-key", source)
		}
		return source.New()
	}
	source, err := keysource.Parse(from)
	if err != nil {
		return key, err
	}
	if source.Local() || source.Sealed() {
		return key, errors.New("--new-key takes fd:N or command:PROGRAM ARGS (for a file: 'command:cat FILE')")
	}
	return source.Read("")
}

func rotateClusterKey(ctx context.Context, dir string, key tlsid.ClusterKey) error {
	peers, identity, err := readNode(dir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, operateTime)
	defer cancel()
	result, err := cluster.RotateClusterKey(ctx, openSocket, identity, peers, slog.New(slog.DiscardHandler), key)
	if err != nil {
		return exitError{exitIO, err}
	}
	if result.Code == schemas.Code_secretVersion {
		return errors.New("another rotation of the cluster key was begun at the same time: nothing was changed by this one")
	}
	if result.Code != schemas.Code_ok {
		return refusedBy(result)
	}
	return nil
}

const (
	// rotationPause is how often a waiting command looks.
	rotationPause = 500 * time.Millisecond
	// settleTime is how long nodes that can put the key into their directories take at most.
	settleTime = 5 * time.Second
)

// awaitRotation tells who is waited for, and what is left to do.
func awaitRotation(ctx context.Context, notes io.Writer, dir string, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	told, settling := "", time.Now()
	for {
		r, err := rotationOf(ctx, dir)
		if err != nil {
			return err
		}
		inForce := r.Version > 0 && r.InForce && len(r.Without) == 0
		if !inForce {
			settling = time.Now()
		}
		if inForce && (len(r.Old) == 0 || time.Since(settling) > settleTime) {
			fmt.Fprintf(notes, "The cluster key is %s.\n", r.To)
			if len(r.Old) > 0 {
				fmt.Fprintf(notes, "Still started with another key, and keeping both: %s. They forget the old one within two minutes after a command gives the new one; where it comes from fd:N, start them again with the new one.\n", names(r.Old))
			}
			return nil
		}
		if now := names(r.Without); now != told && now != "" {
			told = now
			fmt.Fprintf(notes, "Waiting for %s.\n", now)
		}
		select {
		case <-time.After(rotationPause):
		case <-ctx.Done():
			return exitError{exitIO, fmt.Errorf("the cluster key %s is not with all members yet (%s): it goes on by itself; run the command again to see how far it is", r.To, told)}
		}
	}
}

func names(ids []tlsid.NodeID) string {
	texts := make([]string, 0, len(ids))
	for _, id := range ids {
		texts = append(texts, string(id))
	}
	return strings.Join(texts, ", ")
}

func rotationOf(ctx context.Context, dir string) (cluster.Rotation, error) {
	seen, err := observe(ctx, dir)
	return cluster.RotationOf(seen), err
}
