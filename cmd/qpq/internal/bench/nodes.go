package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"quicproquo/client"
	"quicproquo/internal/process"
	"quicproquo/nodeaddr"
)

// nodes are a cluster that was started for the measurement, a process each. Nil: there is
// none.
type nodes struct {
	store     string
	processes []*process.Process
	closed    chan struct{} // when it is, nodes that still run are killed
	addresses []nodeaddr.Address
}

// startNodes starts a cluster whose nodes don't limit how often anybody calls.
func (w *world) startNodes(ctx context.Context) error {
	o := &w.options.Nodes
	n := &nodes{store: o.LogStore, closed: make(chan struct{})}
	w.nodes = n
	root := filepath.Join(w.options.Dir, "nodes")
	args := []string{"init", "--out", root}
	for i := range o.Count {
		address, err := process.FreeAddress(0)
		if err != nil {
			return err
		}
		args = append(args, "--node", fmt.Sprintf("n%d=%s", i+1, address))
	}
	if _, err := o.run(ctx, args...); err != nil {
		return err
	}
	line, err := o.run(ctx, "pin", "--dir", root)
	if err != nil {
		return err
	}
	if n.addresses, err = nodeaddr.ParseList(strings.TrimSpace(line)); err != nil {
		return fmt.Errorf("read the nodes' addresses: %w", err)
	}
	for i := range o.Count {
		if err := n.start(o, filepath.Join(root, fmt.Sprintf("n%d", i+1))); err != nil {
			return err
		}
	}
	return w.awaitLeader(ctx)
}

// run has qpqd do something, and returns what it printed.
func (o *NodeOptions) run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, o.Program, args...)
	var out, notes bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &notes
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", o.Program, args[0], err, strings.TrimSpace(notes.String()))
	}
	return out.String(), nil
}

// start starts a node on a thread that lives until close: a node ends with the thread that
// started it, and so with this process, however that ends. Its log lies beside its directory.
func (n *nodes) start(o *NodeOptions, dir string) error {
	p := process.New("node "+filepath.Base(dir), dir+".log")
	n.processes = append(n.processes, p)
	cmd := exec.Command(o.Program, "run", "--dir", dir, "--rates", "off", "--log-store", o.LogStore, "--log-level", "error") //nolint:noctx // close stops it in good order
	detach(cmd)
	return p.Start(cmd, func(cmd *exec.Cmd, _ io.Writer) error {
		started := make(chan error, 1)
		go func() {
			runtime.LockOSThread()
			started <- cmd.Start()
			<-n.closed
		}()
		return <-started
	})
}

// err says which node has ended by itself, and its last words.
func (n *nodes) err() error {
	if n == nil {
		return nil
	}
	for i, p := range n.processes {
		if p.Ended() {
			return fmt.Errorf("node n%d, which was started for this, has ended; its log ends with %q", i+1, p.LastWords())
		}
	}
	return nil
}

// awaitLeader waits until the cluster takes writes.
func (w *world) awaitLeader(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, enrollTime)
	defer cancel()
	conn, err := w.connect()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	for {
		h, err := conn.Health(ctx)
		if err == nil && h.Status == "ok" {
			return nil
		}
		if ended := w.nodes.err(); ended != nil {
			return ended
		}
		if !sleep(ctx, 50*time.Millisecond) {
			return errors.Join(errors.New("the nodes that were started have no leader"), err, ctx.Err())
		}
	}
}

func (n *nodes) dial() (client.Options, error) {
	trust, err := nodeaddr.Trust(n.addresses, nil, nil)
	if err != nil {
		return client.Options{}, err
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return client.Options{}, fmt.Errorf("open a UDP socket: %w", err)
	}
	return client.Options{Endpoints: nodeaddr.Endpoints(n.addresses), TLS: trust, PacketConn: conn}, nil
}

// close stops the nodes.
func (n *nodes) close() error {
	if n == nil {
		return nil
	}
	defer close(n.closed)
	return together(len(n.processes), func(i int) error { return n.processes[i].Stop() })
}

func (n *nodes) count() int {
	if n == nil {
		return 0
	}
	return len(n.processes)
}

func (n *nodes) logStore() string {
	if n == nil {
		return ""
	}
	return n.store
}

// cpu is the processor time that the nodes have taken; 0 where that is not known.
func (n *nodes) cpu() (sum time.Duration) {
	if n == nil {
		return 0
	}
	for _, p := range n.processes {
		sum += cpuOf(p.PID())
	}
	return sum
}
