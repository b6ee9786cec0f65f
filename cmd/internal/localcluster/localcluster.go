// Package localcluster starts, awaits and stops clusters on this machine for people who
// try things: in this process (`qpqd dev`) or in processes of their own (qpqdemo). Nodes
// are real ones. It can do them no harm but kill their processes: faults are in
// testcluster, which no program that people run contains.
//
// Reading order: localcluster.go (nodes in this process), processes.go, command_linux.go
// and command_other.go (a child that never outlives this process).
package localcluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"quicproquo/cluster"
	"quicproquo/cmd/internal/node"
	"quicproquo/crypto/tlsid"
	"quicproquo/internal/process"
	"quicproquo/rpc"
)

// Node is a node of this process.
type Node struct {
	*node.Node
	ID      tlsid.NodeID
	Address string // HOST:PORT
	Dir     string
}

// Cluster is nodes of this process.
type Cluster struct{ nodes []*Node }

// Open opens the nodes of some directories as node.Provision made them, with default
// limits. It does not wait for a leader.
func Open(dirs []string, options node.Options, logger *slog.Logger) (*Cluster, error) {
	c := &Cluster{}
	for _, dir := range dirs {
		config, err := node.Load(dir)
		if err == nil {
			var n *node.Node
			if n, err = node.OpenDir(dir, options, rpc.Limits{}, logger); err == nil {
				c.nodes = append(c.nodes, &Node{n, tlsid.NodeID(config.ID), config.Address, dir})
				continue
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), node.ShutdownTime)
		defer cancel()
		return nil, errors.Join(err, c.Close(ctx))
	}
	return c, nil
}

// Nodes returns the nodes, in the order of their directories.
func (c *Cluster) Nodes() []*Node { return c.nodes }

// Close stops the nodes in good order, one after the other.
func (c *Cluster) Close(ctx context.Context) error {
	var errs []error
	for _, n := range c.nodes {
		errs = append(errs, n.Shutdown(ctx))
	}
	return errors.Join(errs...)
}

// Peers returns count nodes n1, n2, … at free ports of the loopback, port and those after
// it where they are free; port 0 is any.
func Peers(count, port int) ([]cluster.Peer, error) {
	peers := make([]cluster.Peer, 0, count)
	for i := range count {
		preferred := port
		if port != 0 {
			preferred += i
		}
		address, err := process.FreeAddress(preferred)
		if err != nil {
			return nil, err
		}
		peers = append(peers, cluster.Peer{ID: tlsid.NodeID(fmt.Sprintf("n%d", i+1)), Address: address})
	}
	return peers, nil
}
