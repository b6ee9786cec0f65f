package referee

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"quicproquo/cluster"
	"quicproquo/schemas"
	"quicproquo/testcluster"
	"quicproquo/testcluster/liar"
)

// addresses is how many a referee has: one stops, one dies, one stays.
const addresses = 3

// Options shape a referee.
type Options struct {
	Dir string // where its node keeps its data
	// Quiet plays nothing: the server is only as documented.
	Quiet bool
}

// Referee is a running server. mu guards the rest.
type Referee struct {
	cluster *testcluster.Cluster
	fronts  []*front
	quiet   bool
	pin     [32]byte
	tasks   sync.WaitGroup

	mu     sync.Mutex
	calls  []*Call
	open   map[*liar.Call]*Call
	conns  map[*quic.Conn]int
	played map[string]*Call // acts that were played, and the call that met them
	given  map[string]uint64
}

// front is one of the addresses.
type front struct {
	referee *Referee
	number  int
	liar    *liar.Front
	gone    atomic.Bool // it takes no more calls: it stops
	dead    atomic.Bool // its packets are lost
}

// Start starts a referee.
func Start(ctx context.Context, o Options) (*Referee, error) {
	c, err := testcluster.Start(testcluster.Options{Nodes: 1, Dir: o.Dir})
	if err != nil {
		return nil, err
	}
	r := &Referee{
		cluster: c, quiet: o.Quiet, open: map[*liar.Call]*Call{}, conns: map[*quic.Conn]int{},
		played: map[string]*Call{}, given: map[string]uint64{},
	}
	if err := r.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start a server for clients under test: %w", err), r.Close())
	}
	return r, nil
}

func (r *Referee) start(ctx context.Context) error {
	if _, err := r.cluster.WaitLeader(ctx); err != nil {
		return err
	}
	secrets, err := cluster.LoadSecrets(r.cluster.Node(0).Dir())
	if err != nil {
		return err
	}
	r.pin = secrets.Identity.Pin()
	for number := range addresses {
		f := &front{referee: r, number: number}
		f.liar, err = liar.Start(ctx, liar.Options{
			Node: func() *testcluster.Node { return r.cluster.Node(0) }, Watch: f, Listen: f.listen,
			Retry: func(net.Addr) bool { return !r.quiet },
		})
		if err != nil {
			return err
		}
		r.fronts = append(r.fronts, f)
	}
	return nil
}

// Address is the line that the client under test is given: all addresses and the pin.
func (r *Referee) Address() string {
	return "qpq://" + strings.Join(r.Endpoints(), ",") + "?pin=sha256:" + hex.EncodeToString(r.pin[:])
}

// Endpoints are the addresses, as HOST:PORT.
func (r *Referee) Endpoints() (list []string) {
	for _, f := range r.fronts {
		list = append(list, f.liar.Address())
	}
	return list
}

// Pin is the pin of the server's authority.
func (r *Referee) Pin() [32]byte { return r.pin }

// Close stops the server.
func (r *Referee) Close() error {
	var errs []error
	for _, f := range r.fronts {
		if !f.gone.Swap(true) {
			errs = append(errs, f.liar.Close())
		}
	}
	r.tasks.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return errors.Join(append(errs, r.cluster.Close(ctx))...)
}

// Calls are what has come so far, in its order.
func (r *Referee) Calls() (list []Call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.calls {
		list = append(list, *c)
	}
	return list
}

// listen opens a socket whose packets are lost once the front is dead.
func (f *front) listen() (net.PacketConn, error) {
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	return &mortal{PacketConn: udp, udp: udp, dead: &f.dead}, nil
}

// mortal is a socket that can go silent.
type mortal struct {
	net.PacketConn
	udp  *net.UDPConn
	dead *atomic.Bool
}

func (m *mortal) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, from, err := m.PacketConn.ReadFrom(p)
		if err != nil || !m.dead.Load() {
			return n, from, err
		}
	}
}

func (m *mortal) WriteTo(p []byte, to net.Addr) (int, error) {
	if m.dead.Load() {
		return len(p), nil
	}
	return m.PacketConn.WriteTo(p, to)
}

// SetReadBuffer and SetWriteBuffer are asked for by quic-go.
func (m *mortal) SetReadBuffer(bytes int) error { return m.udp.SetReadBuffer(bytes) }

// SetWriteBuffer sets the operating system's buffer.
func (m *mortal) SetWriteBuffer(bytes int) error { return m.udp.SetWriteBuffer(bytes) }

// Connected gives a connection its number.
func (f *front) Connected(conn *quic.Conn) {
	r := f.referee
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns[conn] = len(r.conns) + 1
}

// Before writes a call down, and plays what is to be played before it is carried out.
func (f *front) Before(c *liar.Call) error {
	r := f.referee
	call, err := f.note(c)
	if err != nil {
		return err
	}
	if f.gone.Load() && c.Method != "health" {
		r.mark(call, actStop)
		return c.Refuse(schemas.Code_unavailable, 0, 0)
	}
	if r.quiet {
		return nil
	}
	return f.play(call, c)
}

func (r *Referee) mark(call *Call, act string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	call.Act = act
}

// After writes an answer down, and plays what is to be played after the call was carried
// out. A subscription has many answers.
func (f *front) After(c *liar.Call) error {
	r := f.referee
	if c.Method == "health" {
		if err := r.members(c); err != nil {
			return err
		}
	}
	r.mu.Lock()
	call := r.open[c]
	r.mu.Unlock()
	err := f.playAfter(call, c)
	r.answered(call, c, err)
	return err
}

// members names the addresses in the place of the node's own.
func (r *Referee) members(c *liar.Call) error {
	if c.Response.Which() != schemas.Response_Which_results {
		return nil
	}
	ptr, err := c.Response.Results()
	if err != nil {
		return err
	}
	names := r.Endpoints()
	list, err := schemas.HealthResults(ptr.Struct()).NewMembers(int32(len(names)))
	for i, at := range names {
		err = errors.Join(err, list.Set(i, at))
	}
	return err
}

// stop ends an address as a node that is stopped does: calls are refused, then the
// connections are closed.
func (f *front) stop() {
	if f.gone.Swap(true) {
		return
	}
	f.referee.tasks.Go(func() {
		time.Sleep(stopTime)
		_ = f.liar.Close() // a front that closes late is nothing to the client
	})
}

// die ends an address as a power cut does.
func (f *front) die() { f.dead.Store(true) }

// alive are the addresses that still answer.
func (r *Referee) alive() int {
	return len(slices.DeleteFunc(slices.Clone(r.fronts), func(f *front) bool { return f.gone.Load() || f.dead.Load() }))
}
