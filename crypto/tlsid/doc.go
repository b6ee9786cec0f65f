// Package tlsid says who a node is: the cluster's certificate authority, the
// certificates it gives to nodes, and the TLS configuration of every ALPN.
//
// A node proves itself with a short-lived leaf whose URI SAN is
// qpq://<cluster>/node/<node>; nothing else in the certificate is believed.
// Between nodes TLS 1.3 (RFC 8446) runs with mutual authentication and the
// X25519MLKEM768 key exchange only (draft-ietf-tls-ecdhe-mlkem); clients may
// fall back to X25519. 0-RTT is off everywhere: nothing can be replayed. Clients
// may resume (tickets.go); nodes and joiners show certificates at every connection.
//
// Keys are ECDSA P-256, for the authority and for leaves: a node's leaf is
// also what clients see by default, and P-256 is the one signature every TLS
// stack, browser, HSM and cloud KMS verifies; Ed25519 is refused by browsers
// and most of the others. Go's P-256 is constant time and faster to verify
// than a handshake's other work.
//
// The package must never decide membership: a valid certificate says who
// somebody is, the raft configuration says whether they may speak. It must
// never put a private key or a cluster key into an error or a log.
//
// Reading order: id.go (names), authority.go (the CA), seal.go (its key at
// rest), request.go (a key waiting for a certificate), identity.go (a node's
// key and certificate, replaceable at run time), files.go (on disk), config.go
// (TLS per ALPN), tickets.go (resumption), verify.go (what a verified peer is).
package tlsid
