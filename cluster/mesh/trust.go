package mesh

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"time"

	"github.com/quic-go/quic-go"

	"quicproquo/crypto/tlsid"
)

var (
	// ErrOtherKey is what Options.Trust returns for a certificate of the right authority with
	// a member's id and another key than the member's.
	ErrOtherKey = errors.New("the cluster knows another key of this node")
	// ErrDenied is what it returns for a key that the cluster was told to deny.
	ErrDenied = errors.New("the cluster denies this key")
)

// refusalCodes translate what Options.Trust says to the end of a connection, and back.
var refusalCodes = []struct {
	err  error
	code quic.ApplicationErrorCode
}{
	{ErrNotMember, codeNotMember},
	{ErrOtherKey, codeOtherKey},
	{ErrDenied, codeDenied},
}

// Refusal returns why a peer ended the connection with this node: ErrNotMember, ErrOtherKey
// or ErrDenied; nil for any other reason.
func Refusal(err error) error {
	var ended *quic.ApplicationError
	if !errors.As(err, &ended) || !ended.Remote {
		return nil
	}
	for _, row := range refusalCodes {
		if row.code == ended.ErrorCode {
			return row.err
		}
	}
	return nil
}

// IsNotMember reports whether a peer ended the connection because this node is not
// in its raft configuration.
func IsNotMember(err error) bool { return errors.Is(Refusal(err), ErrNotMember) }

// refusalFor is how a connection with a node ends that is not trusted.
func refusalFor(err error) refusal {
	for _, row := range refusalCodes {
		if errors.Is(err, row.err) {
			return refusal{row.code, row.err.Error()}
		}
	}
	return refusal{codeNotServed, "not judged now"}
}

// trusts asks whether the certificate that a node shows is that node's.
func (e *Endpoint) trusts(id tlsid.NodeID, state *tls.ConnectionState) error {
	if e.options.Trust == nil {
		return nil
	}
	if len(state.PeerCertificates) == 0 {
		return tlsid.ErrNoPeer
	}
	return e.options.Trust(id, state.PeerCertificates[0])
}

// distrusts says in no why a node that calls is refused for its key.
func (e *Endpoint) distrusts(id tlsid.NodeID, state *tls.ConnectionState, no *refusal) bool {
	err := e.trusts(id, state)
	if err == nil {
		return false
	}
	e.tellDistrust(id, err)
	*no = refusalFor(err)
	return true
}

// distrustInterval is how often a person is told of a node that is refused for its key.
const distrustInterval = time.Minute

// tellDistrust logs that a member's id came with a key that is not trusted, not too often.
func (e *Endpoint) tellDistrust(id tlsid.NodeID, why error) {
	e.mu.Lock()
	fresh := time.Since(e.distrusted[id]) > distrustInterval
	if fresh {
		e.distrusted[id] = time.Now()
	}
	e.mu.Unlock()
	if fresh {
		e.log.Warn("a node is refused for its key", "node", string(id), "error", why)
	}
}

// trusting adds the question of the key to a dialer's checks, inside the handshake.
func (e *Endpoint) trusting(id tlsid.NodeID, config *tls.Config) *tls.Config {
	verify := config.VerifyConnection
	config.VerifyConnection = func(state tls.ConnectionState) error {
		if err := verify(state); err != nil {
			return err
		}
		err := e.trusts(id, &state)
		if err != nil {
			e.tellDistrust(id, err)
		}
		return err
	}
	return config
}

// Certificate returns what a node has shown on the connection that this one has dialed to it
// for calls; nil if there is none now.
func (e *Endpoint) Certificate(id tlsid.NodeID) *x509.Certificate {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.pool[poolKey{node: id, alpn: tlsid.ALPNPeer}]
	if p == nil || p.conn == nil || p.conn.Context().Err() != nil {
		return nil
	}
	return p.conn.ConnectionState().TLS.PeerCertificates[0]
}

// Disconnect closes every connection with a node that left the raft
// configuration. Member must already say no, or it may come back.
func (e *Endpoint) Disconnect(id tlsid.NodeID) {
	e.mu.Lock()
	var conns []*quic.Conn
	for conn, peer := range e.inbound {
		if peer.Node == id {
			conns = append(conns, conn)
		}
	}
	for key, p := range e.pool {
		if key.node == id {
			delete(e.pool, key)
			conns = append(conns, p.drop()...)
		}
	}
	e.mu.Unlock()
	for _, conn := range conns {
		_ = conn.CloseWithError(codeNotMember, "not in the raft configuration")
	}
	e.gossip.drop(id)
}

// Distrust closes every connection whose other side Trust no longer takes for the node that
// it says it is, and returns those nodes. What is being dialed is judged when it is there.
func (e *Endpoint) Distrust() (ids []tlsid.NodeID) {
	for conn, id := range e.nodeConnections() {
		if e.drop(conn, id) && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// drop closes a connection with a node that is not trusted, and reports whether it was not.
func (e *Endpoint) drop(conn *quic.Conn, id tlsid.NodeID) bool {
	state := conn.ConnectionState()
	err := e.trusts(id, &state.TLS)
	if err == nil {
		return false
	}
	e.log.Warn("a connection with a node was closed for its key", "node", string(id), "error", err)
	e.mu.Lock()
	for key, p := range e.pool {
		if p.conn == conn {
			delete(e.pool, key)
		}
	}
	e.mu.Unlock()
	no := refusalFor(err)
	_ = conn.CloseWithError(no.code, no.reason) // always nil
	e.gossip.drop(id)
	return true
}

// nodeConnections are those with nodes, and who is on the other side.
func (e *Endpoint) nodeConnections() map[*quic.Conn]tlsid.NodeID {
	e.mu.Lock()
	defer e.mu.Unlock()
	found := map[*quic.Conn]tlsid.NodeID{}
	for conn, peer := range e.inbound {
		if peer != (tlsid.PeerID{}) {
			found[conn] = peer.Node
		}
	}
	for key, p := range e.pool {
		if p.conn != nil {
			found[p.conn] = key.node
		}
	}
	return found
}
