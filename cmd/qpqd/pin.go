package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"quicproquo/nodeaddr"
)

func pinCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "pin",
		Short: "Print the address that clients take: all nodes, and the cluster's pin",
		Long: `Prints one line: the addresses of the nodes that this directory knows, with the
fingerprint of the cluster's certificate authority. With it a client trusts exactly this
cluster, whoever answers. One of the addresses is enough: a client learns the others from
the first node that it reaches. The pin holds as long as the authority's key does; nodes
renew their certificates under it by themselves.`,
		Example: `  qpqd pin --dir /var/lib/qpqd
  qpq register alice --server "$(qpqd pin)"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			addresses, err := pinned(dir)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), nodeaddr.Format(addresses))
			return err
		},
	}
	cmd.Flags().StringVar(&dir, "dir", devDir, "a node's directory, or one that holds several")
	return cmd
}

// pinned returns the client addresses of a cluster, one of whose nodes has its
// directory at or below dir.
func pinned(dir string) ([]nodeaddr.Address, error) {
	peers, identity, err := readNode(dir)
	if err != nil {
		return nil, err
	}
	pin := identity.Pin()
	addresses := make([]nodeaddr.Address, 0, len(peers))
	for _, p := range peers {
		addresses = append(addresses, nodeaddr.Address{Endpoint: p.Address, Pin: &pin})
	}
	return addresses, nil
}
