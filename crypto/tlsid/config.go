package tlsid

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Audience is what a ClientHello asks for: which of the three faces of the port.
type Audience int

// The audiences of the one port.
const (
	Clients Audience = iota // qpq/1, and whoever offers nothing we know
	Joiners                 // qpq-join/1
	Nodes                   // any ALPN that needs a node certificate
)

// AudienceOf sorts a ClientHello by the ALPNs it offers. Offering a node ALPN
// beside others makes it a node: nobody slips past the certificate by also
// offering qpq/1.
func AudienceOf(alpns []string) Audience {
	switch {
	case slices.ContainsFunc(alpns, isNodeALPN):
		return Nodes
	case slices.Contains(alpns, ALPNJoin):
		return Joiners
	}
	return Clients
}

// ServerOptions refine ServerConfig; the zero value is usable.
type ServerOptions struct {
	// ClientCertificate is shown on qpq/1 to clients that ask for one of its
	// names; nil means the node's own leaf for all.
	ClientCertificate *tls.Certificate
	// TicketSecret is what session tickets for clients are sealed with, together with the
	// certificate and the time: see tickets.go. A node that keeps it resumes what it issued
	// before a restart. Zero: a random one.
	TicketSecret [32]byte
	// Now is the clock of certificate checks; nil means time.Now.
	Now func() time.Time
}

// ServerConfig is the TLS configuration of a node's listener, for all ALPNs.
// It reads the identity at every handshake.
func ServerConfig(id *Identity, options ServerOptions) *tls.Config {
	clients := &clientServer{options: options}
	if options.TicketSecret == [32]byte{} {
		_, _ = rand.Read(clients.options.TicketSecret[:]) // never fails
	}
	// The outer configuration is only asked for the inner one; it has no
	// certificate of its own, so nothing works should that be missed.
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		Time:       options.Now,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			c := id.current.Load()
			switch AudienceOf(hello.SupportedProtos) {
			case Nodes:
				return nodeServerConfig(c, options.Now), nil
			case Joiners:
				return publicConfig(c, ALPNJoin, nil, options.Now), nil
			default:
				return clients.config(c), nil
			}
		},
	}
}

func nodeServerConfig(c *credentials, now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Time:                   now,
		Certificates:           []tls.Certificate{c.shown},
		NextProtos:             NodeALPNs(),
		ClientAuth:             tls.RequireAndVerifyClientCert,
		ClientCAs:              c.pool,
		CurvePreferences:       []tls.CurveID{tls.X25519MLKEM768},
		SessionTicketsDisabled: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			_, err := checkNodePeer(state, c.peer.Cluster)
			return err
		},
	}
}

// publicConfig serves those that have no node certificate.
func publicConfig(c *credentials, alpn string, operator *tls.Certificate, now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		Time:       now,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			// Who pins the cluster asks for none of the operator's names.
			if operator != nil && hello.SupportsCertificate(operator) == nil {
				return operator, nil
			}
			return &c.shown, nil
		},
		NextProtos:             []string{alpn},
		ClientAuth:             tls.NoClientCert,
		CurvePreferences:       publicCurves(),
		SessionTicketsDisabled: true,
	}
}

// publicCurves prefers the hybrid and lets old clients in with X25519.
func publicCurves() []tls.CurveID { return []tls.CurveID{tls.X25519MLKEM768, tls.X25519} }

// NodeDialConfig is the TLS configuration to reach one node of our own cluster
// on a node ALPN. Whoever answers must prove to be exactly that node. It reads
// the identity when called: make one per connection.
func NodeDialConfig(id *Identity, node NodeID, alpn string, now func() time.Time) (*tls.Config, error) {
	if err := node.Validate(); err != nil {
		return nil, err
	}
	if !isNodeALPN(alpn) {
		return nil, fmt.Errorf("dial node: %q is not an ALPN between nodes", alpn)
	}
	c := id.current.Load()
	config := dialConfig(alpn, c.peer.Cluster, now)
	config.CurvePreferences = []tls.CurveID{tls.X25519MLKEM768}
	// Our own cluster's servers name no acceptable authorities while two CAs
	// stand side by side; we have one certificate and show it.
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c.shown, nil }
	config.VerifyConnection = func(state tls.ConnectionState) error {
		if err := verifyChain(state, c.pool, clock(now)); err != nil {
			return err
		}
		peer, err := checkNodePeer(state, c.peer.Cluster)
		if err != nil {
			return err
		}
		if peer.Node != node {
			return fmt.Errorf("%w: expected %s, answered %s", ErrWrongPeer, node, peer.Node)
		}
		return nil
	}
	return config, nil
}

// ClientDialConfig is the TLS configuration of a client that pins a cluster:
// authorities is the PEM bundle of its CA certificates. Any node of that
// cluster is accepted, under whatever address it was found.
func ClientDialConfig(authorities []byte, now func() time.Time) (*tls.Config, error) {
	cluster, roots, err := parseAuthorities(authorities)
	if err != nil {
		return nil, fmt.Errorf("read CA certificates: %w", err)
	}
	pool := x509.NewCertPool()
	for _, root := range roots {
		pool.AddCert(root)
	}
	config := dialConfig(ALPNClient, cluster, now)
	config.SessionTicketsDisabled = false // for a client that sets a ClientSessionCache
	config.VerifyConnection = func(state tls.ConnectionState) error {
		if err := verifyChain(state, pool, clock(now)); err != nil {
			return err
		}
		_, err := checkPeer(state, cluster)
		return err
	}
	return config, nil
}

// ErrPin is returned in the handshake by a cluster that is not the one of the pin.
var ErrPin = errors.New("the server's cluster CA is not the pinned one: wrong address, another cluster, or somebody in between")

// PinnedDialConfig is the TLS configuration of a client that pins a cluster by the
// fingerprint (see Fingerprint) of its CA's key, as ClientDialConfig does by its
// certificates. The key outlives the certificates: nodes renew theirs every few
// days, and the pin goes on to hold.
func PinnedDialConfig(pin [sha256.Size]byte, now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion:       tls.VersionTLS13,
		Time:             now,
		ServerName:       pinnedName,
		NextProtos:       []string{ALPNClient},
		CurvePreferences: publicCurves(),
		// VerifyConnection verifies against the pinned authority.
		InsecureSkipVerify: true, //nolint:gosec // see above
		VerifyConnection: func(state tls.ConnectionState) error {
			return checkFingerprint(state, pin, clock(now))
		},
	}
}

// pinnedName is the name in the hello of a client that knows no name: no operator's
// certificate has it, so the node shows its own.
const pinnedName = "pinned.qpq.invalid"

// JoinDialConfig is the TLS configuration of a node that has only a join token:
// the fingerprint (see Fingerprint) of the cluster's CA. The handshake succeeds
// only with a node certified by that CA; its certificate is the last of
// ConnectionState.PeerCertificates.
func JoinDialConfig(fingerprint [sha256.Size]byte, now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Time:                   now,
		NextProtos:             []string{ALPNJoin},
		CurvePreferences:       []tls.CurveID{tls.X25519MLKEM768},
		SessionTicketsDisabled: true,
		InsecureSkipVerify:     true, //nolint:gosec // VerifyConnection below verifies against the pinned authority
		VerifyConnection: func(state tls.ConnectionState) error {
			if err := checkFingerprint(state, fingerprint, clock(now)); err != nil {
				return fmt.Errorf("check against the join token: %w", err)
			}
			return nil
		},
	}
}

func checkFingerprint(state tls.ConnectionState, fingerprint [sha256.Size]byte, now time.Time) error {
	root := state.PeerCertificates[len(state.PeerCertificates)-1]
	if Fingerprint(root) != fingerprint {
		return ErrPin
	}
	cluster, err := authorityCluster(root)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AddCert(root)
	if err := verifyChain(state, pool, now); err != nil {
		return err
	}
	_, err = checkPeer(state, cluster)
	return err
}

// dialConfig holds what all verifying dialers share. The name in the hello is
// the cluster's, never the node's; verification is by certificate URI.
func dialConfig(alpn string, cluster ClusterID, now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Time:                   now,
		ServerName:             cluster.ServerName(),
		NextProtos:             []string{alpn},
		CurvePreferences:       publicCurves(),
		SessionTicketsDisabled: true,
		InsecureSkipVerify:     true, //nolint:gosec // every caller sets VerifyConnection, which verifies chain and identity
	}
}

func clock(now func() time.Time) time.Time {
	if now == nil {
		return time.Now()
	}
	return now()
}
