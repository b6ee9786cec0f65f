package mesh

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"quicproquo/crypto/tlsid"
)

// Application error codes of a connection's end (RFC 9000 §20.2). Append-only.
const (
	codeDone      quic.ApplicationErrorCode = 0 // its handler is done, or the node is closing
	codeNotMember quic.ApplicationErrorCode = 1 // the node is not in the raft configuration
	codeNotServed quic.ApplicationErrorCode = 2 // nobody serves this ALPN (yet)
	codeDialAgain quic.ApplicationErrorCode = 3 // your address is known now: dial again for a node's limits
	codeOtherKey  quic.ApplicationErrorCode = 4 // another key is bound to this node's id
	codeDenied    quic.ApplicationErrorCode = 5 // this node's key is denied
)

// ErrClosed is returned by everything on a closed endpoint; it is net.ErrClosed.
var ErrClosed = fmt.Errorf("mesh is closed: %w", net.ErrClosed)

// Handler serves one incoming connection. The connection is over when it
// returns. Who called is the zero PeerID on qpq/1 and qpq-join/1.
type Handler = func(conn *quic.Conn, peer tlsid.PeerID)

// Endpoint is one node's QUIC endpoint. It is safe for concurrent use.
type Endpoint struct {
	options   Options
	log       *slog.Logger
	transport *quic.Transport
	listener  *quic.Listener
	admission *admission
	line      *handshakeLine
	raft      *raftLayer
	gossip    *gossipTransport

	ctx      context.Context // ends when Close has drained: dials and streams give up
	cancel   context.CancelFunc
	closing  chan struct{}  // closed when Close begins
	drained  chan struct{}  // closed when closing and active is 0
	finished chan struct{}  // closed when Close is done
	tasks    sync.WaitGroup // every goroutine of the endpoint

	mu       sync.Mutex // guards what follows
	isClosed bool
	active   int // handlers of Serve and outgoing qpq-peer/1 streams
	handlers map[string]Handler
	inbound  map[*quic.Conn]tlsid.PeerID
	pool     map[poolKey]*pooled
	// distrusted is when a person was told last of a member that was refused for its key.
	distrusted map[tlsid.NodeID]time.Time
}

// Open starts serving on options.Conn. Connections on an ALPN for which Serve
// was not called yet are closed; nodes dial again. Raft and gossip are served
// by RaftLayer and GossipTransport.
func Open(options Options) (*Endpoint, error) {
	o, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	e := &Endpoint{
		options:   o,
		log:       o.Logger,
		admission: newAdmission(&o),
		line:      newHandshakeLine(),
		closing:   make(chan struct{}),
		drained:   make(chan struct{}),
		finished:  make(chan struct{}),
		handlers:  make(map[string]Handler),
		inbound:   make(map[*quic.Conn]tlsid.PeerID),
		pool:      make(map[poolKey]*pooled),

		distrusted: make(map[tlsid.NodeID]time.Time),
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.raft, e.gossip = newRaftLayer(e), newGossipTransport(e)
	e.handlers[tlsid.ALPNRaft], e.handlers[tlsid.ALPNGossip] = e.raft.serve, e.gossip.serve
	reset := quic.StatelessResetKey(o.Keys.StatelessReset)
	token := quic.TokenGeneratorKey(o.Keys.Token)
	e.transport = &quic.Transport{
		Conn:                coalesce(o.Conn),
		ConnectionIDLength:  connectionIDLen,
		StatelessResetKey:   &reset,
		TokenGeneratorKey:   &token,
		VerifySourceAddress: e.admission.needsRetry,
		ConnContext:         e.admission.admit,
	}
	guests, crowd, nodes := e.guestConfig(), e.crowdConfig(), peerConfig()
	e.listener, err = e.transport.Listen(e.tlsConfig(), &quic.Config{
		GetConfigForClient: func(info *quic.ClientInfo) (*quic.Config, error) {
			if e.admission.isKnown(info.RemoteAddr) {
				return nodes, nil
			}
			if e.admission.isCrowded() {
				return crowd, nil
			}
			return guests, nil
		},
	})
	if err != nil {
		e.cancel()
		return nil, fmt.Errorf("listen: %w", err)
	}
	e.tasks.Go(e.acceptLoop)
	return e, nil
}

// tlsConfig adds the count of clients to what tlsid decides.
func (e *Endpoint) tlsConfig() *tls.Config {
	config := tlsid.ServerConfig(e.options.Identity, tlsid.ServerOptions{
		ClientCertificate: e.options.ClientCertificate,
		TicketSecret:      e.options.Keys.ticketSecret(),
		Now:               e.options.Now,
	})
	inner := config.GetConfigForClient
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if tlsid.AudienceOf(hello.SupportedProtos) != tlsid.Clients {
			return inner(hello)
		}
		if err := e.admission.admitClient(guestOf(hello.Context())); err != nil {
			return nil, err
		}
		chosen, err := inner(hello)
		if err != nil {
			return nil, err
		}
		return e.line.inLine(hello.Context(), chosen)
	}
	return config
}

// Addr returns the address of the socket.
func (e *Endpoint) Addr() net.Addr { return e.options.Conn.LocalAddr() }

// Closing is closed when Close begins: handlers then finish the calls in
// progress, accept no more, and return.
func (e *Endpoint) Closing() <-chan struct{} { return e.closing }

// Serve has every connection on an ALPN handled on a goroutine of its own,
// joined by Close. A later call replaces the handler for later connections.
func (e *Endpoint) Serve(alpn string, handle Handler) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.handlers[alpn] = handle
}

// acceptLoop does nothing but hand over: quic-go refuses connections while more
// than 32 wait here.
func (e *Endpoint) acceptLoop() {
	for {
		conn, err := e.listener.Accept(e.ctx)
		if err != nil {
			return // closed
		}
		if !e.start(func() { e.serve(conn) }) {
			_ = conn.CloseWithError(codeDone, "closing")
		}
	}
}

// start runs f on a goroutine that Close joins, unless it is too late.
func (e *Endpoint) start(f func()) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.isClosed {
		return false
	}
	e.tasks.Go(f)
	return true
}

// serve runs one incoming connection.
func (e *Endpoint) serve(conn *quic.Conn) {
	guestOf(conn.Context()).arrive()
	state := conn.ConnectionState()
	alpn := state.TLS.NegotiatedProtocol
	handle, peer, refusal := e.enter(conn, &state)
	if handle == nil {
		e.log.Debug("refuse connection", slog.String("alpn", alpn), slog.String("node", string(peer.Node)),
			slog.String("from", conn.RemoteAddr().String()), slog.String("reason", refusal.reason))
		return
	}
	defer e.leave(conn, alpn)
	handle(conn, peer)
}

type refusal struct {
	code   quic.ApplicationErrorCode
	reason string
}

// enter registers a connection and finds its handler. A node is registered
// before Member is asked: whoever leaves the configuration in between is seen
// either here or by Disconnect.
func (e *Endpoint) enter(conn *quic.Conn, state *quic.ConnectionState) (Handler, tlsid.PeerID, refusal) {
	alpn := state.TLS.NegotiatedProtocol
	var peer tlsid.PeerID
	isNode := tlsid.AudienceOf([]string{alpn}) == tlsid.Nodes
	if isNode {
		var err error
		if peer, err = tlsid.PeerOf(state.TLS); err != nil {
			no := refusal{codeNotMember, "no node certificate"}
			_ = conn.CloseWithError(no.code, no.reason) // always nil
			return nil, peer, no
		}
	}
	e.mu.Lock()
	handle := e.handlers[alpn]
	e.inbound[conn] = peer
	if counts(alpn) {
		e.active++
	}
	e.mu.Unlock()
	var no refusal
	switch {
	case alpn == tlsid.ALPNRaft && peer == e.options.Identity.Peer():
		e.log.Error("another machine has this node's certificate: its directory was copied; stop one of the two", "from", conn.RemoteAddr())
		no = refusal{codeNotMember, "this node's own certificate"}
	case isNode && !e.options.Member(peer.Node):
		no = refusal{codeNotMember, "not in the raft configuration"}
	case isNode && e.distrusts(peer.Node, &state.TLS, &no):
	case handle == nil:
		no = refusal{codeNotServed, "not served yet"}
	case isNode && e.mustDialAgain(conn, peer.Node, state):
		no = refusal{codeDialAgain, "dial again"}
	default:
		return handle, peer, refusal{}
	}
	_ = conn.CloseWithError(no.code, no.reason) // always nil; before leave, which would give no reason
	e.leave(conn, alpn)
	return nil, peer, no
}

// mustDialAgain learns a node's address, and reports whether a node that got
// the guests' limits shall come again for its own (see the package comment).
func (e *Endpoint) mustDialAgain(conn *quic.Conn, node tlsid.NodeID, state *quic.ConnectionState) bool {
	e.admission.learn(conn.RemoteAddr())
	return !state.SupportsDatagrams.Local && e.admission.shouldDialAgain(node, time.Now())
}

// leave forgets a connection whose handler is done. While closing, Close ends
// it, after what the handler wrote had time to arrive.
func (e *Endpoint) leave(conn *quic.Conn, alpn string) {
	e.mu.Lock()
	if counts(alpn) {
		e.release()
	}
	closing := e.isClosed
	if !closing {
		delete(e.inbound, conn)
	}
	e.mu.Unlock()
	if !closing {
		_ = conn.CloseWithError(codeDone, "") // always nil
	}
}

// counts reports whether Close waits for an ALPN's work. Raft and gossip keep
// streams open for ever, so their owners close them first.
func counts(alpn string) bool { return alpn != tlsid.ALPNRaft && alpn != tlsid.ALPNGossip }

// release ends one active piece of work; the caller holds mu.
func (e *Endpoint) release() {
	e.active--
	if e.isClosed && e.active == 0 {
		close(e.drained)
	}
}

// Close stops accepting, lets calls in progress end (until ctx is done, at most
// 5 s), gives sent bytes time to arrive, closes every connection and waits for
// every handler. It does not close Options.Conn. Close raft and memberlist first.
func (e *Endpoint) Close(ctx context.Context) error {
	if !e.beginClose() {
		<-e.finished
		return nil
	}
	defer close(e.finished)
	err := e.listener.Close()
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	select {
	case <-e.drained:
		e.linger(ctx)
	case <-ctx.Done():
	}
	e.cancel()
	for _, conn := range e.connections() {
		_ = conn.CloseWithError(codeDone, "closing") // always nil
	}
	e.tasks.Wait()
	return errors.Join(err, e.transport.Close())
}

func (e *Endpoint) beginClose() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.isClosed {
		return false
	}
	e.isClosed = true
	close(e.closing)
	if e.active == 0 {
		close(e.drained)
	}
	return true
}

// connections returns every connection there is, and lets no dial add another.
func (e *Endpoint) connections() []*quic.Conn {
	e.mu.Lock()
	defer e.mu.Unlock()
	conns := make([]*quic.Conn, 0, len(e.inbound)+len(e.pool))
	for conn := range e.inbound {
		conns = append(conns, conn)
	}
	for _, p := range e.pool {
		conns = append(conns, p.drop()...)
	}
	clear(e.pool)
	return conns
}

// linger waits as long as the last bytes need to arrive: closing a QUIC
// connection drops what was not sent. Three round trips and the peer's
// acknowledgement delay are enough for a lost packet to be sent again.
func (e *Endpoint) linger(ctx context.Context) {
	const ackDelay = 25 * time.Millisecond // RFC 9000 §18.2, max_ack_delay
	var longest time.Duration
	e.mu.Lock()
	for conn := range e.inbound {
		longest = max(longest, 3*conn.ConnectionStats().SmoothedRTT+ackDelay)
	}
	e.mu.Unlock()
	if longest == 0 {
		return
	}
	timer := time.NewTimer(min(longest, maxLinger))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
