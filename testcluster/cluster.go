package testcluster

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"quicproquo/client/conn"
	"quicproquo/cluster"
	"quicproquo/cluster/diskguard"
	"quicproquo/cluster/raftlog"
	"quicproquo/crypto/tlsid"
	"quicproquo/rpc"
)

// Options shape a cluster. Zero values mean three nodes on loopback with the
// defaults of package cluster.
type Options struct {
	Nodes    int
	Dir      string // holds one directory per node
	Network  Network
	LogStore raftlog.Kind
	Timing   cluster.Timing
	Snapshot cluster.SnapshotPolicy
	Batching cluster.Batching
	// MemoryStore keeps the stores in memory; logs stay on disk.
	MemoryStore bool
	MinFreeDisk float64
	// FeatureLevel is what a node announces when it starts; nil: this build's.
	FeatureLevel func(tlsid.NodeID) uint32
	// Limits of the nodes' front doors. In tests (StartT) rates are off if none
	// are named: hundreds of callers share one address there.
	Limits rpc.Limits
	// Disk says how full a node's disk is; nil asks the operating system.
	Disk   func(tlsid.NodeID) diskguard.Usage
	Logger *slog.Logger
	// Addresses are the nodes' ports; empty lets the network choose.
	Addresses []string
}

// Cluster is a running cluster. mu guards nodes and next.
type Cluster struct {
	options Options
	network Network

	mu    sync.Mutex
	nodes []*Node
	next  int
}

// Start provisions the nodes whose directories do not exist yet and opens all
// of them.
func Start(options Options) (*Cluster, error) {
	if options.Nodes == 0 {
		options.Nodes = 3
	}
	if options.Network == nil {
		options.Network = Loopback(NewFaults(1))
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Cluster{options: options, network: options.Network}
	if err := c.prepare(); err != nil {
		return nil, err
	}
	for _, n := range c.nodes {
		if err := n.Start(); err != nil {
			return nil, errors.Join(err, c.Close(context.Background()))
		}
	}
	return c, nil
}

// prepare finds addresses, makes directories and fills c.nodes.
func (c *Cluster) prepare() error {
	var peers []cluster.Peer
	for i := range c.options.Nodes {
		address := ""
		if i < len(c.options.Addresses) {
			address = c.options.Addresses[i]
		}
		node, err := c.newNode(address)
		if err != nil {
			return err
		}
		peers = append(peers, cluster.Peer{ID: node.id, Address: node.address})
		c.nodes = append(c.nodes, node)
	}
	if _, err := os.Stat(filepath.Join(c.nodes[0].dir, "tls")); err != nil {
		if err := cluster.Provision(c.options.Dir, peers, time.Now()); err != nil {
			return err
		}
	}
	for _, n := range c.nodes {
		n.peers = peers
		n.faultsName()
	}
	return nil
}

// newNode reserves an id, a directory and an address.
func (c *Cluster) newNode(address string) (*Node, error) {
	c.next++
	id := tlsid.NodeID(fmt.Sprintf("n%d", c.next))
	socket, err := c.network.Listen(address)
	if err != nil {
		return nil, err
	}
	n := &Node{
		cluster: c, id: id,
		dir:     filepath.Join(c.options.Dir, string(id)),
		address: socket.LocalAddr().String(),
		conn:    socket,
	}
	if c.options.MemoryStore {
		if n.storeFS, err = newMemoryDisk(n.dir); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// Nodes returns every node, running or not.
func (c *Cluster) Nodes() []*Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*Node(nil), c.nodes...)
}

// Node returns the i-th node, from 0.
func (c *Cluster) Node(i int) *Node { return c.Nodes()[i] }

// Faults is where links are cut.
func (c *Cluster) Faults() *Faults { return c.network.Faults() }

// Partition cuts the links between groups of nodes.
func (c *Cluster) Partition(groups ...[]*Node) {
	names := make([][]string, len(groups))
	for i, group := range groups {
		for _, n := range group {
			names[i] = append(names[i], string(n.id))
		}
	}
	c.Faults().Partition(names...)
}

// Heal mends every link.
func (c *Cluster) Heal() { c.Faults().Heal() }

// Add starts a fresh node and makes it a member through a running one. It
// returns when the raft configuration has it as non-voter; the leader promotes
// it later.
func (c *Cluster) Add(ctx context.Context) (*Node, error) {
	via := c.running()
	if len(via) == 0 {
		return nil, errors.New("add a node: no node runs")
	}
	n, err := c.join(ctx, via[0], "")
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes = append(c.nodes, n)
	return n, nil
}

// join starts a fresh node, at an address if one is named, and makes it a member.
func (c *Cluster) join(ctx context.Context, via *Node, address string) (*Node, error) {
	c.mu.Lock()
	n, err := c.newNode(address)
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	for _, other := range c.Nodes() {
		n.peers = append(n.peers, cluster.Peer{ID: other.id, Address: other.address})
	}
	n.join = true
	n.faultsName()
	if err := cluster.ProvisionMember(via.dir, n.dir, cluster.Peer{ID: n.id, Address: n.address}, time.Now()); err != nil {
		return nil, err
	}
	if err := n.Start(); err != nil {
		return nil, err
	}
	if err := via.Engine().AddMember(ctx, n.id, n.address); err != nil {
		return nil, errors.Join(err, n.Kill())
	}
	return n, nil
}

// Replace does what an operator does for a node whose disk is lost: the node leaves
// the configuration, and a fresh one with an id of its own joins at its address. It
// returns when the new one is a voter.
func (c *Cluster) Replace(ctx context.Context, old *Node) (*Node, error) {
	if err := c.Remove(ctx, old); err != nil {
		return nil, err
	}
	via := c.running()
	n, err := c.join(ctx, via[0], old.address)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.nodes[slices.Index(c.nodes, old)] = n
	c.mu.Unlock()
	return n, c.WaitVoter(ctx, n)
}

// Drop takes a node out of the configuration and out of the cluster's list.
func (c *Cluster) Drop(ctx context.Context, n *Node) error {
	if err := c.Remove(ctx, n); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes = slices.DeleteFunc(c.nodes, func(other *Node) bool { return other == n })
	return nil
}

// Remove takes a node out of the configuration and stops it.
func (c *Cluster) Remove(ctx context.Context, n *Node) error {
	for _, via := range c.running() {
		if via == n {
			continue
		}
		if err := via.Engine().RemoveMember(ctx, n.id); err != nil {
			return err
		}
		return n.Stop(ctx)
	}
	return errors.New("remove a node: no other node runs")
}

func (c *Cluster) running() []*Node {
	var up []*Node
	for _, n := range c.Nodes() {
		if n.Engine() != nil {
			up = append(up, n)
		}
	}
	return up
}

// Close stops every node in good order.
func (c *Cluster) Close(ctx context.Context) error {
	var errs []error
	for _, n := range c.Nodes() {
		errs = append(errs, n.Stop(ctx))
	}
	return errors.Join(errs...)
}

// StartT is Start for tests: it uses a temporary directory, fails the test on
// error, and closes the cluster at the end.
func StartT(tb testing.TB, options Options) *Cluster {
	tb.Helper()
	if options.Dir == "" {
		options.Dir = tb.TempDir()
	}
	if options.Logger == nil {
		// Shown when the test fails, or with -v.
		out := &testOutput{to: tb.Output()}
		tb.Cleanup(out.close) // after the cluster's own
		options.Logger = slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: testLogLevel()}))
	}
	if options.Limits.Rates == nil {
		options.Limits.Rates = rpc.Off
	}
	c, err := Start(options)
	if err != nil {
		tb.Fatalf("start cluster: %v", err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeTime)
		defer cancel()
		if err := c.Close(ctx); err != nil {
			tb.Errorf("close cluster: %v", err)
		}
	})
	return c
}

// testOutput is a test's log until the test is over. Memberlist does not wait for
// its last probe when it shuts down, and a test that is over panics when written to.
type testOutput struct {
	mu sync.Mutex
	to io.Writer // nil after close; guarded by mu
}

func (o *testOutput) Write(line []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.to == nil {
		return len(line), nil
	}
	return o.to.Write(line)
}

func (o *testOutput) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.to = nil
}

func testLogLevel() slog.Level {
	// -json is verbose too, for programs: nobody reads all that.
	if f := flag.Lookup("test.v"); f != nil && f.Value.String() == "true" {
		return slog.LevelDebug
	}
	return slog.LevelWarn
}

// closeTime bounds stopping a test's cluster.
const closeTime = 30 * time.Second

// Client connects to nodes as a program of a user would, pinning the cluster's
// CA; without nodes to all of them.
func (c *Cluster) Client(nodes ...*Node) (*conn.Conn, error) {
	options, err := c.ClientOptions(nodes...)
	if err != nil {
		return nil, err
	}
	return conn.Dial(options)
}

// ClientOptions are what Client dials with, on a socket of their own that whoever
// uses them closes.
func (c *Cluster) ClientOptions(nodes ...*Node) (conn.Options, error) {
	if len(nodes) == 0 {
		nodes = c.Nodes()
	}
	config, err := c.ClientTLS()
	if err != nil {
		return conn.Options{}, err
	}
	socket, err := c.network.Listen("")
	if err != nil {
		return conn.Options{}, err
	}
	c.Faults().Name(socket.LocalAddr().String(), Clients)
	options := conn.Options{TLS: config, PacketConn: socket, Resolve: literal, Logger: c.options.Logger}
	for _, n := range nodes {
		options.Endpoints = append(options.Endpoints, n.address)
	}
	return options, nil
}

// ClientTLS is the configuration with which any client finds a node of this
// cluster and no other.
func (c *Cluster) ClientTLS() (*tls.Config, error) {
	secrets, err := cluster.LoadSecrets(c.Nodes()[0].dir)
	if err != nil {
		return nil, err
	}
	return tlsid.ClientDialConfig(secrets.Identity.AuthoritiesPEM(), nil)
}

// literal reads an address without asking anybody: a network in memory has no
// resolver.
func literal(_ context.Context, address string) ([]net.Addr, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("read address: %w", err)
	}
	return []net.Addr{net.UDPAddrFromAddrPort(at)}, nil
}
