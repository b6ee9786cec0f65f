// Package crowd measures what many clients at once meet: real nodes, each a process, with
// a thousand connections beside other load, with thousands of clients at one node that
// dies, and with a client that knows the node that dies and no other.
//
// It must never be run beside other measurements: what it takes it takes from all.
package crowd

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"quicproquo/client/conn"
	"quicproquo/cmd/internal/node"
	"quicproquo/testcluster"
)

// Options say what is measured.
type Options struct {
	Dir     string                     // for the nodes' directories
	Command func(dir string) *exec.Cmd // how a node's process is started
	Spin    func() *exec.Cmd           // how a process is started that takes all of a processor
	Few     int                        // connections to compare with
	Many    int
	Spins   int           // processes beside them
	Turn    time.Duration // of each of the four measurements of calls
	Turns   int           // how often they take turns
	Arrive  int           // clients that know one node first
	Lone    int           // how often the only known node dies
	Tell    func(format string, args ...any)
}

// Report is what was measured.
type Report struct {
	Calls    []Calls    `json:"calls,omitempty"`
	Ratio    float64    `json:"ratio"` // calls a second of many over those of few, both beside the load
	Arrivals *Arrivals  `json:"arrivals,omitempty"`
	Lone     []Duration `json:"loneMs,omitempty"` // from the kill to the next acknowledged message
}

// Duration is one in JSON: milliseconds.
type Duration time.Duration

// MarshalJSON writes whole milliseconds.
func (d Duration) MarshalJSON() ([]byte, error) {
	return fmt.Append(nil, time.Duration(d).Milliseconds()), nil
}

// run is a measurement under way.
type run struct {
	Options
	nodes   *testcluster.Processes
	account ed25519.PrivateKey
	session *conn.Session
	seen    uint64
	report  Report
}

// Run measures.
func Run(ctx context.Context, o Options) (_ Report, err error) {
	r := &run{Options: o}
	r.nodes, err = testcluster.StartProcesses(testcluster.ProcessOptions{
		Nodes: 3, Dir: filepath.Join(o.Dir, "nodes"), Command: o.Command, Prepare: node.Provision,
	})
	if err != nil {
		return r.report, err
	}
	defer func() { err = errors.Join(err, r.nodes.Close()) }()
	if _, err := r.nodes.WaitLeader(ctx); err != nil {
		return r.report, err
	}
	if err := r.enroll(ctx); err != nil {
		return r.report, err
	}
	for _, act := range []func(context.Context) error{r.calls, r.arrivals, r.lone} {
		if err := act(ctx); err != nil {
			return r.report, err
		}
	}
	return r.report, nil
}

// enroll makes the account that all connections call as.
func (r *run) enroll(ctx context.Context) error {
	caller, err := r.dial(0, false, r.nodes.Nodes()...)
	if err != nil {
		return err
	}
	defer func() { _ = caller.Close() }()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	if _, err := caller.Register(ctx, "crowd", []byte("password"), key); err != nil {
		return fmt.Errorf("register: %w", err)
	}
	who := conn.Credentials{Username: "crowd", Password: []byte("password"), Account: r.id(key), Key: key}
	if r.session, _, err = caller.Login(ctx, who); err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	r.account, r.seen = key, caller.Seen()
	return nil
}

func (r *run) id(key ed25519.PrivateKey) conn.AccountKey {
	return conn.AccountKey(key.Public().(ed25519.PublicKey))
}

// dial opens a client that tries nodes in order, from an address of its own or nearly so:
// a node limits what comes from one.
func (r *run) dial(number int, learns bool, nodes ...*testcluster.Process) (*conn.Conn, error) {
	options, err := r.nodes.ClientOptions(nodes...)
	if err != nil {
		return nil, err
	}
	if err := options.PacketConn.Close(); err != nil {
		return nil, err
	}
	from := fmt.Sprintf("127.1.%d.%d:0", number/200%200, 1+number%200)
	if options.PacketConn, err = net.ListenPacket("udp", from); err != nil {
		return nil, fmt.Errorf("open a socket: %w", err)
	}
	options.InOrder, options.Seen = true, r.seen
	if learns {
		options.Learned = func([]string) {}
	}
	caller, err := conn.Dial(options)
	if err != nil {
		return nil, err
	}
	if r.session != nil {
		caller.SetSession(r.session)
	}
	return caller, nil
}

// at is the value below which a part of a sorted list is.
func at(list []time.Duration, part float64) Duration {
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return Duration(list[min(int(part*float64(len(list))), len(list)-1)])
}
