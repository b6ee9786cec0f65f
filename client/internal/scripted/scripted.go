// Package scripted has nodes that do to each request what a test says, on fake time and
// a network in memory: what real nodes do not do on command. For tests alone.
//
// It must never import package conn, whose tests use it from the inside.
package scripted

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/testutils/simnet"

	"quicproquo/crypto/tlsid"
	"quicproquo/schemas"
)

// Ordinals of methods in NodeService.
const (
	ResolveUser     = 19
	ResolveIdentity = 20
	BindSession     = 27
)

// Request is a request as a node saw it.
type Request struct {
	Node         string
	Method       uint16
	ID           []byte
	Seen         uint64
	Timeout      time.Duration
	Linearizable bool
}

// Reply is what a node does with a request. The zero Reply is empty results.
type Reply struct {
	Index   uint64
	Code    schemas.Code
	Value   uint64
	After   time.Duration // retryAfterMs
	Delay   time.Duration // before the reply
	Raw     []byte        // sent instead of a response
	Crash   bool          // the node falls silent forever
	HangUp  bool          // the node closes the connection
	Reset   bool          // the node resets the stream
	Endless bool          // the node never replies
	End     bool          // the node ends the stream in peace, without an answer
}

// Cluster is a set of scripted nodes: they speak the protocol and do to each
// request what the test says, which real nodes do not do on command.
type Cluster struct {
	T         *testing.T // of the bubble
	Network   *Network
	Endpoints []string
	TLS       *tls.Config
	script    func(Request) Reply

	Mu       sync.Mutex
	requests []Request
	Resets   int                      // streams that the client reset
	Slow     map[string]time.Duration // how long a node's handshakes take
	Hellos   map[string]int           // handshakes that have come to a node
	Members  []string                 // what the nodes name to who asks
	Delay    time.Duration            // of each answer, besides the script's
	Takes    int                      // larger requests are refused, in bytes; 0: none is
}

// NewCluster starts nodes; script runs on their goroutines, one call at a time.
func NewCluster(t *testing.T, nodes int, script func(Request) Reply) *Cluster {
	t.Helper()
	ca, err := tlsid.NewAuthority(tlsid.NewClusterID(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c := &Cluster{T: t, Network: &Network{Dark: map[string]bool{}}, script: script, Slow: map[string]time.Duration{}, Hellos: map[string]int{}}
	if c.TLS, err = tlsid.ClientDialConfig(ca.CertificatePEM(), nil); err != nil {
		t.Fatal(err)
	}
	for i := range nodes {
		identity, err := tlsid.NewIdentity(ca, tlsid.NodeID("n"+string(rune('1'+i))), []string{"127.0.0.1"}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		c.Start(t, identity, UDPAddr(1+i))
	}
	return c
}

// UDPAddr is where the node with a number is.
func UDPAddr(number int) *net.UDPAddr {
	return &net.UDPAddr{IP: net.IPv4(10, 0, 0, byte(number)), Port: 4430}
}

// Start starts a node at an address, until the test ends.
func (c *Cluster) Start(t *testing.T, identity *tlsid.Identity, addr *net.UDPAddr) {
	t.Helper()
	conn := simnet.NewSimConn(addr, c.Network)
	c.Network.AddNode(addr, conn)
	// Who takes long asks for a Retry first, as a node under load does.
	transport := &quic.Transport{Conn: conn, VerifySourceAddress: func(net.Addr) bool { return c.handshakeTime(addr.String()) > 0 }}
	config := tlsid.ServerConfig(identity, tlsid.ServerOptions{})
	inner := config.GetConfigForClient
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		c.Mu.Lock()
		c.Hellos[addr.String()]++
		c.Mu.Unlock()
		time.Sleep(c.handshakeTime(addr.String()))
		return inner(hello)
	}
	listener, err := transport.Listen(config, &quic.Config{InitialPacketSize: tlsid.InitialPacketSize, MaxIncomingStreams: 64})
	if err != nil {
		t.Fatal(err)
	}
	c.Endpoints = append(c.Endpoints, addr.String())
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

func (c *Cluster) handshakeTime(node string) time.Duration {
	c.Mu.Lock()
	defer c.Mu.Unlock()
	return c.Slow[node]
}

func (c *Cluster) serve(ctx context.Context, tasks *sync.WaitGroup, node string, qc *quic.Conn) {
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
func (c *Cluster) turn(node string, qc *quic.Conn, s *quic.Stream) bool {
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
	got := Request{
		Node: node, Method: request.Method(), ID: bytes.Clone(id), Seen: request.Seen(),
		Timeout:      time.Duration(request.TimeoutMs()) * time.Millisecond,
		Linearizable: request.Linearizable(),
	}
	c.Mu.Lock()
	c.requests = append(c.requests, got)
	r := c.script(got)
	r.Delay += c.Delay
	c.Mu.Unlock()
	return c.do(node, qc, s, r)
}

// readFrame reads a request, unless it is larger than the node takes: then it says so
// before it has read it, and reads no more.
func (c *Cluster) readFrame(s *quic.Stream) ([]byte, error) {
	head := make([]byte, 8) // of a frame (schemas.ReadFrame)
	if _, err := io.ReadFull(s, head); err != nil {
		return nil, err
	}
	if size := 8 * int(binary.LittleEndian.Uint32(head[4:])); c.Takes > 0 && size > c.Takes {
		s.CancelRead(0)
		time.Sleep(100 * time.Millisecond) // the client learns first that it is to stop
		_, _ = s.Write(ResponseFrame(Reply{Code: schemas.Code_messageTooLarge, Value: uint64(c.Takes)}, nil))
		return nil, io.ErrShortBuffer
	}
	return schemas.ReadFrame(io.MultiReader(bytes.NewReader(head), s), schemas.MaxRequest, nil)
}

func (c *Cluster) do(node string, qc *quic.Conn, s *quic.Stream, r Reply) bool {
	wait := r.Delay
	if r.Endless {
		wait = 24 * time.Hour
	}
	select {
	case <-time.After(wait):
	case <-s.Context().Done():
		c.Mu.Lock()
		c.Resets++
		c.Mu.Unlock()
		s.CancelRead(0)
		return false
	}
	switch {
	case r.End:
		_ = s.Close()
		s.CancelRead(0)
		return false
	case r.Crash:
		c.Network.Silence(node)
		return false
	case r.HangUp:
		_ = qc.CloseWithError(1, "draining")
		return false
	case r.Reset:
		s.CancelWrite(4)
		s.CancelRead(4)
		return false
	case r.Raw != nil:
		_, _ = s.Write(r.Raw)
		_ = s.Close()
		return false
	}
	c.Mu.Lock()
	frame := ResponseFrame(r, c.Members)
	c.Mu.Unlock()
	_, err := s.Write(frame)
	return err == nil
}

// ResponseFrame is what a node sends: a reply, framed. Where there is no error the results
// name members.
func ResponseFrame(r Reply, members []string) []byte {
	msg, seg := schemas.NewMessage()
	response, err := schemas.NewRootResponse(seg)
	if err != nil {
		panic(err)
	}
	response.SetIndex(r.Index)
	if r.Code == schemas.Code_ok {
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
		failure.SetCode(r.Code)
		failure.SetValue(r.Value)
		failure.SetRetryAfterMs(uint32(r.After.Milliseconds()))
	}
	frame, err := msg.Marshal()
	if err != nil {
		panic(err)
	}
	return frame
}

// Requests returns the requests that have arrived so far.
func (c *Cluster) Requests() []Request {
	c.Mu.Lock()
	defer c.Mu.Unlock()
	return slices.Clone(c.requests)
}

// Methods are the methods that have arrived so far, in order.
func (c *Cluster) Methods() (list []uint16) {
	for _, r := range c.Requests() {
		list = append(list, r.Method)
	}
	return list
}

// Count is how often a method is in a list.
func Count(list []uint16, method uint16) (n int) {
	for _, m := range list {
		if m == method {
			n++
		}
	}
	return n
}

// Run is a test on fake time with scripted nodes; Cluster.T is the test.
func Run(t *testing.T, nodes int, script func(Request) Reply, do func(*Cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { do(NewCluster(t, nodes, script)) })
}

// Socket is a client's socket in the cluster's network.
func (c *Cluster) Socket() net.PacketConn {
	addr := &net.UDPAddr{IP: net.IPv4(10, 0, 1, 1), Port: 5000}
	socket := simnet.NewSimConn(addr, c.Network)
	c.Network.AddNode(addr, socket)
	return socket
}

// Resolve gives the address of a node to which it is written out.
func Resolve(_ context.Context, endpoint string) ([]net.Addr, error) {
	at, err := net.ResolveUDPAddr("udp", endpoint)
	return []net.Addr{at}, err
}
