package mesh

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"go.uber.org/goleak"

	"quicproquo/crypto/tlsid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// network is a small cluster: an authority, endpoints, and a raft
// configuration that a test may change.
type network struct {
	authority *tlsid.Authority
	listen    func(tlsid.NodeID) net.PacketConn
	change    func(*Options) // may be nil

	mu      sync.Mutex
	members map[tlsid.NodeID]bool
	address map[tlsid.NodeID]string
	nodes   map[tlsid.NodeID]*node
}

type node struct {
	*Endpoint
	id   tlsid.NodeID
	keys Keys
	conn net.PacketConn
}

// newNetwork opens endpoints on loopback, or on what listen returns.
func newNetwork(tb testing.TB, listen func(tlsid.NodeID) net.PacketConn, ids ...tlsid.NodeID) *network {
	tb.Helper()
	tb.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true")
	authority, err := tlsid.NewAuthority(tlsid.NewClusterID(), time.Now())
	if err != nil {
		tb.Fatal(err)
	}
	w := &network{
		authority: authority,
		listen:    listen,
		members:   make(map[tlsid.NodeID]bool),
		address:   make(map[tlsid.NodeID]string),
		nodes:     make(map[tlsid.NodeID]*node),
	}
	if listen == nil {
		w.listen = func(tlsid.NodeID) net.PacketConn { return listenUDP(tb, "127.0.0.1:0") }
	}
	for _, id := range ids {
		w.setMember(id, true)
		w.start(tb, id, mustKeys(tb))
	}
	return w
}

func listenUDP(tb testing.TB, address string) net.PacketConn {
	tb.Helper()
	conn, err := net.ListenPacket("udp", address)
	if err != nil {
		tb.Fatal(err)
	}
	return conn
}

func mustKeys(tb testing.TB) Keys {
	tb.Helper()
	keys, err := NewKeys()
	if err != nil {
		tb.Fatal(err)
	}
	return keys
}

func (w *network) setMember(id tlsid.NodeID, is bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.members[id] = is
}

func (w *network) isMember(id tlsid.NodeID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.members[id]
}

func (w *network) resolve(id tlsid.NodeID) (string, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	address, ok := w.address[id]
	return address, ok
}

func (w *network) identity(tb testing.TB, id tlsid.NodeID) *tlsid.Identity {
	tb.Helper()
	identity, err := tlsid.NewIdentity(w.authority, id, nil, time.Now())
	if err != nil {
		tb.Fatal(err)
	}
	return identity
}

func (w *network) start(tb testing.TB, id tlsid.NodeID, keys Keys) *node {
	tb.Helper()
	conn := w.listen(id)
	options := Options{
		Conn: conn, Identity: w.identity(tb, id), Keys: keys,
		Member: w.isMember, Resolve: w.resolve, Logger: slog.New(slog.DiscardHandler),
	}
	if w.change != nil {
		w.change(&options)
	}
	e, err := Open(options)
	if err != nil {
		tb.Fatal(err)
	}
	n := &node{Endpoint: e, id: id, keys: keys, conn: conn}
	w.mu.Lock()
	w.nodes[id], w.address[id] = n, conn.LocalAddr().String()
	w.mu.Unlock()
	tb.Cleanup(func() { n.stop(tb) })
	return n
}

// stop closes the endpoint and its socket.
func (n *node) stop(tb testing.TB) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := n.Close(ctx); err != nil {
		tb.Errorf("close %s: %v", n.id, err)
	}
	_ = n.conn.Close() // perhaps closed before
}

// crash takes the socket away: nothing more comes or goes, nobody is told.
func (n *node) crash() { _ = n.conn.Close() }

// echo serves an ALPN by sending back what each stream carries.
func (n *node) echo(alpn string) {
	n.Serve(alpn, func(conn *quic.Conn, _ tlsid.PeerID) {
		var streams sync.WaitGroup
		defer streams.Wait()
		for {
			s, err := AcceptStream(context.Background(), conn)
			if err != nil {
				return
			}
			streams.Go(func() {
				defer s.Close()
				_, _ = io.Copy(s, s)
			})
		}
	})
}

// call sends a message on a stream and reads the echo.
func call(s net.Conn, message string) error {
	if err := s.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := io.WriteString(s, message); err != nil {
		return err
	}
	answer := make([]byte, len(message))
	if _, err := io.ReadFull(s, answer); err != nil {
		return err
	}
	if string(answer) != message {
		return fmt.Errorf("echo is %q, expected %q", answer, message)
	}
	return nil
}

// callOnce is call on a stream of its own.
func callOnce(ctx context.Context, n *node, to tlsid.NodeID, alpn string) error {
	s, err := n.OpenStream(ctx, to, alpn)
	if err != nil {
		return err
	}
	defer s.Close()
	// As long as any real message: quic-go answers no packet of up to 42 bytes
	// with a stateless reset, so a shorter one would not find a restarted node.
	return call(s, fmt.Sprintf("hello from %-64s", n.id))
}

// dialAs makes a connection the endpoint's own dialer would not make, from a
// socket of its own that is closed with the test.
func dialAs(tb testing.TB, to *node, config *tls.Config, quicConfig *quic.Config) (*quic.Conn, error) {
	tb.Helper()
	socket := listenUDP(tb, "127.0.0.1:0")
	transport := &quic.Transport{Conn: socket}
	tb.Cleanup(func() {
		_ = transport.Close()
		_ = socket.Close()
	})
	ctx, cancel := context.WithTimeout(tb.Context(), 10*time.Second)
	defer cancel()
	return transport.Dial(ctx, to.Addr(), config, quicConfig)
}

func clientConfig(tb testing.TB, w *network) *tls.Config {
	tb.Helper()
	config, err := tlsid.ClientDialConfig(w.authority.CertificatePEM(), nil)
	if err != nil {
		tb.Fatal(err)
	}
	return config
}

func closeCode(conn *quic.Conn) (quic.ApplicationErrorCode, bool) {
	var closed *quic.ApplicationError
	if !errors.As(context.Cause(conn.Context()), &closed) {
		return 0, false
	}
	return closed.ErrorCode, true
}

// Three nodes, a client and a joining node talk on every ALPN.
func TestEveryALPN(t *testing.T) {
	ids := []tlsid.NodeID{"n1", "n2", "n3"}
	w := newNetwork(t, nil, ids...)
	for _, n := range w.nodes {
		for _, alpn := range []string{tlsid.ALPNPeer, tlsid.ALPNClient, tlsid.ALPNJoin} {
			n.echo(alpn)
		}
	}
	for _, from := range ids {
		for _, to := range ids {
			if from == to {
				continue
			}
			if err := callOnce(t.Context(), w.nodes[from], to, tlsid.ALPNPeer); err != nil {
				t.Errorf("%s calls %s: %v", from, to, err)
			}
			raftExchange(t, w.nodes[from], w.nodes[to])
			gossipExchange(t, w.nodes[from], w.nodes[to])
		}
	}
	for name, config := range map[string]*tls.Config{
		"client":  clientConfig(t, w),
		"joining": tlsid.JoinDialConfig(w.authority.Fingerprint(), nil),
	} {
		conn, err := dialAs(t, w.nodes["n1"], config, nil)
		if err != nil {
			t.Fatalf("%s dials: %v", name, err)
		}
		s, err := conn.OpenStream()
		if err != nil {
			t.Fatal(err)
		}
		if err := call(NewStream(conn, s), name); err != nil {
			t.Errorf("%s calls: %v", name, err)
		}
	}
}

func raftExchange(t *testing.T, from, to *node) {
	t.Helper()
	if got := from.RaftLayer().Addr().String(); got != string(from.id) {
		t.Fatalf("raft address of %s is %q, expected its id", from.id, got)
	}
	dialed, err := from.RaftLayer().Dial(raftAddress(to.id), 5*time.Second)
	if err != nil {
		t.Fatalf("%s dials raft of %s: %v", from.id, to.id, err)
	}
	defer dialed.Close()
	if _, err := io.WriteString(dialed, "raft"); err != nil {
		t.Fatal(err)
	}
	accepted, err := to.RaftLayer().Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	if got := accepted.RemoteAddr().String(); got != string(from.id) {
		t.Fatalf("raft stream is from %q, expected %s", got, from.id)
	}
	message := make([]byte, 4)
	if _, err := io.ReadFull(accepted, message); err != nil || string(message) != "raft" {
		t.Fatalf("raft stream carries %q (%v)", message, err)
	}
}

// A small packet goes as a datagram, one that does not fit as a stream; a
// stream for push and pull is a stream.
func gossipExchange(t *testing.T, from, to *node) {
	t.Helper()
	sender, receiver := from.GossipTransport(), to.GossipTransport()
	address := gossipName(to.id)
	for _, size := range []int{10, GossipPacket, 4 * GossipPacket, maxGossipPacket} {
		packet := make([]byte, size)
		packet[size-1] = 7
		if _, err := sender.WriteToAddress(packet, address); err != nil {
			t.Fatal(err)
		}
		packet[size-1] = 0 // the transport keeps a copy
		select {
		case got := <-receiver.PacketCh():
			if len(got.Buf) != size || got.Buf[size-1] != 7 || got.From.String() != string(from.id) {
				t.Fatalf("packet of %d bytes ending in %d from %v, expected %d bytes ending in 7 from %s",
					len(got.Buf), got.Buf[len(got.Buf)-1], got.From, size, from.id)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("packet of %d bytes from %s did not reach %s", size, from.id, to.id)
		}
	}
	stream, err := sender.DialAddressTimeout(address, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if _, err := io.WriteString(stream, "push"); err != nil {
		t.Fatal(err)
	}
	accepted := <-receiver.StreamCh()
	defer accepted.Close()
	message := make([]byte, 4)
	if _, err := io.ReadFull(accepted, message); err != nil || string(message) != "push" {
		t.Fatalf("gossip stream carries %q (%v)", message, err)
	}
}

// Whoever has the wrong certificate or the wrong ALPN fails in the handshake:
// no handler ever sees the connection.
func TestHandshakeRefusals(t *testing.T) {
	w := newNetwork(t, nil, "n1", "n2")
	var handled []string
	var mu sync.Mutex
	for _, alpn := range []string{tlsid.ALPNPeer, tlsid.ALPNClient, tlsid.ALPNJoin} {
		w.nodes["n1"].Serve(alpn, func(*quic.Conn, tlsid.PeerID) {
			mu.Lock()
			defer mu.Unlock()
			handled = append(handled, alpn)
		})
	}
	other := newNetwork(t, nil)
	nodeDial := func(w *network, alpn string, change func(*tls.Config)) *tls.Config {
		config, err := tlsid.NodeDialConfig(w.identity(t, "n2"), "n1", alpn, nil)
		if err != nil {
			t.Fatal(err)
		}
		change(config)
		return config
	}
	keep := func(*tls.Config) {}
	for name, config := range map[string]*tls.Config{
		"another cluster's node":         nodeDial(other, tlsid.ALPNPeer, keep),
		"another cluster's, not looking": nodeDial(other, tlsid.ALPNRaft, func(c *tls.Config) { c.VerifyConnection = nil }),
		"no certificate":                 nodeDial(w, tlsid.ALPNRaft, func(c *tls.Config) { c.GetClientCertificate = nil }),
		"unknown ALPN":                   nodeDial(w, tlsid.ALPNRaft, func(c *tls.Config) { c.NextProtos = []string{"qpq/9"} }),
		"classical key exchange": nodeDial(w, tlsid.ALPNPeer, func(c *tls.Config) {
			c.CurvePreferences = []tls.CurveID{tls.X25519}
		}),
		"client of another cluster": clientConfig(t, other),
	} {
		conn, err := dialAs(t, w.nodes["n1"], config, nil)
		if err == nil { // a TLS 1.3 client learns of a refused certificate after its own part
			<-conn.Context().Done()
			err = context.Cause(conn.Context())
		}
		var refused *quic.TransportError
		if !errors.As(err, &refused) || !refused.ErrorCode.IsCryptoError() {
			t.Errorf("%s: connection ended with %v, expected a refusal of the handshake", name, err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(handled) != 0 {
		t.Errorf("handlers of %v saw a refused connection", handled)
	}
}

// A node that leaves the configuration is cut off in both directions, and does
// not come back; the others go on.
func TestRemovedMember(t *testing.T) {
	w := newNetwork(t, nil, "n1", "n2", "n3")
	n1, n2, n3 := w.nodes["n1"], w.nodes["n2"], w.nodes["n3"]
	for _, n := range w.nodes {
		n.echo(tlsid.ALPNPeer)
	}
	open := func(from, to *node) *Stream {
		t.Helper()
		s, err := from.OpenStream(t.Context(), to.id, tlsid.ALPNPeer)
		if err != nil {
			t.Fatal(err)
		}
		if err := call(s, "before"); err != nil {
			t.Fatal(err)
		}
		return s
	}
	inwards, outwards, others := open(n3, n1), open(n1, n3), open(n2, n1)
	for _, s := range []*Stream{inwards, outwards, others} {
		defer s.Close()
	}
	w.setMember("n3", false)
	n1.Disconnect("n3")
	for name, s := range map[string]*Stream{"inwards": inwards, "outwards": outwards} {
		<-s.Connection().Context().Done()
		if code, ok := closeCode(s.Connection()); !ok || code != codeNotMember {
			t.Errorf("%s connection ended with %v, expected code %d", name, context.Cause(s.Connection().Context()), codeNotMember)
		}
		if err := call(s, "after"); err == nil {
			t.Errorf("%s stream works after the node left", name)
		}
	}
	if err := call(others, "after"); err != nil {
		t.Errorf("another member's stream: %v", err)
	}
	if _, err := n1.OpenStream(t.Context(), "n3", tlsid.ALPNPeer); !errors.Is(err, ErrNotMember) {
		t.Errorf("dial to the node that left: %v, expected ErrNotMember", err)
	}
	if _, err := n1.GossipTransport().WriteToAddress([]byte("x"), gossipName("n3")); !errors.Is(err, ErrNotMember) {
		t.Errorf("gossip to the node that left: %v, expected ErrNotMember", err)
	}
	// The node itself has not heard yet, and tries.
	config, err := tlsid.NodeDialConfig(w.identity(t, "n3"), "n1", tlsid.ALPNRaft, nil)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := dialAs(t, n1, config, nil)
	if err != nil {
		t.Fatal(err)
	}
	<-conn.Context().Done()
	if code, ok := closeCode(conn); !ok || code != codeNotMember {
		t.Errorf("returning node's connection ended with %v, expected code %d", context.Cause(conn.Context()), codeNotMember)
	}
}

// A node that nobody knew gets the guests' limits once, and a node's after it
// proved itself: datagrams tell the two apart.
func TestNodeGetsItsOwnLimits(t *testing.T) {
	w := newNetwork(t, nil, "n1", "n2")
	w.nodes["n1"].echo(tlsid.ALPNPeer)
	s, err := w.nodes["n2"].OpenStream(t.Context(), "n1", tlsid.ALPNPeer)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if !supportsDatagrams(s.Connection()) {
		t.Error("first stream runs on a guest's connection, expected a second dial")
	}
	if err := call(s, "hello"); err != nil {
		t.Error(err)
	}
}

// A node whose address changes with every dial keeps the guests' limits, and
// everything works: gossip packets come as streams.
func TestNodeBehindTranslator(t *testing.T) {
	w := newNetwork(t, nil, "n1", "n2")
	n1 := w.nodes["n1"]
	for range dialAgainLimit {
		if !n1.admission.shouldDialAgain("n2", time.Now()) {
			t.Fatal("told to dial again too seldom")
		}
	}
	if err := callGossip(t, w.nodes["n2"], n1); err != nil {
		t.Fatal(err)
	}
	conn, err := w.nodes["n2"].connection(t.Context(), "n1", tlsid.ALPNGossip)
	if err != nil {
		t.Fatal(err)
	}
	if supportsDatagrams(conn) {
		t.Error("connection has a node's limits, the test means one with a guest's")
	}
}

func callGossip(t *testing.T, from, to *node) error {
	t.Helper()
	if _, err := from.GossipTransport().WriteToAddress([]byte("news"), gossipName(to.id)); err != nil {
		return err
	}
	select {
	case <-to.GossipTransport().PacketCh():
		return nil
	case <-time.After(10 * time.Second):
		return errors.New("packet did not arrive")
	}
}

// Close lets a call in progress end, refuses new ones, and joins everything.
func TestCloseDrains(t *testing.T) {
	w := newNetwork(t, nil, "n1", "n2")
	n1, n2 := w.nodes["n1"], w.nodes["n2"]
	answer := slices.Repeat([]byte("answer"), 100_000)
	got, proceed := make(chan struct{}), make(chan struct{})
	n1.Serve(tlsid.ALPNPeer, func(conn *quic.Conn, _ tlsid.PeerID) {
		s, err := AcceptStream(context.Background(), conn)
		if err != nil {
			t.Error(err)
			return
		}
		close(got)
		<-n1.Closing()
		<-proceed
		if _, err := s.Write(answer); err != nil {
			t.Error(err)
		}
		_ = s.Close()
	})
	s, err := n2.OpenStream(t.Context(), "n1", tlsid.ALPNPeer)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Write([]byte("call")); err != nil {
		t.Fatal(err)
	}
	<-got
	closed := make(chan error)
	go func() { closed <- n1.Close(context.Background()) }()
	<-n1.Closing()
	if _, err := n1.OpenStream(t.Context(), "n2", tlsid.ALPNPeer); !errors.Is(err, ErrClosed) {
		t.Errorf("stream on a closing endpoint: %v, expected ErrClosed", err)
	}
	close(proceed)
	if all, err := io.ReadAll(s); err != nil || len(all) != len(answer) {
		t.Errorf("answer has %d bytes (%v), expected %d", len(all), err, len(answer))
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if err := n1.Close(t.Context()); err != nil {
		t.Errorf("second close: %v", err)
	}
}

// Options that cannot work are refused with the field's name.
func TestOptions(t *testing.T) {
	w := newNetwork(t, nil, "n1")
	conn := listenUDP(t, "127.0.0.1:0")
	defer conn.Close()
	good := Options{Conn: conn, Identity: w.identity(t, "n9"), Keys: mustKeys(t), Member: w.isMember, Resolve: w.resolve}
	for name, change := range map[string]func(*Options){
		"no connection": func(o *Options) { o.Conn = nil },
		"no identity":   func(o *Options) { o.Identity = nil },
		"no keys":       func(o *Options) { o.Keys = Keys{} },
		"no member":     func(o *Options) { o.Member = nil },
		"no resolve":    func(o *Options) { o.Resolve = nil },
		"negative":      func(o *Options) { o.MaxClients = -1 },
	} {
		bad := good
		change(&bad)
		if e, err := Open(bad); err == nil {
			t.Errorf("%s: opened", name)
			_ = e.Close(t.Context())
		}
	}
	if _, err := w.nodes["n1"].OpenStream(t.Context(), "n2", tlsid.ALPNPeer); !errors.Is(err, ErrNotMember) {
		t.Errorf("stream to a stranger: %v, expected ErrNotMember", err)
	}
	w.setMember("n2", true)
	if _, err := w.nodes["n1"].OpenStream(t.Context(), "n2", tlsid.ALPNPeer); !errors.Is(err, ErrUnknownNode) {
		t.Errorf("stream to a node without address: %v, expected ErrUnknownNode", err)
	}
}
