package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/testutils/simnet"
	"go.uber.org/goleak"

	"quicproquo/crypto/tlsid"
	"quicproquo/schemas"
)

// No test of this package may leave a goroutine behind, but for those of the nodes
// that clusters of testcluster are made of: see the test main of package cluster.
// Child is what this program does instead of running tests where QPQ_TEST_CHILD is
// set: tests run themselves as processes that can be killed.
var Child func()

func TestMain(m *testing.M) {
	if os.Getenv("QPQ_TEST_CHILD") != "" {
		Child()
		return
	}
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).probeNode"),
		goleak.IgnoreAnyFunction("quicproquo/cluster.(*Node).answer.func1"))
}

// latency is one way between any two sockets of a test's network.
const latency = 5 * time.Millisecond

// network is a UDP network on fake time in which nodes can fall silent. mu
// guards dark.
type network struct {
	simnet.PerfectRouter
	mu      sync.Mutex
	dark    map[string]bool
	largest int // larger datagrams are lost, in bytes; 0: none is
	// moved are clients that are behind a translator, or have moved: where the nodes see
	// them. What is sent to where they were is lost.
	moved map[string]*net.UDPAddr
}

// move has the nodes see a client at another address from now on.
func (n *network) move(client string, to *net.UDPAddr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.moved == nil {
		n.moved = map[string]*net.UDPAddr{}
	}
	n.moved[client] = to
}

// translate does to a packet's addresses what translators do; the caller holds mu.
func (n *network) translate(p *simnet.Packet) (lost bool) {
	if at := n.moved[p.From.String()]; at != nil {
		p.From = at
		return false
	}
	for client, at := range n.moved {
		if p.To.String() == client {
			return true
		}
		if p.To.String() == at.String() {
			to := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(client))
			p.To = &net.UDPAddr{IP: to.IP.To16(), Port: to.Port} // as the router has it
			return false
		}
	}
	return false
}

func (n *network) SendPacket(p simnet.Packet) error {
	n.mu.Lock()
	lost := n.dark[p.To.String()] || n.dark[p.From.String()] || n.largest > 0 && len(p.Data) > n.largest || n.translate(&p)
	n.mu.Unlock()
	if !lost {
		time.AfterFunc(latency, func() { _ = n.PerfectRouter.SendPacket(p) })
	}
	return nil
}

// silence makes an address neither send nor receive.
func (n *network) silence(address string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dark[address] = true
}

// received is a request as a node saw it.
type received struct {
	node         string
	method       uint16
	id           []byte
	seen         uint64
	timeout      time.Duration
	linearizable bool
}

// reply is what a node does with a request. The zero reply is empty results.
type reply struct {
	index   uint64
	code    schemas.Code
	value   uint64
	after   time.Duration // retryAfterMs
	delay   time.Duration // before the reply
	raw     []byte        // sent instead of a response
	crash   bool          // the node falls silent forever
	hangUp  bool          // the node closes the connection
	reset   bool          // the node resets the stream
	endless bool          // the node never replies
	end     bool          // the node ends the stream in peace, without an answer
}

// cluster is a set of scripted nodes: they speak the protocol and do to each
// request what the test says, which real nodes do not do on command.
type cluster struct {
	t         *testing.T // of the bubble
	network   *network
	endpoints []string
	tls       *tls.Config
	script    func(received) reply

	mu       sync.Mutex
	requests []received
	resets   int                      // streams that the client reset
	slow     map[string]time.Duration // how long a node's handshakes take
	hellos   map[string]int           // handshakes that have come to a node
	members  []string                 // what the nodes name to who asks
	delay    time.Duration            // of each answer, besides the script's
	takes    int                      // larger requests are refused, in bytes; 0: none is
}

// newCluster starts nodes; script runs on their goroutines, one call at a time.
func newCluster(t *testing.T, nodes int, script func(received) reply) *cluster {
	t.Helper()
	ca, err := tlsid.NewAuthority(tlsid.NewClusterID(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, network: &network{dark: map[string]bool{}}, script: script, slow: map[string]time.Duration{}, hellos: map[string]int{}}
	if c.tls, err = tlsid.ClientDialConfig(ca.CertificatePEM(), nil); err != nil {
		t.Fatal(err)
	}
	for i := range nodes {
		identity, err := tlsid.NewIdentity(ca, tlsid.NodeID("n"+string(rune('1'+i))), []string{"127.0.0.1"}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		c.start(t, identity, udpAddr(1+i))
	}
	return c
}

// udpAddr is where the node with a number is.
func udpAddr(number int) *net.UDPAddr {
	return &net.UDPAddr{IP: net.IPv4(10, 0, 0, byte(number)), Port: 4430}
}

func (c *cluster) start(t *testing.T, identity *tlsid.Identity, addr *net.UDPAddr) {
	t.Helper()
	conn := simnet.NewSimConn(addr, c.network)
	c.network.AddNode(addr, conn)
	// Who takes long asks for a Retry first, as a node under load does.
	transport := &quic.Transport{Conn: conn, VerifySourceAddress: func(net.Addr) bool { return c.handshakeTime(addr.String()) > 0 }}
	config := tlsid.ServerConfig(identity, tlsid.ServerOptions{})
	inner := config.GetConfigForClient
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		c.mu.Lock()
		c.hellos[addr.String()]++
		c.mu.Unlock()
		time.Sleep(c.handshakeTime(addr.String()))
		return inner(hello)
	}
	listener, err := transport.Listen(config, &quic.Config{InitialPacketSize: tlsid.InitialPacketSize, MaxIncomingStreams: 64})
	if err != nil {
		t.Fatal(err)
	}
	c.endpoints = append(c.endpoints, addr.String())
	ctx, cancel := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	tasks.Go(func() {
		for {
			qc, err := listener.Accept(ctx)
			if err != nil {
				return
			}
			tasks.Go(func() { c.serve(ctx, &tasks, addr.String(), qc) })
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = listener.Close()
		_ = transport.Close()
		_ = conn.Close()
		tasks.Wait()
	})
}

func (c *cluster) handshakeTime(node string) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.slow[node]
}

func (c *cluster) serve(ctx context.Context, tasks *sync.WaitGroup, node string, qc *quic.Conn) {
	for {
		s, err := qc.AcceptStream(ctx)
		if err != nil {
			return
		}
		tasks.Go(func() {
			for c.turn(node, qc, s) {
			}
		})
	}
}

// turn is one call; it reports whether the stream goes on.
func (c *cluster) turn(node string, qc *quic.Conn, s *quic.Stream) bool {
	frame, err := c.readFrame(s)
	if err != nil {
		_ = s.Close()
		return false
	}
	msg, err := schemas.Unmarshal(frame)
	if err != nil {
		panic(err)
	}
	request, err := schemas.ReadRootRequest(msg)
	if err != nil {
		panic(err)
	}
	id, err := request.RequestId()
	if err != nil {
		panic(err)
	}
	got := received{
		node: node, method: request.Method(), id: bytes.Clone(id), seen: request.Seen(),
		timeout:      time.Duration(request.TimeoutMs()) * time.Millisecond,
		linearizable: request.Linearizable(),
	}
	c.mu.Lock()
	c.requests = append(c.requests, got)
	r := c.script(got)
	r.delay += c.delay
	c.mu.Unlock()
	return c.do(node, qc, s, r)
}

// readFrame reads a request, unless it is larger than the node takes: then it says so
// before it has read it, and reads no more.
func (c *cluster) readFrame(s *quic.Stream) ([]byte, error) {
	head := make([]byte, frameHead)
	if _, err := io.ReadFull(s, head); err != nil {
		return nil, err
	}
	if size := 8 * int(binary.LittleEndian.Uint32(head[4:])); c.takes > 0 && size > c.takes {
		s.CancelRead(0)
		time.Sleep(100 * time.Millisecond) // the client learns first that it is to stop
		_, _ = s.Write(responseFrame(reply{code: schemas.Code_messageTooLarge, value: uint64(c.takes)}, nil))
		return nil, io.ErrShortBuffer
	}
	return schemas.ReadFrame(io.MultiReader(bytes.NewReader(head), s), schemas.MaxRequest, nil)
}

func (c *cluster) do(node string, qc *quic.Conn, s *quic.Stream, r reply) bool {
	wait := r.delay
	if r.endless {
		wait = 24 * time.Hour
	}
	select {
	case <-time.After(wait):
	case <-s.Context().Done():
		c.mu.Lock()
		c.resets++
		c.mu.Unlock()
		s.CancelRead(0)
		return false
	}
	switch {
	case r.end:
		_ = s.Close()
		s.CancelRead(0)
		return false
	case r.crash:
		c.network.silence(node)
		return false
	case r.hangUp:
		_ = qc.CloseWithError(1, "draining")
		return false
	case r.reset:
		s.CancelWrite(4)
		s.CancelRead(4)
		return false
	case r.raw != nil:
		_, _ = s.Write(r.raw)
		_ = s.Close()
		return false
	}
	c.mu.Lock()
	frame := responseFrame(r, c.members)
	c.mu.Unlock()
	_, err := s.Write(frame)
	return err == nil
}

func responseFrame(r reply, members []string) []byte {
	msg, seg := schemas.NewMessage()
	response, err := schemas.NewRootResponse(seg)
	if err != nil {
		panic(err)
	}
	response.SetIndex(r.index)
	if r.code == schemas.Code_ok {
		results, err := schemas.NewHealthResults(seg)
		if err != nil {
			panic(err)
		}
		list, err := results.NewMembers(int32(len(members)))
		if err != nil {
			panic(err)
		}
		for i, address := range members {
			if err := list.Set(i, address); err != nil {
				panic(err)
			}
		}
		if err := response.SetResults(results.ToPtr()); err != nil {
			panic(err)
		}
	} else {
		failure, err := response.NewError()
		if err != nil {
			panic(err)
		}
		failure.SetCode(r.code)
		failure.SetValue(r.value)
		failure.SetRetryAfterMs(uint32(r.after.Milliseconds()))
	}
	frame, err := msg.Marshal()
	if err != nil {
		panic(err)
	}
	return frame
}

// open connects the library to nodes of the cluster, all of them if none are
// named.
func (c *cluster) open(t *testing.T, endpoints ...string) *Conn {
	t.Helper()
	conn, err := Dial(c.options(endpoints...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Errorf("close client: %v", err)
		}
	})
	return conn
}

func (c *cluster) options(endpoints ...string) Options {
	if len(endpoints) == 0 {
		endpoints = c.endpoints
	}
	addr := &net.UDPAddr{IP: net.IPv4(10, 0, 1, 1), Port: 5000}
	socket := simnet.NewSimConn(addr, c.network)
	c.network.AddNode(addr, socket)
	return Options{
		Endpoints: endpoints, TLS: c.tls, PacketConn: socket,
		Resolve: func(_ context.Context, endpoint string) ([]net.Addr, error) {
			at, err := net.ResolveUDPAddr("udp", endpoint)
			return []net.Addr{at}, err
		},
	}
}

// seenBy returns the requests that have arrived so far.
func (c *cluster) seenBy() []received {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.requests)
}

// read and write are calls of one method of each kind.
func read(ctx context.Context, c *Conn) error {
	_, err := c.Health(ctx)
	return err
}

func write(ctx context.Context, c *Conn) error {
	return Call(ctx, c, Request{Method: 2, Write: true}, schemas.NewEnqueueParams,
		func(p schemas.EnqueueParams) error { return p.SetPayload([]byte("hello")) },
		func(schemas.EnqueueResults) error { return nil })
}

// within gives a call its time.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
