package tlsid

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Identity is a node's key, its current certificate and the authorities it
// trusts. It is safe for concurrent use. Replacing the certificate or the
// authorities takes effect at the next handshake on every ALPN; connections
// that stand are not touched.
type Identity struct {
	replace sync.Mutex // held by whoever replaces current; readers need no lock
	current atomic.Pointer[credentials]
}

// credentials are one immutable state of an Identity.
type credentials struct {
	peer  PeerID
	key   *ecdsa.PrivateKey
	leaf  *x509.Certificate
	roots []*x509.Certificate
	pool  *x509.CertPool
	// shown is what the node shows in a handshake, verified once and not in each.
	shown tls.Certificate
}

func newIdentity(c *credentials) *Identity {
	id := new(Identity)
	id.current.Store(c)
	return id
}

// newCredentials checks that key, leaf and roots belong together.
func newCredentials(key *ecdsa.PrivateKey, leaf *x509.Certificate, roots []*x509.Certificate) (*credentials, error) {
	peer, err := peerOfCertificate(leaf)
	if err != nil {
		return nil, err
	}
	if !key.PublicKey.Equal(leaf.PublicKey) {
		return nil, errors.New("certificate is for another key")
	}
	pool := x509.NewCertPool()
	for _, root := range roots {
		pool.AddCert(root)
	}
	c := &credentials{peer: peer, key: key, leaf: leaf, roots: roots, pool: pool}
	c.shown = c.certificate()
	return c, nil
}

// verify reports whether peers would accept the certificate at now.
func (c *credentials) verify(now time.Time) error {
	return verifyLeaf(c.leaf, c.pool, x509.ExtKeyUsageServerAuth, now)
}

// NewIdentity makes a node's first identity with an authority at hand: what
// init and dev do.
func NewIdentity(a *Authority, node NodeID, hosts []string, now time.Time) (*Identity, error) {
	request, err := NewRequest(PeerID{Cluster: a.cluster, Node: node}, hosts)
	if err != nil {
		return nil, err
	}
	leaf, err := a.IssueRequest(request.CSR(), node, now)
	if err != nil {
		return nil, err
	}
	return request.Identity(leaf.Raw, a.CertificatePEM(), now)
}

// Peer returns the cluster and the node this identity is.
func (i *Identity) Peer() PeerID { return i.current.Load().peer }

// Leaf returns the current certificate. It must not be changed.
func (i *Identity) Leaf() *x509.Certificate { return i.current.Load().leaf }

// AuthoritiesPEM returns the CA certificates this node trusts.
func (i *Identity) AuthoritiesPEM() []byte {
	var bundle bytes.Buffer
	for _, root := range i.current.Load().roots {
		bundle.Write(encodeCertificate(root))
	}
	return bundle.Bytes()
}

// Pin is the fingerprint (see Fingerprint) of the authority that our leaf's chain
// ends with: what a client pins the cluster by.
func (i *Identity) Pin() [sha256.Size]byte {
	chain := i.current.Load().shown.Certificate
	root, err := x509.ParseCertificate(chain[len(chain)-1])
	if err != nil {
		panic("tlsid: an authority that was parsed before can't be parsed: " + err.Error())
	}
	return Fingerprint(root)
}

// NeedsRenewal reports whether two thirds of the certificate's life are over.
func (i *Identity) NeedsRenewal(now time.Time) bool { return !now.Before(i.RenewAt()) }

// RenewAt returns when two thirds of the certificate's life are over. Its life is
// LeafLifetime before its end: see Authority.Issue.
func (i *Identity) RenewAt() time.Time { return i.Leaf().NotAfter.Add(-LeafLifetime / 3) }

// Request asks for the same node, key and hosts to be certified by an
// authority elsewhere and installed with Install.
func (i *Identity) Request() (*Request, error) {
	c := i.current.Load()
	return newRequest(c.peer, requestHosts(c.leaf.DNSNames, c.leaf.IPAddresses, c.peer.Cluster), c.key)
}

// Install replaces the certificate by the DER one that an authority returned for a
// request. A certificate of another node, another authority
// or out of date is refused, and the old one stays.
func (i *Identity) Install(r *Request, leaf []byte, now time.Time) error {
	i.replace.Lock()
	defer i.replace.Unlock()
	c := i.current.Load()
	if r.peer != c.peer {
		return fmt.Errorf("install certificate: it is for %s, this node is %s", r.peer, c.peer)
	}
	next, err := r.complete(leaf, c.roots, now)
	if err != nil {
		return fmt.Errorf("install certificate: %w", err)
	}
	i.current.Store(next)
	return nil
}

// Renew replaces the certificate with the authority at hand, for the same key and under
// the same hosts.
func (i *Identity) Renew(a *Authority, now time.Time) error {
	request, err := i.Request()
	if err != nil {
		return err
	}
	leaf, err := a.IssueRequest(request.CSR(), request.peer.Node, now)
	if err != nil {
		return err
	}
	return i.Install(request, leaf.Raw, now)
}

// ReplaceAuthorities sets the CA certificates (a PEM bundle of one to eight)
// this node trusts. To change the CA of a running cluster: give every node old
// and new, renew every certificate under the new, then drop the old. A bundle
// that would disown this node's own certificate is refused.
func (i *Identity) ReplaceAuthorities(bundle []byte, now time.Time) error {
	cluster, roots, err := parseAuthorities(bundle)
	if err != nil {
		return fmt.Errorf("read CA certificates: %w", err)
	}
	i.replace.Lock()
	defer i.replace.Unlock()
	c := i.current.Load()
	if cluster != c.peer.Cluster {
		return fmt.Errorf("CA certificates are of cluster %s, this node is of %s", cluster, c.peer.Cluster)
	}
	next, err := newCredentials(c.key, c.leaf, roots)
	if err != nil {
		return err
	}
	if err := next.verify(now); err != nil {
		return fmt.Errorf("replace CA certificates: this node's own certificate would not verify: %w", err)
	}
	i.current.Store(next)
	return nil
}

// certificate makes what the node shows in a handshake. The issuer goes along:
// a joining node finds the CA by its fingerprint there, and TLS 1.3 allows it
// (RFC 8446 §4.4.2).
func (c *credentials) certificate() tls.Certificate {
	chain := [][]byte{c.leaf.Raw}
	for _, root := range c.roots {
		if c.leaf.CheckSignatureFrom(root) == nil {
			chain = append(chain, root.Raw)
			break
		}
	}
	return tls.Certificate{Certificate: chain, PrivateKey: c.key, Leaf: c.leaf}
}
