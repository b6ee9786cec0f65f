package tlsid

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// ErrWrongPeer is returned when a valid certificate is somebody else's: another
// cluster's, or not the node that was dialed.
var ErrWrongPeer = errors.New("certificate is of another peer")

// ErrNoPeer is returned for a connection whose other side is not a node: it
// showed no certificate, or one that names no node.
var ErrNoPeer = errors.New("connection has no node certificate")

// PeerOf returns who the other side of a connection is. The connection must
// have been made with a configuration of this package: the certificate was
// verified in the handshake, here it is only read.
func PeerOf(state tls.ConnectionState) (PeerID, error) {
	if !state.HandshakeComplete || len(state.PeerCertificates) == 0 {
		return PeerID{}, ErrNoPeer
	}
	return peerOfCertificate(state.PeerCertificates[0])
}

// peerOfCertificate reads the node out of a leaf.
func peerOfCertificate(leaf *x509.Certificate) (PeerID, error) {
	if leaf.IsCA || len(leaf.URIs) != 1 {
		return PeerID{}, fmt.Errorf("%w: want exactly one qpq URI in a leaf", ErrNoPeer)
	}
	peer, err := parsePeerURI(leaf.URIs[0])
	if err != nil {
		return PeerID{}, fmt.Errorf("%w: %w", ErrNoPeer, err)
	}
	return peer, nil
}

// checkPeer requires a node of the cluster on the other side. It runs inside
// the handshake, after the chain was verified.
func checkPeer(state tls.ConnectionState, cluster ClusterID) (PeerID, error) {
	if len(state.PeerCertificates) == 0 {
		return PeerID{}, ErrNoPeer
	}
	peer, err := peerOfCertificate(state.PeerCertificates[0])
	if err != nil {
		return PeerID{}, err
	}
	if peer.Cluster != cluster {
		return PeerID{}, fmt.Errorf("%w: it is of cluster %s, this is %s", ErrWrongPeer, peer.Cluster, cluster)
	}
	return peer, nil
}

// checkNodePeer is checkPeer for connections between nodes, which also must be
// safe against a later quantum computer.
func checkNodePeer(state tls.ConnectionState, cluster ClusterID) (PeerID, error) {
	if state.CurveID != tls.X25519MLKEM768 {
		return PeerID{}, fmt.Errorf("key exchange between nodes is %s, must be %s", state.CurveID, tls.X25519MLKEM768)
	}
	return checkPeer(state, cluster)
}

// verifyChain verifies a server's leaf; for dialers, whose crypto/tls would
// insist on a host name instead of a node.
func verifyChain(state tls.ConnectionState, roots *x509.CertPool, now time.Time) error {
	if len(state.PeerCertificates) == 0 {
		return ErrNoPeer
	}
	return verifyLeaf(state.PeerCertificates[0], roots, x509.ExtKeyUsageServerAuth, now)
}

func verifyLeaf(leaf *x509.Certificate, roots *x509.CertPool, usage x509.ExtKeyUsage, now time.Time) error {
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots:       roots,
		CurrentTime: now,
		KeyUsages:   []x509.ExtKeyUsage{usage},
	})
	if err != nil {
		return fmt.Errorf("verify certificate: %w", err)
	}
	return nil
}
