package testcluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"quicproquo/client/conn"
	"quicproquo/cluster"
	"quicproquo/cluster/diskguard"
	"quicproquo/cluster/raftlog"
	"quicproquo/crypto/tlsid"
	"quicproquo/rpc"
)

// Node is one node and what can be done to it. mu guards what follows it; the rest is
// set once.
type Node struct {
	cluster *Cluster
	id      tlsid.NodeID
	dir     string
	address string
	peers   []cluster.Peer
	disk    disk
	clock   atomic.Int64 // how far its clock is off, in nanoseconds

	mu      sync.Mutex
	join    bool
	learn   bool           // see LearnKeys
	storeFS *vfs.MemFS     // nil: the store is on the real disk
	timing  cluster.Timing // for the next Start; zero: the cluster's
	log     raftlog.Kind   // the same
	conn    net.PacketConn // listening for the next Start
	engine  *cluster.Node
	server  *rpc.Server
}

// ID returns the node's id.
func (n *Node) ID() tlsid.NodeID { return n.id }

// Address returns the node's HOST:PORT; it keeps it over restarts.
func (n *Node) Address() string { return n.address }

// Dir returns the node's directory.
func (n *Node) Dir() string { return n.dir }

// Engine returns the running node, nil while it is down.
func (n *Node) Engine() *cluster.Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.engine
}

// Server returns the running node's front door, nil while it is down.
func (n *Node) Server() *rpc.Server {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.server
}

func (n *Node) faultsName() { n.cluster.Faults().Name(n.address, string(n.id)) }

// Start opens the node with whatever its directory holds.
func (n *Node) Start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.engine != nil {
		return fmt.Errorf("node %s runs already", n.id)
	}
	if n.conn == nil {
		socket, err := n.cluster.network.Listen(n.address)
		if err != nil {
			return err
		}
		n.conn = socket
	}
	secrets, err := cluster.LoadSecrets(n.dir)
	if err != nil {
		return err
	}
	socket := n.conn
	n.conn = nil // the engine owns it from here on
	engine, err := cluster.Open(n.config(socket, secrets))
	if err != nil {
		return err
	}
	n.engine = engine
	n.server = rpc.NewServer(rpc.Engine(engine), rpc.Options{Limits: n.cluster.options.Limits, Logger: n.cluster.options.Logger, ClusterKeys: secrets.Keys.Keys})
	engine.Serve(tlsid.ALPNClient, n.server.Serve)
	return nil
}

func (n *Node) config(socket net.PacketConn, secrets cluster.Secrets) cluster.Config {
	o := n.cluster.options
	if n.timing != (cluster.Timing{}) {
		o.Timing = n.timing
	}
	if n.log != "" {
		o.LogStore = n.log
	}
	cfg := cluster.Config{
		ID: n.id, Address: n.address, Dir: n.dir, Conn: socket,
		Identity: secrets.Identity, Authority: secrets.Authority, Keys: secrets.Keys, Secrets: rpc.Secrets(),
		Peers: n.peers, Join: n.join, LearnKeys: n.learn,
		LogStore: o.LogStore, Timing: o.Timing, Snapshot: o.Snapshot, Batching: o.Batching,
		MinFreeDisk: o.MinFreeDisk, Logger: o.Logger,
	}
	if o.FeatureLevel != nil {
		cfg.FeatureLevel = o.FeatureLevel(n.id)
	}
	cfg.MeasureDisk = n.disk.measure
	if o.Disk != nil {
		cfg.MeasureDisk = func(string) (diskguard.Usage, error) { return o.Disk(n.id), nil }
	}
	if n.storeFS != nil {
		cfg.StoreFS = n.disk.wrap(n.storeFS)
	}
	cfg.Now = func() time.Time { return time.Now().Add(time.Duration(n.clock.Load())) }
	return cfg
}

// Stop closes the node in good order; stopping a stopped node does nothing.
func (n *Node) Stop(ctx context.Context) error {
	engine, server, socket := n.take()
	if socket != nil {
		return socket.Close()
	}
	if engine == nil {
		return nil
	}
	return errors.Join(server.Close(ctx), engine.Close(ctx))
}

// Kill stops the node as a crash would: nobody is told, and what the store had
// not flushed is gone.
func (n *Node) Kill() error {
	engine, server, socket := n.take()
	if socket != nil {
		return socket.Close()
	}
	if engine == nil {
		return nil
	}
	err := engine.Abort()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = server.Close(ctx) // its connections are gone already
	return err
}

func (n *Node) take() (*cluster.Node, *rpc.Server, net.PacketConn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	engine, server, socket := n.engine, n.server, n.conn
	n.engine, n.server, n.conn = nil, nil, nil
	return engine, server, socket
}

// Restart kills the node if it runs and starts it again.
func (n *Node) Restart() error {
	if err := n.Kill(); err != nil {
		return err
	}
	return n.Start()
}

// Wipe deletes what a stopped node stored: its log, store and snapshots. Its
// identity stays. It must not bootstrap again: the others have the cluster, and its
// configuration names those that are there now.
func (n *Node) Wipe() error {
	if n.Engine() != nil {
		return fmt.Errorf("node %s runs: stop it before wiping", n.id)
	}
	for _, part := range []string{"raft", "store", "snapshots"} {
		if err := os.RemoveAll(filepath.Join(n.dir, part)); err != nil {
			return fmt.Errorf("wipe node %s: %w", n.id, err)
		}
	}
	var peers []cluster.Peer
	for _, other := range n.cluster.Nodes() {
		peers = append(peers, cluster.Peer{ID: other.id, Address: other.address})
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.join, n.peers = true, peers
	if n.storeFS == nil {
		return nil
	}
	fresh, err := newMemoryDisk(n.dir)
	n.storeFS = fresh
	return err
}

// Client connects to this node alone.
func (n *Node) Client() (*conn.Conn, error) { return n.cluster.Client(n) }

// LearnKeys has the node, from its next start on, take every certificate of the authority.
func (n *Node) LearnKeys(learn bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.learn = learn
}
