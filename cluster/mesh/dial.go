package mesh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/quic-go/quic-go"

	"quicproquo/crypto/tlsid"
	"quicproquo/happyeyeballs"
)

var (
	// ErrNotMember is returned for a node that Options.Member does not know.
	ErrNotMember = errors.New("node is not in the raft configuration")
	// ErrUnknownNode is returned for a node whose address nobody knows.
	ErrUnknownNode = errors.New("node has no known address")
)

// maxAddresses limits how many addresses of one node are tried.
const maxAddresses = 16

type poolKey struct {
	node tlsid.NodeID
	alpn string
}

// pooled is the one outgoing connection per node and ALPN: being dialed until
// ready is closed, then a connection or an error, for good.
type pooled struct {
	ready   chan struct{}
	conn    *quic.Conn // nil if err; read after ready, or under Endpoint.mu
	err     error      // read after ready
	dropped bool       // under Endpoint.mu: close what the dial brings
}

// isDead reports whether another dial is due.
func (p *pooled) isDead() bool {
	select {
	case <-p.ready:
		return p.err != nil || p.conn.Context().Err() != nil
	default:
		return false
	}
}

// drop has the connection closed: it returns it, or has the dial in progress
// close it. The caller holds Endpoint.mu.
func (p *pooled) drop() []*quic.Conn {
	p.dropped = true
	select {
	case <-p.ready:
		if p.err == nil {
			return []*quic.Conn{p.conn}
		}
	default:
	}
	return nil
}

// OpenStream opens a stream to a node on an ALPN between nodes, over the one
// connection kept for both, which is dialed when there is none. The node sees
// the stream when the first byte was written. A stream may fail at first use
// because the node restarted: the caller tries again.
func (e *Endpoint) OpenStream(ctx context.Context, id tlsid.NodeID, alpn string) (*Stream, error) {
	s, err := e.openStream(ctx, id, alpn)
	if err != nil {
		return nil, err
	}
	if counts(alpn) {
		if !e.hold() {
			s.Abort()
			return nil, ErrClosed
		}
		s.onClose = e.unhold
	}
	return s, nil
}

func (e *Endpoint) hold() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.isClosed {
		return false
	}
	e.active++
	return true
}

func (e *Endpoint) unhold() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.release()
}

// openStream tries a second connection when the first died between its check
// and its use; not a third, for a node that refuses us refuses all.
func (e *Endpoint) openStream(ctx context.Context, id tlsid.NodeID, alpn string) (*Stream, error) {
	for attempt := 1; ; attempt++ {
		conn, err := e.connection(ctx, id, alpn)
		if err != nil {
			return nil, fmt.Errorf("open stream to %s: %w", id, err)
		}
		s, err := conn.OpenStreamSync(ctx)
		if err == nil {
			return NewStream(conn, s), nil
		}
		if attempt == 2 || conn.Context().Err() == nil || ctx.Err() != nil {
			return nil, fmt.Errorf("open stream to %s: %w", id, err)
		}
	}
}

// connection returns the living connection to a node, dialing if needed. Many
// callers share one dial; a caller that gives up does not end it.
func (e *Endpoint) connection(ctx context.Context, id tlsid.NodeID, alpn string) (*quic.Conn, error) {
	if !e.options.Member(id) {
		return nil, ErrNotMember
	}
	p, err := e.dialed(poolKey{node: id, alpn: alpn})
	if err != nil {
		return nil, err
	}
	select {
	case <-p.ready:
		return p.conn, p.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// dialed returns the pool's entry, a new one if the old is dead.
func (e *Endpoint) dialed(key poolKey) (*pooled, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.isClosed {
		return nil, ErrClosed
	}
	p := e.pool[key]
	if p != nil && !p.isDead() {
		return p, nil
	}
	p = &pooled{ready: make(chan struct{})}
	e.pool[key] = p
	e.tasks.Go(func() { e.fill(p, key) })
	return p, nil
}

// fill dials for one entry of the pool.
func (e *Endpoint) fill(p *pooled, key poolKey) {
	ctx, cancel := context.WithTimeout(e.ctx, dialTimeout)
	defer cancel()
	conn, err := e.dial(ctx, key)
	e.mu.Lock()
	dropped := p.dropped
	if dropped && err == nil {
		err = ErrNotMember
		if e.isClosed {
			err = ErrClosed
		}
	}
	if err == nil {
		p.conn = conn
	}
	p.err = err
	close(p.ready)
	e.mu.Unlock()
	switch {
	case conn == nil:
	case dropped:
		_ = conn.CloseWithError(codeDone, "") // always nil
	default:
		e.drop(conn, key.node) // Distrust may have come between the handshake and here
	}
}

// arrival is a connection to one of a node's addresses.
type arrival struct {
	conn *quic.Conn
	at   netip.AddrPort
	took time.Duration // the handshake
}

// dial reaches a node at one of its addresses, which are tried each a little after the
// one before (RFC 8305). A node that took us for a guest closes the connection once it
// knows better; then a second dial follows.
func (e *Endpoint) dial(ctx context.Context, key poolKey) (*quic.Conn, error) {
	addresses, err := e.addresses(ctx, key.node)
	if err != nil {
		return nil, err
	}
	attempts := make([]happyeyeballs.Attempt[arrival], len(addresses))
	for i, address := range addresses {
		attempts[i] = func(ctx context.Context, _ func()) (arrival, error) {
			began := time.Now()
			conn, err := e.dialAddress(ctx, key, address)
			return arrival{conn, address, time.Since(began)}, err
		}
	}
	got, ok, failures := happyeyeballs.Race(ctx, attempts, happyeyeballs.Stagger, nil, func(late arrival) {
		_ = late.conn.CloseWithError(codeDone, "") // always nil
	})
	if !ok {
		return nil, errors.Join(failures...)
	}
	if supportsDatagrams(got.conn) || !waitDialAgain(ctx, got.conn, got.took) {
		return got.conn, nil
	}
	return e.dialAddress(ctx, key, got.at)
}

func (e *Endpoint) dialAddress(ctx context.Context, key poolKey, address netip.AddrPort) (*quic.Conn, error) {
	config, err := tlsid.NodeDialConfig(e.options.Identity, key.node, key.alpn, e.options.Now)
	if err != nil {
		return nil, err
	}
	to := net.UDPAddrFromAddrPort(address)
	e.admission.learn(to)
	conn, err := e.transport.Dial(ctx, to, e.trusting(key.node, config), dialConfig())
	if err != nil {
		return nil, fmt.Errorf("dial %s at %s: %w", key.node, address, err)
	}
	return conn, nil
}

// supportsDatagrams reports whether the other side gave us a node's limits:
// guests get no datagrams.
func supportsDatagrams(conn *quic.Conn) bool {
	return conn.ConnectionState().SupportsDatagrams.Remote
}

// waitDialAgain waits for codeDialAgain, which arrives one round trip after our
// side of the handshake, and reports whether it came.
func waitDialAgain(ctx context.Context, conn *quic.Conn, handshake time.Duration) bool {
	timer := time.NewTimer(min(max(2*handshake, 200*time.Millisecond), 2*time.Second))
	defer timer.Stop()
	select {
	case <-conn.Context().Done():
	case <-timer.C:
	case <-ctx.Done():
	}
	var closed *quic.ApplicationError
	return errors.As(context.Cause(conn.Context()), &closed) && closed.ErrorCode == codeDialAgain
}

// addresses looks up where a node may be: the likeliest place first, names with all that
// they stand for.
func (e *Endpoint) addresses(ctx context.Context, id tlsid.NodeID) ([]netip.AddrPort, error) {
	var found []netip.AddrPort
	var failures []error
	for _, place := range e.options.Resolve(id) {
		list, err := lookUp(ctx, place)
		if err != nil {
			failures = append(failures, fmt.Errorf("address %s of %s: %w", place, id, err))
		}
		for _, address := range list {
			if !slices.Contains(found, address) {
				found = append(found, address)
			}
		}
	}
	switch {
	case len(found) > 0:
		return found[:min(len(found), maxAddresses)], nil
	case len(failures) > 0:
		return nil, errors.Join(failures...)
	}
	return nil, ErrUnknownNode
}

// lookUp returns the addresses of a HOST:PORT.
func lookUp(ctx context.Context, address string) ([]netip.AddrPort, error) {
	if ap, err := netip.ParseAddrPort(address); err == nil {
		return []netip.AddrPort{ap}, nil
	}
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("port %q is not a number", service)
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	found := make([]netip.AddrPort, 0, len(ips))
	for _, ip := range happyeyeballs.Interleave(ips) {
		found = append(found, netip.AddrPortFrom(ip, uint16(port)))
	}
	return found, nil
}
