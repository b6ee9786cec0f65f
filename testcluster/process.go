package testcluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"quicproquo/client"
	"quicproquo/cluster"
	"quicproquo/crypto/tlsid"
)

// ProcessOptions shape a cluster of processes.
type ProcessOptions struct {
	Nodes int    // 0: three
	Dir   string // holds one directory per node
	// Prepare makes root/<id> for each peer, with whatever Command's program needs.
	Prepare func(root string, peers []cluster.Peer) error
	// Command returns how a node's process is started. Its standard input is a pipe
	// that closes when this process dies; standard error goes to a file beside the
	// node's directory.
	Command func(dir string) *exec.Cmd
}

// Processes is a cluster whose nodes are processes: what is done to them is done
// by the operating system.
type Processes struct {
	options ProcessOptions
	peers   []cluster.Peer
	nodes   []*Process
}

// Process is one node. mu guards the rest.
type Process struct {
	cluster *Processes
	peer    cluster.Peer
	dir     string

	mu   sync.Mutex
	cmd  *exec.Cmd
	life io.Closer     // the write end of its standard input
	log  *os.File      // its standard error
	done chan struct{} // closed when it has ended
}

// StartProcesses makes a cluster on free ports of the loopback and starts it. It
// does not wait for a leader.
func StartProcesses(options ProcessOptions) (*Processes, error) {
	if options.Nodes == 0 {
		options.Nodes = 3
	}
	c := &Processes{options: options}
	for i := range options.Nodes {
		address, err := freePort()
		if err != nil {
			return nil, err
		}
		peer := cluster.Peer{ID: tlsid.NodeID(fmt.Sprintf("n%d", i+1)), Address: address}
		c.peers = append(c.peers, peer)
		c.nodes = append(c.nodes, &Process{cluster: c, peer: peer, dir: filepath.Join(options.Dir, string(peer.ID))})
	}
	if err := options.Prepare(options.Dir, c.peers); err != nil {
		return nil, fmt.Errorf("prepare the nodes' directories: %w", err)
	}
	for _, n := range c.nodes {
		if err := n.Start(); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

func freePort() (string, error) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free UDP port: %w", err)
	}
	return conn.LocalAddr().String(), conn.Close()
}

// Nodes returns all nodes, running or not.
func (c *Processes) Nodes() []*Process { return append([]*Process(nil), c.nodes...) }

// ID returns the node's id.
func (n *Process) ID() tlsid.NodeID { return n.peer.ID }

// Address returns the node's HOST:PORT.
func (n *Process) Address() string { return n.peer.Address }

// Dir returns the node's directory.
func (n *Process) Dir() string { return n.dir }

// logName is where the node's standard error goes.
func (n *Process) logName() string { return n.dir + ".log" }

// PID returns the process's id, 0 while there is none.
func (n *Process) PID() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return 0
	}
	return n.cmd.Process.Pid
}

// Start starts the node's process with whatever its directory holds.
func (n *Process) Start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd != nil {
		return fmt.Errorf("start node %s: it runs already", n.peer.ID)
	}
	log, err := os.OpenFile(n.logName(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start node %s: %w", n.peer.ID, err)
	}
	cmd := n.cluster.options.Command(n.dir)
	cmd.Stderr = log
	life, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("start node %s: %w", n.peer.ID, err), log.Close())
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = cmd.Wait() // how it ended is told by its log
	}()
	n.cmd, n.life, n.log, n.done = cmd, life, log, done
	return nil
}

// Signal sends a signal to the node's process: SIGSTOP pauses it, SIGCONT lets it
// go on.
func (n *Process) Signal(s syscall.Signal) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return fmt.Errorf("signal node %s: it does not run", n.peer.ID)
	}
	if err := n.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("signal node %s: %w", n.peer.ID, err)
	}
	return nil
}

// Kill ends the process at once, as a crash would, and returns when it is gone.
func (n *Process) Kill() error { return n.end(syscall.SIGKILL, 0) }

// Stop ends the process in good order, and kills it if that takes too long.
func (n *Process) Stop() error { return n.end(syscall.SIGTERM, stopTime) }

// stopTime bounds an orderly stop of a process.
const stopTime = 15 * time.Second

func (n *Process) end(how syscall.Signal, patience time.Duration) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return nil
	}
	if err := n.cmd.Process.Signal(how); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end node %s: %w", n.peer.ID, err)
	}
	var slow error
	if patience > 0 {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		select {
		case <-n.done:
		case <-timer.C:
			slow = fmt.Errorf("node %s did not end within %v and was killed", n.peer.ID, patience)
			_ = n.cmd.Process.Kill()
		}
	}
	<-n.done
	_ = n.life.Close() // Wait has closed it
	err := n.log.Close()
	n.cmd = nil
	return errors.Join(slow, err)
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

// Observe asks every member for its status.
func (c *Processes) Observe(ctx context.Context) ([]cluster.Observation, error) {
	secrets, err := cluster.LoadSecrets(c.nodes[0].dir)
	if err != nil {
		return nil, err
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("observe the nodes: %w", err)
	}
	return cluster.Observe(ctx, conn, secrets.Identity, c.peers, slog.New(slog.DiscardHandler))
}

// WaitLeader waits until a majority of the nodes follows one and returns that.
func (c *Processes) WaitLeader(ctx context.Context) (*Process, error) {
	var leader *Process
	err := Await(ctx, "a leader", func() error {
		for _, n := range c.nodes {
			if n.ended() {
				return fmt.Errorf("node %s has ended: %s", n.peer.ID, n.lastWords())
			}
		}
		seen, err := c.Observe(ctx)
		if err != nil {
			return err
		}
		followed := map[tlsid.NodeID]int{}
		for _, o := range seen {
			if o.Status != nil {
				followed[o.Status.Leader]++
			}
		}
		for _, n := range c.nodes {
			if n.PID() != 0 && followed[n.peer.ID] > len(c.nodes)/2 {
				leader = n
				return nil
			}
		}
		return errors.New("no node is followed by a majority")
	})
	return leader, err
}

// ended tells whether the process ended by itself.
func (n *Process) ended() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return false
	}
	select {
	case <-n.done:
		return true
	default:
		return false
	}
}

// lastWords are the last lines of a node's log.
func (n *Process) lastWords() string {
	raw, err := os.ReadFile(n.logName())
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], "; ")
}

// ClientOptions returns how a client reaches the cluster, the named nodes only, or
// all.
func (c *Processes) ClientOptions(nodes ...*Process) (client.Options, error) {
	if len(nodes) == 0 {
		nodes = c.nodes
	}
	secrets, err := cluster.LoadSecrets(c.nodes[0].dir)
	if err != nil {
		return client.Options{}, err
	}
	trust := tlsid.PinnedDialConfig(secrets.Identity.Pin(), nil)
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return client.Options{}, fmt.Errorf("open a UDP socket: %w", err)
	}
	var endpoints []string
	for _, n := range nodes {
		endpoints = append(endpoints, n.peer.Address)
	}
	return client.Options{Endpoints: endpoints, TLS: trust, PacketConn: conn}, nil
}
