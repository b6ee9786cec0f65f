package tlsid

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net/url"
	"time"
)

// maxRequestLen limits a certificate request in bytes.
const maxRequestLen = 8 << 10

// Request is a node key that waits for its certificate. A joining node makes one with
// NewRequest, with a fresh key; a node that renews with Identity.Request, for the key that
// it has: the cluster knows its members by their keys (docs/decisions/0141).
type Request struct {
	peer PeerID
	key  *ecdsa.PrivateKey
	der  []byte
}

// NewRequest generates a key for a node that answers under hosts (DNS names
// and IP addresses without ports, at most 16).
func NewRequest(peer PeerID, hosts []string) (*Request, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate node key: %w", err)
	}
	return newRequest(peer, hosts, key)
}

func newRequest(peer PeerID, hosts []string, key *ecdsa.PrivateKey) (*Request, error) {
	if err := peer.Node.Validate(); err != nil {
		return nil, err
	}
	names, addresses, err := splitHosts(hosts)
	if err != nil {
		return nil, fmt.Errorf("request certificate: %w", err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject:     pkix.Name{CommonName: string(peer.Node)},
		URIs:        []*url.URL{peer.URI()},
		DNSNames:    names,
		IPAddresses: addresses,
	}, key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate request: %w", err)
	}
	return &Request{peer: peer, key: key, der: der}, nil
}

// CSR returns the certificate request to send to an authority: PKCS #10, DER
// (RFC 2986), at most 8 KiB. It proves possession of the key.
func (r *Request) CSR() []byte { return r.der }

// Identity completes a node's first certificate: leaf is the DER certificate
// the authority returned, authorities the PEM bundle of CA certificates.
func (r *Request) Identity(leaf, authorities []byte, now time.Time) (*Identity, error) {
	cluster, roots, err := parseAuthorities(authorities)
	if err != nil {
		return nil, fmt.Errorf("read CA certificates: %w", err)
	}
	if cluster != r.peer.Cluster {
		return nil, fmt.Errorf("CA certificates are of cluster %s, the request is for %s", cluster, r.peer.Cluster)
	}
	next, err := r.complete(leaf, roots, now)
	if err != nil {
		return nil, err
	}
	return newIdentity(next), nil
}

// complete checks that a leaf is the answer to this request.
func (r *Request) complete(leaf []byte, roots []*x509.Certificate, now time.Time) (*credentials, error) {
	cert, err := x509.ParseCertificate(leaf)
	if err != nil {
		return nil, fmt.Errorf("parse certificate: %w", err)
	}
	next, err := newCredentials(r.key, cert, roots)
	if err != nil {
		return nil, err
	}
	if next.peer != r.peer {
		return nil, fmt.Errorf("certificate is for %s, requested was %s", next.peer, r.peer)
	}
	if err := next.verify(now); err != nil {
		return nil, err
	}
	return next, nil
}

// parseRequest reads a certificate request and checks its proof of possession.
func parseRequest(der []byte) (*x509.CertificateRequest, error) {
	if len(der) > maxRequestLen {
		return nil, fmt.Errorf("certificate request is %d bytes, at most %d are read", len(der), maxRequestLen)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("parse certificate request: %w", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, errors.New("certificate request is not signed by its own key")
	}
	return csr, nil
}

// RequestFingerprint is the Fingerprint of the certificate that a request (PKCS #10, DER)
// asks for.
func RequestFingerprint(der []byte) ([sha256.Size]byte, error) {
	csr, err := parseRequest(der)
	if err != nil {
		return [sha256.Size]byte{}, err
	}
	return sha256.Sum256(csr.RawSubjectPublicKeyInfo), nil
}
