package testcluster

import (
	"fmt"
	"os"

	"quicproquo/cluster"
)

// Mixed is what of another node's a node is started with, by mistake.
type Mixed struct {
	Secrets *Node // its certificate and key; nil: the node's own
	Data    *Node // a copy of its data directory; nil: the node's own
}

// StartMixed starts a stopped node with something of another's and returns what it said:
// nil if it went on. Then it is ended again.
func (n *Node) StartMixed(m Mixed) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.engine != nil {
		return fmt.Errorf("node %s runs: stop it before it is started with another's", n.id)
	}
	of, dir := n, n.dir
	if m.Secrets != nil {
		of = m.Secrets
	}
	secrets, err := cluster.LoadSecrets(of.dir)
	if err != nil {
		return err
	}
	if m.Data != nil {
		dir = n.dir + ".mixed"
		if err := CopyTree(m.Data.dir, dir); err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }()
	}
	conn, err := n.cluster.network.Listen(n.address)
	if err != nil {
		return err
	}
	cfg := n.config(conn, secrets)
	cfg.Dir = dir
	engine, err := cluster.Open(cfg)
	if err != nil {
		_ = conn.Close() // the node may have closed it
		return err
	}
	return engine.Abort()
}
