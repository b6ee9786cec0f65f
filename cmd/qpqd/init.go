package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"quicproquo/cluster"
	"quicproquo/cmd/internal/keysource"
	"quicproquo/cmd/internal/node"
	"quicproquo/crypto/tlsid"
	"quicproquo/nodeaddr"
)

func initCommand() *cobra.Command {
	var nodes, authorities []string
	var out, from string
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Write one self-contained directory per node of a new cluster",
		Long: `Makes a new cluster: its certificate authority, its key, and for each node a
directory with configuration, certificates and secrets. Copy each directory to
its machine and start it there with "qpqd run --dir".

The directories hold the cluster's secrets: move them over a safe way, and
delete them here afterwards.

The key of the certificate authority goes to all nodes, or to those that --ca-nodes
names: they renew the others' certificates, every few weeks, so one of them must run
then. It is sealed under the cluster key, which every node needs. That lies in each
directory as cluster.key, or comes from where --cluster-key says, now and at every start:
fd:N, command:PROGRAM ARGS (32 bytes, or 64 hexadecimal digits), passphrase-file:PATH or
passphrase-fd:N (the directory then holds cluster.key.sealed).`,
		Example: `  qpqd init --node n1=10.0.0.1:4430 --node n2=10.0.0.2:4430 --node n3=10.0.0.3:4430 --out cluster/
  qpqd init --node … --out cluster/ --ca-nodes n1,n2 --cluster-key 'command:/usr/local/bin/kms get qpq'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			peers, err := node.ParsePeers(nodes)
			if err != nil {
				return err
			}
			if len(peers) == 0 {
				return errors.New("name the nodes: --node n1=HOST:PORT --node n2=HOST:PORT --node n3=HOST:PORT")
			}
			if err := provision(out, peers, from, authorities); err != nil {
				return err
			}
			w := cmd.OutOrStdout()
			for _, p := range peers {
				fmt.Fprintf(w, "%s\t%s\n", filepath.Join(out, string(p.ID)), p.Address)
			}
			notes := cmd.ErrOrStderr()
			fmt.Fprintln(notes, "\nCopy each directory to its machine, then start it there:  qpqd run --dir DIRECTORY")
			clients, err := pinned(out)
			if err != nil {
				return err
			}
			fmt.Fprintf(notes, "Clients trust the cluster by its pin:  qpq register NAME --server '%s'\n", nodeaddr.Format(clients))
			if len(peers) < 3 || len(peers)%2 == 0 {
				fmt.Fprintf(notes, "Note: %d nodes survive the loss of %d; three survive one, five survive two.\n",
					len(peers), (len(peers)-1)/2)
			}
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&nodes, "node", nil, "a node as ID=HOST:PORT; repeat for each")
	cmd.Flags().StringSliceVar(&authorities, "ca-nodes", nil, "ids of the nodes that hold the key of the certificate authority (default: all)")
	cmd.Flags().StringVar(&from, "cluster-key", "", "where the cluster key comes from: file, fd:N, command:…, passphrase-file:PATH or passphrase-fd:N (default file)")
	cmd.Flags().StringVar(&out, "out", "", "where to write the directories")
	_ = cmd.MarkFlagRequired("out") // fails only for a flag that does not exist
	return cmd
}

// provision makes the directories, with the secrets where the flags want them.
func provision(out string, peers []cluster.Peer, from string, authorities []string) error {
	source, err := keysource.Parse(from)
	if err != nil {
		return err
	}
	custody := cluster.Custody{}
	for _, id := range authorities {
		custody.Authorities = append(custody.Authorities, tlsid.NodeID(id))
	}
	if custody.Key, err = source.New(); err != nil {
		return err
	}
	if custody.WriteKey, err = source.Writer(custody.Key); err != nil {
		return err
	}
	return node.ProvisionWith(out, peers, node.ListenEverywhere, from, custody)
}
