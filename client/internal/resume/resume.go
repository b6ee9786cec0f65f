// Package resume keeps the TLS session tickets of the nodes that a client has spoken to,
// so that coming back costs neither side certificates and signatures (RFC 8446 §2.2).
//
// A ticket is of one node's address, is used once, and only for a while after a whole
// handshake, in which that node has shown its newest certificate. It must never be
// written anywhere, and never replaces the check of the certificate: whoever resumes
// verifies the one of the whole handshake again (tls.Config.VerifyConnection).
package resume

import (
	"crypto/tls"
	"sync"
	"time"
)

// For is how long after a whole handshake tickets are used. It bounds for how long a
// certificate is believed that its node has replaced.
const For = time.Hour

// Tickets are the tickets of one client. The zero value has none. Safe for concurrent use.
type Tickets struct {
	mu    sync.Mutex
	nodes map[string]*node // by HOST:PORT; as many as the client's endpoints at most
}

// node is what is kept of one. Tickets.mu guards it.
type node struct {
	ticket *tls.ClientSessionState // nil: none
	whole  time.Time               // when the last whole handshake was
}

// Of returns the cache for handshakes with the node at an address.
func (t *Tickets) Of(address string) tls.ClientSessionCache { return cache{t, address} }

// Done notes a handshake with the node at an address.
func (t *Tickets) Done(address string, resumed bool, now time.Time) {
	if resumed {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.at(address).whole = now
}

// Keep forgets all nodes but those at some addresses.
func (t *Tickets) Keep(known func(address string) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for address := range t.nodes {
		if !known(address) {
			delete(t.nodes, address)
		}
	}
}

// at is a node's entry; the caller holds mu.
func (t *Tickets) at(address string) *node {
	if t.nodes == nil {
		t.nodes = map[string]*node{}
	}
	n := t.nodes[address]
	if n == nil {
		n = &node{}
		t.nodes[address] = n
	}
	return n
}

// cache is one node's, as crypto/tls asks for it. Its key is that of crypto/tls, the
// server's name: all nodes of a cluster have the same.
type cache struct {
	tickets *Tickets
	address string
}

// Get takes the node's ticket.
func (c cache) Get(string) (*tls.ClientSessionState, bool) {
	c.tickets.mu.Lock()
	defer c.tickets.mu.Unlock()
	n := c.tickets.at(c.address)
	ticket := n.ticket
	n.ticket = nil
	if time.Since(n.whole) >= For {
		return nil, false
	}
	return ticket, ticket != nil
}

// Put keeps a ticket; nil: what was there is of no use.
func (c cache) Put(_ string, ticket *tls.ClientSessionState) {
	c.tickets.mu.Lock()
	defer c.tickets.mu.Unlock()
	c.tickets.at(c.address).ticket = ticket
}
