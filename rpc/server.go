package rpc

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"quicproquo/crypto/identity"
	"quicproquo/crypto/tlsid"
)

// Options shape a server. Zero values mean the defaults.
type Options struct {
	Limits Limits
	Logger *slog.Logger
	// ClusterKey opens the cluster's secrets. Without it nobody can register or
	// log in here.
	ClusterKey tlsid.ClusterKey
	// ClusterKeys stands in for ClusterKey where that may change: there are several while
	// one takes another's place. The first seals what is new.
	ClusterKeys func() []tlsid.ClusterKey
}

func (o *Options) clusterKeys() func() []tlsid.ClusterKey {
	key := o.ClusterKey
	switch {
	case o.ClusterKeys != nil:
		return o.ClusterKeys
	case key == tlsid.ClusterKey{}:
		return func() []tlsid.ClusterKey { return nil }
	}
	return func() []tlsid.ClusterKey { return []tlsid.ClusterKey{key} }
}

// Server answers the calls of clients on behalf of one node. All methods are
// safe for concurrent use.
type Server struct {
	node   Node
	limits Limits
	log    *slog.Logger
	// The two method tables; tests bring their own.
	open, authenticated *table

	opaque    opaque
	renewals  renewals
	gate      *gate
	stats     *counters
	strangers strangers

	streams atomic.Int64 // open on all connections
	memory  *pool        // of large requests that are being read or handled
	strange *pool        // of those on connections without a session
	answers *pool        // of large answers that are being made or sent

	draining atomic.Bool   // new calls are refused
	drained  chan struct{} // closed with draining: calls that wait give up
	drainer  sync.Once
	ended    atomic.Int64  // when that was done, in Unix nanoseconds; 0 before
	running  atomic.Int64  // calls that Close waits for
	quiet    chan struct{} // told when running falls to 0 while draining

	tasks sync.WaitGroup // Serve calls; Add under mu

	mu    sync.Mutex
	conns map[*quic.Conn]*conn
}

// NewServer returns a server in front of node.
func NewServer(node Node, options Options) *Server {
	options.Limits.setDefaults()
	l := &options.Limits
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		node: node, limits: options.Limits, log: options.Logger.With(slog.String("part", "rpc")),
		open: &open, authenticated: &authenticated,
		opaque: opaque{keys: options.clusterKeys(), trust: setupTrust},
		gate:   newGate(options.Limits.Rates, time.Now()), stats: newCounters(),
		memory:  newPool(l.RequestMemory, l.ConnMemory, l.AddressMemory, l.AccountMemory),
		strange: newPool(l.OpenMemory, l.OpenAddressMemory, l.OpenAddressMemory, l.OpenAddressMemory),
		answers: newPool(l.AnswerMemory, l.ConnMemory, l.AddressMemory, l.AccountMemory),
		quiet:   make(chan struct{}, 1), drained: make(chan struct{}),
		conns: map[*quic.Conn]*conn{},
	}
	s.renewals.open(node, s.log)
	return s
}

// Serve answers the calls of one client's connection and returns when the
// connection is over and its calls have ended. The accept loop does nothing but
// accept: every stream has its own goroutine. It is a mesh.Handler; clients have
// no node identity, so the peer is nobody.
func (s *Server) Serve(qc *quic.Conn, _ tlsid.PeerID) {
	c := s.admit(qc)
	if c == nil {
		return
	}
	defer s.leave(qc)
	defer c.tasks.Wait()
	for {
		stream, err := qc.AcceptStream(qc.Context())
		if err != nil {
			return
		}
		c.accept(stream)
	}
}

// admit makes room for a connection or closes it.
func (s *Server) admit(qc *quic.Conn) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ending():
		s.stats.connsRefused.Add(1)
		closeConn(qc, ConnDraining, "the node is about to stop")
		return nil
	case len(s.conns) >= s.limits.Conns:
		s.stats.connsRefused.Add(1)
		s.log.Warn("too many client connections; refusing one", slog.Int("limit", s.limits.Conns))
		closeConn(qc, ConnTooMany, "the node serves as many clients as it can")
		return nil
	}
	c := newConn(s, s.log.With(slog.String("client", qc.RemoteAddr().String())))
	c.exporter = func() ([identity.ExporterSize]byte, error) { return export(qc) }
	c.address = addressKey(qc.RemoteAddr())
	s.conns[qc] = c
	s.stats.conns.Add(1)
	s.tasks.Add(1)
	return c
}

func (s *Server) leave(qc *quic.Conn) {
	s.mu.Lock()
	delete(s.conns, qc)
	s.mu.Unlock()
	s.tasks.Done()
}

func closeConn(qc *quic.Conn, code quic.ApplicationErrorCode, why string) {
	_ = qc.CloseWithError(code, why) // fails only when the connection is gone
}

// start counts a call that Close waits for; while draining it does not, and the
// call must be refused.
func (s *Server) start() bool {
	s.running.Add(1)
	if s.draining.Load() {
		s.finish()
		return false
	}
	return true
}

func (s *Server) finish() {
	if s.running.Add(-1) == 0 && s.draining.Load() {
		select {
		case s.quiet <- struct{}{}:
		default:
		}
	}
}

// Close drains the server: running calls finish, new ones and those that wait for
// something get UNAVAILABLE, then streams and connections are ended. ctx bounds the polite part. Close returns
// when every Serve has.
func (s *Server) Close(ctx context.Context) error {
	s.draining.Store(true)
	s.drainer.Do(func() { close(s.drained) })
	for s.running.Load() > 0 && ctx.Err() == nil {
		select {
		case <-s.quiet:
		case <-ctx.Done():
		}
	}
	s.endStreams()
	s.linger(ctx)
	s.closeConns()
	s.tasks.Wait()
	s.renewals.close(ctx)
	return nil
}

// ending reports whether the calls have ended that were running when the node began to stop.
func (s *Server) ending() bool { return s.ended.Load() != 0 }

// end is until when requests are taken from a stream; zero: as long as it lasts.
func (s *Server) end(first bool) time.Time {
	ended := s.ended.Load()
	switch {
	case ended == 0:
		return time.Time{}
	case first:
		return time.Unix(0, ended).Add(s.limits.Linger)
	}
	return time.Unix(0, ended).Add(min(endGrace, s.limits.Linger/2))
}

// endStreams tells clients that no stream goes on. Their last answers are on
// their way.
func (s *Server) endStreams() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended.Store(time.Now().UnixNano())
	for _, c := range s.conns {
		c.wake()
	}
}

// linger gives clients time to take their last answers: closing a connection
// drops what was not sent.
func (s *Server) linger(ctx context.Context) {
	timer := time.NewTimer(s.limits.Linger)
	defer timer.Stop()
	s.mu.Lock()
	var waits []<-chan struct{}
	for qc := range s.conns {
		waits = append(waits, qc.Context().Done())
	}
	s.mu.Unlock()
	for _, left := range waits {
		select {
		case <-left:
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (s *Server) closeConns() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for qc := range s.conns {
		closeConn(qc, ConnDraining, "the node is about to stop")
	}
}
