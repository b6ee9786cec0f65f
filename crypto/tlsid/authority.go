package tlsid

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
)

const (
	// LeafLifetime is how long a node certificate is valid. 30 days: it is
	// renewed after 20, so a cluster has 10 days in which nobody needs to be
	// able to renew, and a node that was off for repair comes back with its
	// certificate. Removal does not wait for expiry (it is the raft
	// configuration's), so a shorter life would buy little.
	LeafLifetime = 30 * 24 * time.Hour
	// AuthorityLifetime is how long the cluster's CA certificate is valid.
	AuthorityLifetime = 20 * 365 * 24 * time.Hour
	// clockSkew is how far a node's clock may run behind the issuer's.
	clockSkew = 10 * time.Minute
	// maxHosts limits the DNS names and addresses in one certificate, so that a
	// certificate chain stays far below QUIC's 16 KiB for handshake data.
	maxHosts = 16
	// maxHostLen is the longest DNS name in bytes (RFC 1035 §2.3.4).
	maxHostLen = 253
)

// Authority is the cluster's certificate authority: its certificate and its
// private key. It is immutable and safe for concurrent use.
type Authority struct {
	cluster ClusterID
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey
}

// NewAuthority creates the CA of a cluster, valid from now.
func NewAuthority(cluster ClusterID, now time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate authority key: %w", err)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "quicproquo cluster " + cluster.String()},
		URIs:                  []*url.URL{authorityURI(cluster)},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(AuthorityLifetime),
		IsCA:                  true,
		MaxPathLenZero:        true, // it signs leaves, never another CA
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	cert, err := createCertificate(template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("create authority certificate: %w", err)
	}
	return &Authority{cluster: cluster, cert: cert, key: key}, nil
}

// Cluster returns the cluster this authority belongs to.
func (a *Authority) Cluster() ClusterID { return a.cluster }

// CertificatePEM returns the CA certificate, public.
func (a *Authority) CertificatePEM() []byte { return encodeCertificate(a.cert) }

// Fingerprint identifies the authority's key: see Fingerprint.
func (a *Authority) Fingerprint() [sha256.Size]byte { return Fingerprint(a.cert) }

// Fingerprint is the SHA-256 of a certificate's SubjectPublicKeyInfo (RFC 7469
// §2.4): it survives the renewal of a CA certificate with the same key. A join
// token carries it.
func Fingerprint(cert *x509.Certificate) [sha256.Size]byte {
	return sha256.Sum256(cert.RawSubjectPublicKeyInfo)
}

// Issue signs a leaf for a node's public key, valid until LeafLifetime from now. It
// begins with the authority, not now: when a key was certified proves nothing, and a
// leaf that an issuer with a fast clock made would be refused by everybody else.
// Hosts are the DNS names and IP addresses (no ports) clients may reach it
// under; at most 16.
func (a *Authority) Issue(node NodeID, key *ecdsa.PublicKey, hosts []string, now time.Time) (*x509.Certificate, error) {
	if err := node.Validate(); err != nil {
		return nil, err
	}
	if key == nil || key.Curve != elliptic.P256() {
		return nil, errors.New("issue certificate: node key must be ECDSA P-256")
	}
	names, addresses, err := splitHosts(hosts)
	if err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	peer := PeerID{Cluster: a.cluster, Node: node}
	return createCertificate(&x509.Certificate{
		Subject:               pkix.Name{CommonName: string(node)},
		URIs:                  []*url.URL{peer.URI()},
		DNSNames:              append([]string{a.cluster.ServerName()}, names...),
		IPAddresses:           addresses,
		NotBefore:             a.cert.NotBefore,
		NotAfter:              now.Add(LeafLifetime),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, key, a.key)
}

// IssueRequest signs the leaf a certificate request (PKCS #10, DER, RFC 2986)
// asks for. The caller says which node may have it: a request that names
// another node or another cluster is refused.
func (a *Authority) IssueRequest(request []byte, node NodeID, now time.Time) (*x509.Certificate, error) {
	csr, err := parseRequest(request)
	if err != nil {
		return nil, err
	}
	want := PeerID{Cluster: a.cluster, Node: node}
	if len(csr.URIs) != 1 || csr.URIs[0].String() != want.String() {
		return nil, fmt.Errorf("issue certificate: request is not for %s", want)
	}
	key, ok := csr.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return nil, errors.New("issue certificate: node key must be ECDSA P-256")
	}
	return a.Issue(node, key, requestHosts(csr.DNSNames, csr.IPAddresses, a.cluster), now)
}

// createCertificate signs a certificate with a fresh serial number and parses it.
func createCertificate(template, parent *x509.Certificate, key *ecdsa.PublicKey, signer *ecdsa.PrivateKey) (*x509.Certificate, error) {
	// Without a serial number in the template Go draws 20 random bytes.
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, signer)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

// requestHosts is the inverse of splitHosts, without the cluster's own name.
func requestHosts(names []string, addresses []net.IP, cluster ClusterID) []string {
	var hosts []string
	for _, name := range names {
		if name != cluster.ServerName() {
			hosts = append(hosts, name)
		}
	}
	for _, ip := range addresses {
		hosts = append(hosts, ip.String())
	}
	return hosts
}

func splitHosts(hosts []string) (names []string, addresses []net.IP, err error) {
	if len(hosts) > maxHosts {
		return nil, nil, fmt.Errorf("%d hosts, at most %d fit a certificate", len(hosts), maxHosts)
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			addresses = append(addresses, ip)
			continue
		}
		name := strings.ToLower(host)
		if !isHostName(name) {
			return nil, nil, fmt.Errorf("host %.64q is neither an IP address nor a DNS name (give it without a port)", host)
		}
		names = append(names, name)
	}
	return names, addresses, nil
}

// isHostName reports whether s consists of DNS labels of letters, digits,
// hyphens and underscores (which container networks use).
func isHostName(s string) bool {
	if s == "" || len(s) > maxHostLen {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

// authorityURI names the CA of a cluster: it cannot be mistaken for a node.
func authorityURI(cluster ClusterID) *url.URL {
	return &url.URL{Scheme: uriScheme, Host: cluster.String(), Path: "/ca"}
}

// authorityCluster reads the cluster out of a CA certificate.
func authorityCluster(cert *x509.Certificate) (ClusterID, error) {
	if !cert.IsCA || len(cert.URIs) != 1 {
		return ClusterID{}, errors.New("certificate is not a cluster's authority")
	}
	cluster, err := ParseClusterID(cert.URIs[0].Host)
	if err != nil || cert.URIs[0].String() != authorityURI(cluster).String() {
		return ClusterID{}, errors.New("certificate is not a cluster's authority")
	}
	return cluster, nil
}

const (
	pemCertificate = "CERTIFICATE"
	pemPrivateKey  = "PRIVATE KEY"
	// maxPEMLen limits a PEM file or bundle, in bytes.
	maxPEMLen = 64 << 10
	// maxBundle limits the certificates in one PEM bundle.
	maxBundle = 8
)

func encodeCertificate(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: cert.Raw})
}

// parseAuthorities reads a PEM bundle of one or more CA certificates of one
// cluster (more than one while the CA is being replaced).
func parseAuthorities(bundle []byte) (ClusterID, []*x509.Certificate, error) {
	certs, key, err := parsePEM(bundle)
	if err != nil {
		return ClusterID{}, nil, err
	}
	if key != nil || len(certs) == 0 {
		return ClusterID{}, nil, errors.New("want one or more CA certificates and nothing else")
	}
	cluster, err := authorityCluster(certs[0])
	if err != nil {
		return ClusterID{}, nil, err
	}
	for _, cert := range certs[1:] {
		if other, err := authorityCluster(cert); err != nil || other != cluster {
			return ClusterID{}, nil, errors.New("CA certificates are not all of one cluster")
		}
	}
	return cluster, certs, nil
}

// parsePEM reads certificates and at most one private key (PKCS #8, RFC 5958).
func parsePEM(data []byte) (certs []*x509.Certificate, key *ecdsa.PrivateKey, err error) {
	if len(data) > maxPEMLen {
		return nil, nil, fmt.Errorf("PEM is %d bytes, at most %d are read", len(data), maxPEMLen)
	}
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return certs, key, nil
		}
		switch {
		case block.Type == pemCertificate && len(certs) < maxBundle:
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, nil, fmt.Errorf("parse certificate: %w", err)
			}
			certs = append(certs, cert)
		case block.Type == pemPrivateKey && key == nil:
			if key, err = parseKey(block.Bytes); err != nil {
				return nil, nil, err
			}
		default:
			return nil, nil, fmt.Errorf("unexpected PEM block %.32q", block.Type)
		}
	}
}

// parseKey reads a PKCS #8 ECDSA P-256 key. What the parser says is not passed
// on: it has seen the key.
func parseKey(der []byte) (*ecdsa.PrivateKey, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("private key is not PKCS #8")
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("private key is not ECDSA P-256")
	}
	return key, nil
}
