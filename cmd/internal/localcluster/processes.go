package localcluster

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"path/filepath"
	"sync"

	"quicproquo/cluster"
	"quicproquo/cmd/internal/node"
	"quicproquo/crypto/tlsid"
	"quicproquo/internal/await"
	"quicproquo/internal/process"
)

// Process is a node in a process of its own. A log of its standard error lies beside its
// directory.
type Process struct {
	*process.Process
	ID      tlsid.NodeID
	Address string // HOST:PORT
	Dir     string
	command func(dir string) *exec.Cmd
}

// Start starts the node's process with whatever its directory holds.
func (p *Process) Start() error { return p.Process.Start(p.command(p.Dir), nil) }

// Processes is a cluster whose nodes are processes.
type Processes struct {
	peers    []cluster.Peer
	nodes    []*Process
	identity *tlsid.Identity // of the first node, to ask the others with
}

// StartProcesses makes a cluster of count nodes below dir and starts it. command says how a
// node is started: it ends when its standard input does (node.RunChild). It does not wait
// for a leader.
func StartProcesses(dir string, count int, command func(dir string) *exec.Cmd) (*Processes, error) {
	peers, err := Peers(count, 0)
	if err != nil {
		return nil, err
	}
	if err := node.Provision(dir, peers, node.ListenThere); err != nil {
		return nil, fmt.Errorf("make the nodes' directories: %w", err)
	}
	c := &Processes{peers: peers}
	for _, p := range peers {
		own := filepath.Join(dir, string(p.ID))
		c.nodes = append(c.nodes, &Process{process.New("node "+string(p.ID), own+".log"), p.ID, p.Address, own, command})
	}
	secrets, err := cluster.LoadSecrets(c.nodes[0].Dir)
	if err != nil {
		return nil, err
	}
	c.identity = secrets.Identity
	for _, n := range c.nodes {
		if err := n.Start(); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

// Nodes returns all nodes, running or not.
func (c *Processes) Nodes() []*Process { return c.nodes }

// Pin is the fingerprint by which clients know the cluster.
func (c *Processes) Pin() [sha256.Size]byte { return c.identity.Pin() }

// Observe asks every member for its status.
func (c *Processes) Observe(ctx context.Context) ([]cluster.Observation, error) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("observe the nodes: %w", err)
	}
	return cluster.Observe(ctx, conn, c.identity, c.peers, slog.New(slog.DiscardHandler))
}

// WaitLeader waits until a majority of the nodes follows one and returns that.
func (c *Processes) WaitLeader(ctx context.Context) (*Process, error) {
	var leader *Process
	err := await.Until(ctx, "a leader", func() error {
		for _, n := range c.nodes {
			if n.Ended() {
				return fmt.Errorf("node %s has ended: %s", n.ID, n.LastWords())
			}
		}
		seen, err := c.Observe(ctx)
		if err != nil {
			return err
		}
		followed := cluster.Followed(seen, len(c.nodes))
		for _, n := range c.nodes {
			if n.ID == followed && n.PID() != 0 {
				leader = n
				return nil
			}
		}
		return errors.New("no node is followed by a majority")
	})
	return leader, err
}

// Close ends all processes in good order, at the same time.
func (c *Processes) Close() error {
	errs := make([]error, len(c.nodes))
	var wg sync.WaitGroup
	for i, n := range c.nodes {
		wg.Go(func() { errs[i] = n.Stop() })
	}
	wg.Wait()
	return errors.Join(errs...)
}
