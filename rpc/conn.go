package rpc

import (
	"crypto/subtle"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"quicproquo/crypto/identity"
	"quicproquo/fsm"
	"quicproquo/schemas"
)

// conn is one client's connection.
type conn struct {
	server *Server
	log    *slog.Logger
	// address is whom calls are charged to until their caller is known: where
	// the client came from. One that migrates keeps it.
	address [48]byte
	// session is set once, when a session is bound to the connection.
	session atomic.Pointer[session]
	// vouch is the session by which the connection has the limits of one with a
	// session, set by a call that somebody made. Nil: a stranger's.
	vouch atomic.Pointer[vouch]
	// exporter is the TLS exporter of the connection, for bindings. Nil where
	// there is no connection: tests.
	exporter func() ([identity.ExporterSize]byte, error)
	vouched  atomic.Int64 // when that session was looked at last, in Unix nanoseconds
	// turns holds a token for each call that may run now.
	turns chan struct{}
	tasks sync.WaitGroup // a goroutine for each stream
	// subscriptions counts the subscribe calls of the connection.
	subscriptions atomic.Int32

	mu      sync.Mutex
	streams map[stream]bool // open ones: true while it counts as a stranger's
	owed    int             // turns that are not given back when their calls end
}

// vouch is a session, and whose it is.
type vouch struct {
	token   tokenHash
	account [48]byte // as owners have it
}

func newConn(s *Server, log *slog.Logger) *conn {
	c := &conn{
		server: s, log: log,
		turns:   make(chan struct{}, s.limits.BoundCalls),
		streams: map[stream]bool{},
	}
	for range s.limits.OpenCalls {
		c.turns <- struct{}{}
	}
	return c
}

// welcome gives a connection the limits of one whose caller is known.
func (c *conn) welcome(by *caller) {
	if c.vouch.Load() != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.vouch.CompareAndSwap(nil, &vouch{by.token, *ownerOfAccount(by.account)}) {
		return
	}
	c.vouched.Store(time.Now().UnixNano())
	for range c.server.limits.BoundCalls - c.server.limits.OpenCalls {
		c.returnTurn()
	}
	for s, stranger := range c.streams {
		if stranger {
			c.server.strangers.leave(c.address)
			c.streams[s] = false
		}
	}
}

// farewell undoes welcome: the session has ended.
func (c *conn) farewell(token tokenHash) {
	c.mu.Lock()
	defer c.mu.Unlock()
	by := c.vouch.Load()
	if by == nil || subtle.ConstantTimeCompare(by.token[:], token[:]) != 1 {
		return
	}
	c.vouch.Store(nil)
	for range c.server.limits.BoundCalls - c.server.limits.OpenCalls {
		select {
		case <-c.turns:
		default:
			c.owed++ // a call has it
		}
	}
	for s := range c.streams {
		c.server.strangers.enterAnyway(c.address)
		c.streams[s] = true
	}
}

// revouch looks whether the session lives by which the connection has its limits: at
// most once in revouchEvery, and before anything large is read.
func (c *conn) revouch(claim int) {
	by := c.vouch.Load()
	if by == nil {
		return
	}
	now := time.Now()
	last := c.vouched.Load()
	if claim <= schemas.MaxRequestOpen && now.UnixNano()-last < int64(revouchEvery) || !c.vouched.CompareAndSwap(last, now.UnixNano()) {
		return
	}
	view, err := c.server.node.View()
	if err != nil {
		return // the node is closing, or can read nothing: the call will tell
	}
	defer func() {
		if err := view.Close(); err != nil {
			c.log.Error("close a view", "error", err)
		}
	}()
	if s, ok, err := view.Session(by.token); err == nil && (!ok || s.ExpiresMs <= view.Now()) {
		c.farewell(by.token)
	}
}

// takeTurn waits until the connection may run one more call. That is soon:
// every running call has a deadline.
func (c *conn) takeTurn(s stream) error {
	select {
	case <-c.turns:
		return nil
	default:
	}
	select {
	case <-c.turns:
		return nil
	case <-s.Context().Done():
		return s.Context().Err()
	}
}

func (c *conn) giveTurn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.returnTurn()
}

// returnTurn makes a turn free, or pays one that is owed. The caller holds c.mu.
func (c *conn) returnTurn() {
	if c.owed > 0 {
		c.owed--
		return
	}
	c.turns <- struct{}{}
}

// requests is the pool that the connection's requests draw on.
func (c *conn) requests() *pool {
	if c.vouch.Load() == nil {
		return c.server.strange
	}
	return c.server.memory
}

// account is whose the connection is, nil while that is not known.
func (c *conn) account() *[48]byte {
	if by := c.vouch.Load(); by != nil {
		return &by.account
	}
	return nil
}

// ownerOfAccount is an account as an owner of memory.
func ownerOfAccount(account fsm.AccountKey) *[48]byte {
	key := new([48]byte)
	copy(key[:], account[:])
	return key
}

// accept starts serving a stream, or resets it when there are too many.
func (c *conn) accept(s stream) {
	if !c.add(s) {
		c.server.stats.streamsRefused.Add(1)
		s.CancelRead(StreamTooMany)
		s.CancelWrite(StreamTooMany)
		return
	}
	c.tasks.Go(func() {
		defer c.remove(s)
		c.serveStream(s)
	})
}

func (c *conn) add(s stream) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.streams) >= c.server.limits.ConnStreams {
		return false
	}
	stranger := c.vouch.Load() == nil
	if stranger && !c.server.strangers.enter(c.address, &c.server.limits) {
		return false
	}
	if c.server.streams.Add(1) > int64(c.server.limits.Streams) {
		c.server.streams.Add(-1)
		if stranger {
			c.server.strangers.leave(c.address)
		}
		return false
	}
	c.streams[s] = stranger
	return true
}

func (c *conn) remove(s stream) {
	c.server.streams.Add(-1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.streams[s] {
		c.server.strangers.leave(c.address)
	}
	delete(c.streams, s)
}

// wake has idle streams look when they must end. The server's ended must be set.
func (c *conn) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.streams {
		_ = s.SetReadDeadline(time.Unix(1, 0)) // a stream that is gone needs no waking
	}
}

// Why a connection was closed (docs/protocol.md). Append only.
const (
	ConnDone     quic.ApplicationErrorCode = 0
	ConnDraining quic.ApplicationErrorCode = 1 // the node is about to stop: go to another one
	ConnTooMany  quic.ApplicationErrorCode = 2 // the node serves as many clients as it can
)
