package testcluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"sync"

	"quicproquo/client"
	"quicproquo/cluster"
	"quicproquo/crypto/tlsid"
	"quicproquo/internal/process"
)

// ProcessOptions shape a cluster of processes.
type ProcessOptions struct {
	Nodes int    // 0: three
	Dir   string // holds one directory per node
	// Prepare makes root/<id> for each peer, with whatever Command's program needs.
	// listen gives the local address for a node's public one.
	Prepare func(root string, peers []cluster.Peer, listen func(string) (string, error)) error
	// Command returns how a node's process is started. Its standard input is a pipe
	// that closes when this process dies; standard error goes to a file beside the
	// node's directory.
	Command func(dir string) *exec.Cmd
	// Faults happen to every packet between nodes, and between them and clients (its
	// names are the nodes' ids, and Clients). Nil: there is nothing in between.
	Faults *Faults
	// Hosts are machines for the nodes, and see to the faults; nil: all are on this one's
	// loopback, with a relay in between.
	Hosts Hosts
	// LoopDisks gives each node a disk of its own whose power can be cut: see the
	// function of that name.
	LoopDisks bool
}

// Hosts are machines, or what looks like them, joined by a network of their own.
type Hosts interface {
	// Address is the HOST:PORT of a node.
	Address(node string) (string, error)
	// Start starts a process on a node's host, and steers what its standard input is
	// attached to.
	Start(node string, process *exec.Cmd, input io.Writer) error
	// Socket opens one for a client, on a host that is no node's.
	Socket() (net.PacketConn, error)
}

// Processes is a cluster whose nodes are processes: what is done to them is done
// by the operating system.
type Processes struct {
	options ProcessOptions
	peers   []cluster.Peer
	nodes   []*Process
	secrets cluster.Secrets // of the first node: its disk may be away later
}

// Process is one node. mu guards command.
type Process struct {
	*process.Process
	cluster *Processes
	peer    cluster.Peer // Address is the public one
	listen  string       // where it really listens
	dir     string
	relay   *relay    // nil: none
	left    []*relay  // where it was before: Move
	disk    *loopDisk // nil: the machine's

	mu      sync.Mutex
	command func(dir string) *exec.Cmd // for the next Start; nil: the cluster's
}

// StartProcesses makes a cluster on free ports of the loopback and starts it. It
// does not wait for a leader.
func StartProcesses(options ProcessOptions) (*Processes, error) {
	if options.Nodes == 0 {
		options.Nodes = 3
	}
	c := &Processes{options: options}
	for i := range options.Nodes {
		n, err := c.newProcess(ProcessID(i))
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		c.peers, c.nodes = append(c.peers, n.peer), append(c.nodes, n)
	}
	if err := options.Prepare(options.Dir, c.peers, c.listen); err != nil {
		return nil, errors.Join(fmt.Errorf("prepare the nodes' directories: %w", err), c.Close())
	}
	var err error
	if c.secrets, err = cluster.LoadSecrets(c.nodes[0].dir); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if options.LoopDisks {
		for _, n := range c.nodes {
			if n.disk, err = newLoopDisk(n.dir); err != nil {
				return nil, errors.Join(err, c.Close())
			}
		}
	}
	for _, n := range c.nodes {
		if err := n.Start(); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

// ProcessID is the id of the node with a number, from 0.
func ProcessID(number int) tlsid.NodeID { return tlsid.NodeID(fmt.Sprintf("n%d", number+1)) }

// newProcess reserves an address, and opens the relay before it.
func (c *Processes) newProcess(id tlsid.NodeID) (*Process, error) {
	local, err := c.address(id)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(c.options.Dir, string(id))
	n := &Process{
		Process: process.New("node "+string(id), dir+".log"),
		cluster: c, peer: cluster.Peer{ID: id, Address: local}, listen: local, dir: dir,
	}
	if c.options.Faults == nil || c.options.Hosts != nil {
		return n, nil
	}
	at, err := netip.ParseAddrPort(local)
	if err != nil {
		return nil, fmt.Errorf("read the address of node %s: %w", id, err)
	}
	c.options.Faults.Name(local, string(id))
	if n.relay, err = newRelay(c.options.Faults, string(id), at); err != nil {
		return nil, err
	}
	n.peer.Address = n.relay.address()
	return n, nil
}

func (c *Processes) address(id tlsid.NodeID) (string, error) {
	if c.options.Hosts != nil {
		return c.options.Hosts.Address(string(id))
	}
	return process.FreeAddress(0)
}

// listen is the local address for a node's public one.
func (c *Processes) listen(public string) (string, error) {
	for _, n := range c.nodes {
		if n.peer.Address == public {
			return n.listen, nil
		}
	}
	return "", fmt.Errorf("no node has the address %s", public)
}

// Faults is where links are harmed, nil for nowhere.
func (c *Processes) Faults() *Faults { return c.options.Faults }

// Nodes returns all nodes, running or not.
func (c *Processes) Nodes() []*Process { return append([]*Process(nil), c.nodes...) }

// ID returns the node's id.
func (n *Process) ID() tlsid.NodeID { return n.peer.ID }

// Address returns the node's HOST:PORT.
func (n *Process) Address() string { return n.peer.Address }

// Dir returns the node's directory.
func (n *Process) Dir() string { return n.dir }

// Start starts the node's process with whatever its directory holds.
func (n *Process) Start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	command := n.cluster.options.Command
	if n.command != nil {
		command = n.command
	}
	var start func(*exec.Cmd, io.Writer) error
	if hosts := n.cluster.options.Hosts; hosts != nil {
		start = func(cmd *exec.Cmd, input io.Writer) error { return hosts.Start(string(n.peer.ID), cmd, input) }
	}
	return n.Process.Start(command(n.dir), start)
}

// SetCommand says how the node's process is started from its next start on; nil: as the
// cluster's others are.
func (n *Process) SetCommand(command func(dir string) *exec.Cmd) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.command = command
}

// Rebind has the node see all who call it at other ports, where there is a relay before it.
func (n *Process) Rebind() error {
	if n.relay == nil {
		return fmt.Errorf("give the callers of node %s other ports: there is no relay", n.peer.ID)
	}
	return n.relay.rebind()
}

// Close ends all processes in good order, at the same time.
func (c *Processes) Close() error {
	errs := make([]error, len(c.nodes))
	var wg sync.WaitGroup
	for i, n := range c.nodes {
		wg.Go(func() { errs[i] = errors.Join(n.Stop(), n.release()) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// release gives back what a node that has ended had of this machine.
func (n *Process) release() (err error) {
	if n.relay != nil {
		err = n.relay.close()
	}
	for _, before := range n.left {
		err = errors.Join(err, before.close())
	}
	if n.disk != nil {
		err = errors.Join(err, n.disk.close())
		n.disk = nil
	}
	return err
}

// CutPower cuts the power of nodes at the same time (ProcessOptions.LoopDisks): nothing
// more reaches their disks, and then their processes are gone. RestorePower comes before
// Start.
func CutPower(nodes ...*Process) error {
	errs := make([]error, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		if n.disk == nil {
			return fmt.Errorf("cut the power of node %s: it has no disk of its own", n.peer.ID)
		}
		wg.Go(func() { errs[i] = errors.Join(n.disk.cut(), n.Kill()) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// RestorePower mounts the node's disk as the power cut has left it.
func (n *Process) RestorePower() error { return n.disk.restore() }

// FillDisk leaves a twentieth of the node's disk, or gives the room back.
func (n *Process) FillDisk(full bool) error { return n.disk.fill(full) }

// Observe asks every member for its status.
func (c *Processes) Observe(ctx context.Context) ([]cluster.Observation, error) {
	conn, err := c.socket()
	if err != nil {
		return nil, fmt.Errorf("observe the nodes: %w", err)
	}
	return cluster.Observe(ctx, conn, c.secrets.Identity, c.peers, slog.New(slog.DiscardHandler))
}

// socket opens one for somebody who is no node.
func (c *Processes) socket() (net.PacketConn, error) {
	if c.options.Hosts != nil {
		return c.options.Hosts.Socket()
	}
	return net.ListenPacket("udp", "127.0.0.1:0")
}

// WaitLeader waits until a majority of the nodes follows one and returns that.
func (c *Processes) WaitLeader(ctx context.Context) (*Process, error) {
	var leader *Process
	err := Await(ctx, "a leader", func() error {
		for _, n := range c.nodes {
			if n.Ended() {
				return fmt.Errorf("node %s has ended: %s", n.peer.ID, n.LastWords())
			}
		}
		seen, err := c.Observe(ctx)
		if err != nil {
			return err
		}
		followed := cluster.Followed(seen, len(c.nodes))
		for _, n := range c.nodes {
			if n.peer.ID == followed && n.PID() != 0 {
				leader = n
				return nil
			}
		}
		return errors.New("no node is followed by a majority")
	})
	return leader, err
}

// ClientOptions returns how a client reaches the cluster, the named nodes only, or
// all.
func (c *Processes) ClientOptions(nodes ...*Process) (client.Options, error) {
	if len(nodes) == 0 {
		nodes = c.nodes
	}
	trust := tlsid.PinnedDialConfig(c.secrets.Identity.Pin(), nil)
	conn, err := c.socket()
	if err != nil {
		return client.Options{}, fmt.Errorf("open a UDP socket: %w", err)
	}
	var endpoints []string
	for _, n := range nodes {
		endpoints = append(endpoints, n.peer.Address)
	}
	return client.Options{Endpoints: endpoints, TLS: trust, PacketConn: conn}, nil
}
