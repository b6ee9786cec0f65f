package mesh

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
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
	also    map[tlsid.NodeID][]string // where else a node may be
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

func (w *network) resolve(id tlsid.NodeID) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if address, ok := w.address[id]; ok {
		return append([]string{address}, w.also[id]...)
	}
	return nil
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
