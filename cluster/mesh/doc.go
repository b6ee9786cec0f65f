// Package mesh is a node's one QUIC endpoint: a single UDP socket that serves
// clients (qpq/1), joining nodes (qpq-join/1) and the other nodes (qpq-peer/1,
// qpq-raft/1, qpq-gossip/1), and from which this node dials the others.
//
// Who speaks is decided in the TLS handshake (package tlsid); whether a node
// may speak now is asked from Options.Member at every connection, in both
// directions, because a certificate outlives a membership. Streams are QUIC
// streams (RFC 9000), gossip packets QUIC datagrams (RFC 9221). Two adapters
// make them what the libraries want: RaftLayer (hashicorp/raft, addressed by
// node id) and GossipTransport (hashicorp/memberlist).
//
// The package must never look into what it carries, never take gossip for
// membership, and never use 0-RTT. It closes no socket: the net.PacketConn is
// the caller's. It reads no clock but time.Now and waits on no real network, so
// it runs in a testing/synctest bubble over an in-memory net.PacketConn.
//
// A listener must choose flow-control windows and stream limits when the first
// packet of a connection arrives, before it knows the ALPN. So there are two
// sets: the guests' (small), and the nodes' for packets that come from the
// address of a node that has proved itself. A node at an address not yet known
// is told once to dial again (codeDialAgain) and gets the large set; a node
// behind an address translator that changes ports keeps the small set, in which
// everything works, slower.
//
// Reading order: options.go (what it needs, limits), endpoint.go (Open, Serve,
// Close), trust.go (whose key counts), admission.go (who gets in, and how much memory guests get), handshakes.go
// (how many at a time), dial.go (pooled connections), stream.go (a stream as net.Conn),
// raft.go, gossip.go, gossipsend.go, coalesced.go and coalesced_other.go (packets that
// arrive together),
// keys.go, stats.go.
//
// Small UDP buffers cost throughput: operators raise net.core.rmem_max and
// net.core.wmem_max to 7,500,000 bytes (quic-go warns otherwise).
package mesh
