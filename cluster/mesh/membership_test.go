package mesh

import (
	"context"
	"crypto/tls"
	"errors"
	"sync"
	"testing"

	"github.com/quic-go/quic-go"

	"quicproquo/crypto/tlsid"
)

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

// Whoever speaks raft with a node's own certificate has a copy of its directory: what it
// says in the node's name, a vote among it, counts with nobody who is that node. Commands
// such as `qpqd status` ask with it too; they do not vote.
func TestOnesOwnCertificateIsRefused(t *testing.T) {
	w := newNetwork(t, nil, "n1")
	n1 := w.nodes["n1"]
	n1.echo(tlsid.ALPNRaft)
	config, err := tlsid.NodeDialConfig(n1.options.Identity, "n1", tlsid.ALPNRaft, nil)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := dialAs(t, n1, config, nil)
	if err != nil {
		t.Fatal(err)
	}
	<-conn.Context().Done()
	if err := context.Cause(conn.Context()); !IsNotMember(err) {
		t.Errorf("the connection ended with %v, want a refusal", err)
	}
}
