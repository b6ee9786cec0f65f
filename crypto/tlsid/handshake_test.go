package tlsid

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"
)

var testNow = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func testClock() time.Time { return testNow }

func newTestAuthority(tb testing.TB) *Authority {
	tb.Helper()
	a, err := NewAuthority(NewClusterID(), testNow)
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

func newTestIdentity(tb testing.TB, a *Authority, node NodeID, hosts ...string) *Identity {
	tb.Helper()
	id, err := NewIdentity(a, node, hosts, testNow)
	if err != nil {
		tb.Fatal(err)
	}
	return id
}

// handshake runs client against server over a pipe. The server's error is the
// cause when both fail: a TLS 1.3 client learns of a refused certificate late.
func handshake(t *testing.T, server, client *tls.Config) (s, c tls.ConnectionState, serverErr, clientErr error) {
	t.Helper()
	serverSide, clientSide := net.Pipe()
	done := make(chan struct{})
	srv := tls.Server(serverSide, server)
	go func() {
		defer close(done)
		if serverErr = srv.Handshake(); serverErr == nil {
			_, serverErr = srv.Write([]byte{1})
		}
		_ = serverSide.Close()
	}()
	cl := tls.Client(clientSide, client)
	if clientErr = cl.Handshake(); clientErr == nil {
		_, clientErr = cl.Read(make([]byte, 1))
	}
	_ = clientSide.Close()
	<-done
	return srv.ConnectionState(), cl.ConnectionState(), serverErr, clientErr
}

func mustNodeDial(t *testing.T, id *Identity, node NodeID, alpn string, now func() time.Time) *tls.Config {
	t.Helper()
	config, err := NodeDialConfig(id, node, alpn, now)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func mustClientDial(t *testing.T, a *Authority, now func() time.Time) *tls.Config {
	t.Helper()
	config, err := ClientDialConfig(a.CertificatePEM(), now)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// Every face of the port lets in exactly those it is for.
func TestHandshakes(t *testing.T) {
	ours, theirs := newTestAuthority(t), newTestAuthority(t)
	n1, n2 := newTestIdentity(t, ours, "n1"), newTestIdentity(t, ours, "n2")
	stranger := newTestIdentity(t, theirs, "n2")
	server := ServerConfig(n1, ServerOptions{Now: testClock})
	later := func() time.Time { return testNow.Add(LeafLifetime + time.Second) }
	early := func() time.Time { return testNow.Add(-clockSkew - time.Second) }
	skewed := func() time.Time { return testNow.Add(-clockSkew + time.Second) }

	// node returns n2's configuration to reach n1, changed.
	node := func(alpn string, change func(*tls.Config)) *tls.Config {
		config := mustNodeDial(t, n2, "n1", alpn, testClock)
		if change != nil {
			change(config)
		}
		return config
	}
	none := func(c *tls.Config) { c.GetClientCertificate = nil }
	offer := func(alpns ...string) func(*tls.Config) { return func(c *tls.Config) { c.NextProtos = alpns } }
	curves := func(ids ...tls.CurveID) func(*tls.Config) {
		return func(c *tls.Config) { c.CurvePreferences = ids }
	}
	show := func(cert tls.Certificate) func(*tls.Config) {
		return func(c *tls.Config) {
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
		}
	}

	for _, tt := range []struct {
		name   string
		server *tls.Config
		client *tls.Config
		want   string // ALPN agreed upon
		refuse string // in the error of one of the sides
	}{
		{name: "raft", client: node(ALPNRaft, nil), want: ALPNRaft},
		{name: "peer", client: node(ALPNPeer, nil), want: ALPNPeer},
		{name: "gossip", client: node(ALPNGossip, nil), want: ALPNGossip},
		{name: "slow clock within the skew", client: mustNodeDial(t, n2, "n1", ALPNRaft, skewed), want: ALPNRaft},
		{name: "client pins the cluster", client: mustClientDial(t, ours, testClock), want: ALPNClient},
		{name: "client without post-quantum", client: func() *tls.Config {
			c := mustClientDial(t, ours, testClock)
			c.CurvePreferences = []tls.CurveID{tls.X25519}
			return c
		}(), want: ALPNClient},
		{name: "node certificate on the client ALPN", client: node(ALPNRaft, offer(ALPNClient)), want: ALPNClient},
		{name: "join with the token's fingerprint", client: JoinDialConfig(ours.Fingerprint(), testClock), want: ALPNJoin},

		{name: "node ALPN without certificate", client: node(ALPNRaft, none), refuse: "didn't provide a certificate"},
		{name: "node ALPN hidden behind the client's", client: node(ALPNRaft, func(c *tls.Config) {
			none(c)
			c.NextProtos = []string{ALPNClient, ALPNRaft}
		}), refuse: "didn't provide a certificate"},
		{name: "certificate of another cluster", client: node(ALPNRaft, show(stranger.current.Load().certificate())), refuse: "unknown authority"},
		{
			name: "server of another cluster", server: ServerConfig(stranger, ServerOptions{Now: testClock}),
			client: mustNodeDial(t, n1, "n2", ALPNRaft, testClock), refuse: "unknown authority",
		},
		{name: "another node answers", client: mustNodeDial(t, n2, "n3", ALPNRaft, testClock), refuse: "expected n3, answered n1"},
		{name: "expired for the server", server: ServerConfig(n1, ServerOptions{Now: later}), client: node(ALPNRaft, func(c *tls.Config) {
			c.VerifyConnection = nil
		}), refuse: "expired"},
		{name: "expired for the dialer", client: mustNodeDial(t, n2, "n1", ALPNRaft, later), refuse: "expired"},
		{name: "not yet valid", client: mustNodeDial(t, n2, "n1", ALPNRaft, early), refuse: "not yet valid"},
		{name: "classical key exchange between nodes", client: node(ALPNRaft, curves(tls.X25519)), refuse: "no key exchanges"},
		{name: "other hybrids between nodes", client: node(ALPNRaft, curves(tls.SecP256r1MLKEM768)), refuse: "no key exchanges"},
		{name: "TLS 1.2", client: func() *tls.Config {
			c := mustClientDial(t, ours, testClock)
			c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
			return c
		}(), refuse: "version"},
		{name: "unknown ALPN", client: node(ALPNRaft, offer("h3")), refuse: "no application protocol"},
		{name: "unknown node-like ALPN", client: node(ALPNRaft, offer("qpq-raft/2")), refuse: "no application protocol"},
		{name: "client pins another cluster", client: mustClientDial(t, theirs, testClock), refuse: "unknown authority"},
		{name: "client pins the CA's key", client: PinnedDialConfig(ours.Fingerprint(), testClock), want: ALPNClient},
		{name: "client pins another CA's key", client: PinnedDialConfig(theirs.Fingerprint(), testClock), refuse: "not the pinned one"},
		{name: "client pins the CA's key, expired leaf", client: PinnedDialConfig(ours.Fingerprint(), later), refuse: "expired"},
		{name: "join with another fingerprint", client: JoinDialConfig(theirs.Fingerprint(), testClock), refuse: "join token"},
		{name: "the CA key used as a node", client: node(ALPNRaft, show(tls.Certificate{
			Certificate: [][]byte{ours.cert.Raw}, PrivateKey: ours.key,
		})), refuse: "certificate"},
		{name: "leaf that names no node", client: node(ALPNRaft, show(leafWith(t, ours, func(c *x509.Certificate) { c.URIs = nil }))), refuse: "exactly one qpq URI"},
		{name: "leaf for servers only", client: node(ALPNRaft, show(leafWith(t, ours, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}))), refuse: "incompatible key usage"},
		{name: "leaf of this CA for another cluster", client: node(ALPNRaft, show(leafWith(t, ours, func(c *x509.Certificate) {
			c.URIs[0] = PeerID{Cluster: NewClusterID(), Node: "n2"}.URI()
		}))), refuse: "another peer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.server == nil {
				tt.server = server
			}
			s, c, serverErr, clientErr := handshake(t, tt.server, tt.client)
			if tt.refuse != "" {
				if serverErr == nil || clientErr == nil {
					t.Fatalf("handshake went through (server error %v, client error %v), expected refusal %q", serverErr, clientErr, tt.refuse)
				}
				if err := errors.Join(serverErr, clientErr); !strings.Contains(err.Error(), tt.refuse) {
					t.Fatalf("refused with %v, expected %q", err, tt.refuse)
				}
				return
			}
			if err := errors.Join(serverErr, clientErr); err != nil {
				t.Fatal(err)
			}
			if s.NegotiatedProtocol != tt.want || c.NegotiatedProtocol != tt.want {
				t.Fatalf("agreed on %q and %q, expected %q", s.NegotiatedProtocol, c.NegotiatedProtocol, tt.want)
			}
			if isNodeALPN(tt.want) {
				expectPeer(t, s, n2.Peer())
				expectPeer(t, c, n1.Peer())
			} else if _, err := PeerOf(s); !errors.Is(err, ErrNoPeer) {
				t.Fatalf("server sees a node (%v) on %s, expected ErrNoPeer", err, tt.want)
			}
		})
	}
}

func expectPeer(t *testing.T, state tls.ConnectionState, want PeerID) {
	t.Helper()
	if got, err := PeerOf(state); err != nil || got != want {
		t.Fatalf("peer is %v (%v), expected %v", got, err, want)
	}
	if state.CurveID != tls.X25519MLKEM768 {
		t.Fatalf("key exchange between nodes is %v", state.CurveID)
	}
}

// leafWith is a certificate an authority would never issue.
func leafWith(t *testing.T, a *Authority, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template, err := a.Issue("n2", &key.PublicKey, nil, testNow)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(7)
	change(template)
	leaf, err := createCertificate(template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}
}

// Clients get the operator's certificate for its names and the node's leaf for
// the cluster's own name; an ordinary TLS library with the CA as root and the
// cluster's server name verifies the latter.
func TestClientCertificate(t *testing.T) {
	a := newTestAuthority(t)
	id := newTestIdentity(t, a, "n1", "chat.example.org")
	operator := operatorCertificate(t, "chat.example.com")
	config := ServerConfig(id, ServerOptions{ClientCertificate: &operator, Now: testClock})
	clusterRoots, operatorRoots := x509.NewCertPool(), x509.NewCertPool()
	clusterRoots.AddCert(a.cert)
	operatorRoots.AddCert(operator.Leaf)
	for name, roots := range map[string]*x509.CertPool{
		"chat.example.com":       operatorRoots,
		"chat.example.org":       clusterRoots,
		a.Cluster().ServerName(): clusterRoots,
	} {
		_, _, serverErr, clientErr := handshake(t, config, &tls.Config{
			MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: name, NextProtos: []string{ALPNClient}, Time: testClock,
		})
		if err := errors.Join(serverErr, clientErr); err != nil {
			t.Errorf("client asking for %s: %v", name, err)
		}
	}
	if _, _, serverErr, clientErr := handshake(t, config, mustClientDial(t, a, testClock)); serverErr != nil || clientErr != nil {
		t.Errorf("client that pins the cluster behind an operator's certificate: %v, %v", serverErr, clientErr)
	}
}

func operatorCertificate(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{DNSNames: []string{name}, NotBefore: testNow, NotAfter: testNow.Add(time.Hour)}
	leaf, err := createCertificate(template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
}

// A renewed certificate and a replaced CA are seen by the next handshake of the
// same configuration, on every ALPN.
func TestRenewalIsSeenByNextHandshake(t *testing.T) {
	a := newTestAuthority(t)
	n1, n2 := newTestIdentity(t, a, "n1", "host.example", "192.0.2.7"), newTestIdentity(t, a, "n2")
	now := testNow
	server := ServerConfig(n1, ServerOptions{Now: func() time.Time { return now }})
	serial := func() *big.Int {
		t.Helper()
		_, c, serverErr, clientErr := handshake(t, server, mustNodeDial(t, n2, "n1", ALPNRaft, func() time.Time { return now }))
		if err := errors.Join(serverErr, clientErr); err != nil {
			t.Fatal(err)
		}
		return c.PeerCertificates[0].SerialNumber
	}
	first, firstKey := serial(), n1.current.Load().key
	if n1.NeedsRenewal(now.Add(LeafLifetime/3)) || !n1.NeedsRenewal(now.Add(LeafLifetime*2/3)) {
		t.Fatalf("renewal is due at %v, expected at two thirds of %v..%v", n1.RenewAt(), n1.Leaf().NotBefore, n1.Leaf().NotAfter)
	}
	now = now.Add(LeafLifetime * 2 / 3)
	for _, id := range []*Identity{n1, n2} {
		if err := id.Renew(a, now); err != nil {
			t.Fatal(err)
		}
	}
	if serial().Cmp(first) == 0 {
		t.Fatal("handshake after renewal shows the old certificate")
	}
	if !n1.current.Load().key.Equal(firstKey) {
		t.Fatal("renewal made a new key, expected the one that the cluster knows the node by")
	}
	if got := n1.Leaf(); len(got.DNSNames) != 2 || len(got.IPAddresses) != 1 || got.DNSNames[1] != "host.example" {
		t.Fatalf("renewed certificate has names %v and addresses %v, expected those of the first", got.DNSNames, got.IPAddresses)
	}
	now = now.Add(LeafLifetime * 2 / 3) // the first certificates are over, the second not
	serial()
}

// A certificate that a node with a fast clock made for itself is good at once for those
// whose clocks are right, and for it.
func TestCertificateFromAFastClock(t *testing.T) {
	a := newTestAuthority(t)
	n1, n2 := newTestIdentity(t, a, "n1"), newTestIdentity(t, a, "n2")
	if err := n1.Renew(a, testNow.Add(2*LeafLifetime)); err != nil {
		t.Fatal(err)
	}
	server := ServerConfig(n1, ServerOptions{Now: testClock})
	_, _, serverErr, clientErr := handshake(t, server, mustNodeDial(t, n2, "n1", ALPNRaft, testClock))
	if err := errors.Join(serverErr, clientErr); err != nil {
		t.Errorf("handshake: %v, expected none", err)
	}
	if n1.NeedsRenewal(testNow) {
		t.Errorf("renewal is due at %v, expected at two thirds of the new certificate's life", n1.RenewAt())
	}
}

// The CA of a running cluster is replaced in three steps, and every handshake
// between them works.
func TestAuthorityReplacement(t *testing.T) {
	old := newTestAuthority(t)
	next, err := NewAuthority(old.Cluster(), testNow)
	if err != nil {
		t.Fatal(err)
	}
	n1, n2 := newTestIdentity(t, old, "n1"), newTestIdentity(t, old, "n2")
	check := func(step string) {
		t.Helper()
		server := ServerConfig(n1, ServerOptions{Now: testClock})
		if _, _, s, c := handshake(t, server, mustNodeDial(t, n2, "n1", ALPNPeer, testClock)); s != nil || c != nil {
			t.Fatalf("%s: %v, %v", step, s, c)
		}
	}
	if err := n1.ReplaceAuthorities(next.CertificatePEM(), testNow); err == nil {
		t.Fatal("a CA that disowns the node's own certificate was taken")
	}
	if err := n1.ReplaceAuthorities(newTestAuthority(t).CertificatePEM(), testNow); err == nil {
		t.Fatal("the CA of another cluster was taken")
	}
	both := append(old.CertificatePEM(), next.CertificatePEM()...)
	for _, id := range []*Identity{n1, n2} {
		if err := id.ReplaceAuthorities(both, testNow); err != nil {
			t.Fatal(err)
		}
		check("both trusted")
	}
	for _, id := range []*Identity{n1, n2} {
		if err := id.Renew(next, testNow); err != nil {
			t.Fatal(err)
		}
		check("renewed under the next")
	}
	for _, id := range []*Identity{n1, n2} {
		if err := id.ReplaceAuthorities(next.CertificatePEM(), testNow); err != nil {
			t.Fatal(err)
		}
		check("old dropped")
	}
}
