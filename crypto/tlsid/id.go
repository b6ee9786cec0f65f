package tlsid

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// The ALPN identifiers of the one port (RFC 7301). The ALPN says who is talking.
const (
	ALPNClient = "qpq/1"        // clients: server certificate only
	ALPNPeer   = "qpq-peer/1"   // nodes: forwarded entries, confirm rounds
	ALPNJoin   = "qpq-join/1"   // a node that has no certificate yet
	ALPNRaft   = "qpq-raft/1"   // nodes: a stream is a raft connection
	ALPNGossip = "qpq-gossip/1" // nodes: memberlist packets and streams
)

// InitialPacketSize is how long the first QUIC packets of every connection are, in
// bytes of UDP payload: what RFC 9000 §14 promises of any path. Longer ones never
// arrive over a path of 1,280 bytes of IP, which many VPNs are; packets grow once
// path MTU discovery (RFC 8899) has found that they may.
const InitialPacketSize = 1200

// NodeALPNs returns the ALPNs that need a node certificate on both sides.
func NodeALPNs() []string { return []string{ALPNPeer, ALPNRaft, ALPNGossip} }

// isNodeALPN reports whether alpn needs a node certificate on both sides.
func isNodeALPN(alpn string) bool {
	return alpn == ALPNPeer || alpn == ALPNRaft || alpn == ALPNGossip
}

// ClusterID names a cluster: 16 random bytes, written as 32 lower-case
// hexadecimal digits.
type ClusterID [16]byte

// NewClusterID draws a random cluster id.
func NewClusterID() ClusterID {
	var id ClusterID
	rand.Read(id[:]) // never fails (Go 1.24)
	return id
}

// ParseClusterID reads the 32 lower-case hexadecimal digits of a cluster id.
func ParseClusterID(s string) (ClusterID, error) {
	var id ClusterID
	if len(s) != hex.EncodedLen(len(id)) || strings.ToLower(s) != s {
		return ClusterID{}, fmt.Errorf("parse cluster id: want %d lower-case hexadecimal digits", hex.EncodedLen(len(id)))
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return ClusterID{}, fmt.Errorf("parse cluster id: %w", err)
	}
	return id, nil
}

// String returns 32 lower-case hexadecimal digits.
func (c ClusterID) String() string { return hex.EncodeToString(c[:]) }

// ServerName is the DNS name every node of the cluster has in its certificate,
// so that a client that pins the cluster's CA can verify any node with an
// ordinary TLS library: <cluster>.qpq.internal (.internal is reserved for
// private use by ICANN).
func (c ClusterID) ServerName() string { return c.String() + ".qpq.internal" }

// NodeID names a node within its cluster, and is its raft server id: 1 to 63
// characters, lower-case letters, digits and hyphens, not starting with a
// hyphen. An id is never used again after its node was removed.
type NodeID string

// maxNodeIDLen is the longest node id in bytes: a DNS label (RFC 1035 §2.3.4).
const maxNodeIDLen = 63

// errNodeID is what a node id must look like.
var errNodeID = errors.New("node id must be 1 to 63 of a-z, 0-9 and -, and not start with -")

// ParseNodeID checks s and returns it as a node id.
func ParseNodeID(s string) (NodeID, error) {
	if err := NodeID(s).Validate(); err != nil {
		return "", err
	}
	return NodeID(s), nil
}

// Validate reports whether the id is well formed.
func (n NodeID) Validate() error {
	if n == "" || len(n) > maxNodeIDLen || n[0] == '-' {
		return errNodeID
	}
	for _, c := range []byte(n) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return errNodeID
		}
	}
	return nil
}

// PeerID is what a verified certificate says of its holder.
type PeerID struct {
	Cluster ClusterID
	Node    NodeID
}

// uriScheme is the scheme of the URI SAN that carries a PeerID.
const uriScheme = "qpq"

// URI is the one name in a node's certificate that is believed.
func (p PeerID) URI() *url.URL {
	return &url.URL{Scheme: uriScheme, Host: p.Cluster.String(), Path: "/node/" + string(p.Node)}
}

// String returns qpq://<cluster>/node/<node>.
func (p PeerID) String() string { return p.URI().String() }

// parsePeerURI reads exactly what PeerID.URI writes, and nothing that merely
// parses to it: a certificate has one spelling.
func parsePeerURI(u *url.URL) (PeerID, error) {
	rest, ok := strings.CutPrefix(u.String(), uriScheme+"://")
	if !ok {
		return PeerID{}, errors.New("certificate names no node")
	}
	cluster, node, ok := strings.Cut(rest, "/node/")
	if !ok {
		return PeerID{}, errors.New("certificate names no node")
	}
	id, err := ParseClusterID(cluster)
	if err != nil {
		return PeerID{}, err
	}
	name, err := ParseNodeID(node)
	if err != nil {
		return PeerID{}, err
	}
	return PeerID{Cluster: id, Node: name}, nil
}
