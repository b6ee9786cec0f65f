package main

import (
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"quicproquo/cluster"
	"quicproquo/cmd/internal/node"
	"quicproquo/crypto/tlsid"
	"quicproquo/schemas"
)

func denyCommand() *cobra.Command {
	var dir string
	var undo bool
	cmd := &cobra.Command{
		Use:   "deny NODE|KEY",
		Short: "Shut out a stolen node",
		Long: `Has every node refuse a key from here on: the one that a member has, or any, by the 64
hexadecimal digits that ` + "`qpqd status --json`" + ` and logs show. Connections that the node has
open are closed, and it stops when it learns of it. The cluster keeps the denial forever,
or until --undo.

The keys of a majority are never denied. Run it with the directory of a node that is not
stolen; docs/operations.md has the whole drill.`,
		Example: `  qpqd deny n3 --dir /var/lib/qpqd
  qpqd deny --undo 5f0c…`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			change := schemas.ChangeNodeKey_Change_deny
			id, key, err := nodeOrKey(args[0])
			if err != nil {
				return err
			}
			if undo {
				if key == nil {
					return errors.New("--undo takes the key, not the node: `qpqd status` lists the denied ones")
				}
				change = schemas.ChangeNodeKey_Change_allow
			}
			if _, err := operate(cmd.Context(), dir, fillNodeKey(id, key, change)); err != nil {
				return err
			}
			if !undo {
				fmt.Fprintln(cmd.ErrOrStderr(), "Denied. If the node held the key of the certificate authority or the cluster key, see docs/operations.md, \"A stolen node\".")
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", devDir, "a node's directory, or one that holds several")
	cmd.Flags().BoolVar(&undo, "undo", false, "take the denial of a key back")
	return cmd
}

func trustCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "trust NODE KEY",
		Short: "Let a node in by another key",
		Long: `Tells the cluster that a node has another key from here on, or, of a node that is to be
added, which key it will come with. KEY is 64 hexadecimal digits: ` + "`qpqd replace`" + ` prints it,
and so does the log of a node that is not let in. Check that it is the node's own.`,
		Example: `  qpqd trust n3 5f0c… --dir /var/lib/qpqd`,
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := tlsid.ParseNodeID(args[0])
			if err != nil {
				return err
			}
			key, err := parseNodeKey(args[1])
			if err != nil {
				return err
			}
			_, err = operate(cmd.Context(), dir, fillNodeKey(id, key, schemas.ChangeNodeKey_Change_replace))
			return err
		},
	}
	cmd.Flags().StringVar(&dir, "dir", devDir, "a node's directory, or one that holds several")
	return cmd
}

func replaceCommand() *cobra.Command {
	var dir, out, address string
	var without bool
	cmd := &cobra.Command{
		Use:   "replace NODE",
		Short: "Write a new directory, with a new key, for a node",
		Long: `Makes the directory of a node again, for one that was stolen or has lost all of its disk:
configuration, a new key and its certificate, and the cluster's secrets as --dir has them.
--dir must hold the key of the certificate authority. Then ` + "`qpqd trust`" + ` tells the cluster of
the key, and the node starts with ` + "`qpqd run --join`" + ` and fetches everything from the others.`,
		Example: `  qpqd replace n3 --dir /var/lib/qpqd --out n3-new
  qpqd trust n3 KEY --dir /var/lib/qpqd`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := tlsid.ParseNodeID(args[0])
			if err != nil {
				return err
			}
			home, err := findNodeDir(dir)
			if err != nil {
				return err
			}
			authority, custody, err := custodyOf(home)
			if err != nil {
				return err
			}
			if without {
				custody.Authorities = []tlsid.NodeID{}
			}
			key, err := node.Replace(home, out, id, address, authority, custody)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%x\n", key)
			fmt.Fprintf(cmd.ErrOrStderr(), "Tell the cluster:  qpqd trust %s %x --dir %s\nThen, on its machine:  qpqd run --join --dir DIRECTORY\n", id, key, dir)
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", devDir, "the directory of another node that holds the key of the certificate authority")
	cmd.Flags().StringVar(&out, "out", "", "where to write the new directory")
	cmd.Flags().StringVar(&address, "address", "", "HOST:PORT of the node (default: where node.toml has it)")
	cmd.Flags().BoolVar(&without, "without-ca-key", false, "do not give it the key of the certificate authority")
	_ = cmd.MarkFlagRequired("out") // fails only for a flag that does not exist
	return cmd
}

// custodyOf reads a directory's secrets, and how the cluster key is kept there.
func custodyOf(dir string) (*tlsid.Authority, cluster.Custody, error) {
	config, err := node.Load(dir)
	if err != nil {
		return nil, cluster.Custody{}, err
	}
	source, secrets, err := readSecrets(dir, config.ClusterKey)
	if err != nil {
		return nil, cluster.Custody{}, err
	}
	write, err := source.Writer(secrets.ClusterKey)
	return secrets.Authority, cluster.Custody{Key: secrets.ClusterKey, WriteKey: write}, err
}

// nodeOrKey reads a node's id or a key, which is longer than any id.
func nodeOrKey(text string) (tlsid.NodeID, []byte, error) {
	if len(text) >= hex.EncodedLen(schemas.NodeKeySize) {
		key, err := parseNodeKey(text)
		return "", key, err
	}
	id, err := tlsid.ParseNodeID(text)
	return id, nil, err
}

func parseNodeKey(text string) ([]byte, error) {
	key, err := hex.DecodeString(text)
	if err != nil || len(key) != schemas.NodeKeySize {
		return nil, fmt.Errorf("%.80q is no node's key: want %d hexadecimal digits", text, hex.EncodedLen(schemas.NodeKeySize))
	}
	return key, nil
}

func fillNodeKey(id tlsid.NodeID, key []byte, change schemas.ChangeNodeKey_Change) func(schemas.Entry_command) error {
	return func(to schemas.Entry_command) error { return cluster.FillNodeKey(to, id, key, change) }
}
