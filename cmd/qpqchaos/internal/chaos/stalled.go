package chaos

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	capnp "capnproto.org/go/capnp/v3"
	"github.com/quic-go/quic-go"

	"quicproquo/client/conn"
	"quicproquo/crypto/tlsid"
	"quicproquo/schemas"
)

// stalling is somebody who has a node make and hold much and takes nothing of it, and
// somebody honest at the same address. Of the latter's calls nine of ten must succeed.
type stalling struct {
	mu             sync.Mutex
	greedy, honest *account
	tries          int // of setUp
	// How many envelopes lie in their inboxes, at least.
	greedyHas, honestHas int
}

// What the greedy one does to a node, in all.
const (
	stalledFetches  = 64      // of 4 MiB each
	stalledRequests = 64      // of which half of 3 MiB arrives
	largeEnvelope   = 1 << 20 // bytes
	// stalledEnvelopes are what one fetch answers.
	stalledEnvelopes = schemas.MaxFetchBytes / largeEnvelope
	honestCalls      = 20
	honestEnvelope   = 100 << 10 // bytes
)

// stall has a node's memory asked for and not used, for as long as a fault lasts.
func (w *world) stall(ctx context.Context, f Fault, victim int) (undo func() error, err error) {
	begin := func(s *stalling) (stop func(), err error) {
		fetch, err := fetchFrame(s.greedy)
		if err != nil {
			return nil, err
		}
		one, err := w.openStalled(ctx, victim, fetch, stalledFetches)
		if err != nil {
			return nil, err
		}
		other, err := w.openStalled(ctx, victim, halfRequest(), stalledRequests)
		if err != nil {
			one.close()
			return nil, err
		}
		return func() { one.close(); other.close() }, nil
	}
	honest := func(s *stalling) error { return w.readLarge(ctx, s.honest.conn(victim)) }
	what := fmt.Sprintf("%d stalled fetches and %d stalled requests", stalledFetches, stalledRequests)
	return nothing, w.beside(ctx, f, victim, what, begin, honest)
}

// flood has strangers register at a node.
func (w *world) flood(ctx context.Context, f Fault, victim int) (undo func() error, err error) {
	const strangers, each = 4, 3
	begin := func(*stalling) (stop func(), err error) {
		flooding, cancel := context.WithCancel(ctx)
		var all sync.WaitGroup
		for i := range strangers {
			all.Go(func() {
				for n := 0; n < each && flooding.Err() == nil; n++ {
					if a, err := w.enrollOn(flooding, fmt.Sprintf("flood%d-%d-%d", f.At.Milliseconds(), i, n), 1); err == nil {
						w.disconnect(a)
					}
				}
			})
		}
		return func() { cancel(); all.Wait() }, nil
	}
	honest := func(s *stalling) error {
		short, cancel := context.WithTimeout(ctx, callTime)
		defer cancel()
		w.ops.Add(1)
		caller := s.honest.conn(victim)
		_, err := caller.Enqueue(short, conn.Message{To: s.honest.id(), Payload: []byte("beside a flood")})
		return err
	}
	return nothing, w.beside(ctx, f, victim, "a flood of registrations", begin, honest)
}

// beside has an honest account call while others attack: nine of ten calls must succeed.
func (w *world) beside(ctx context.Context, f Fault, victim int, what string, begin func(*stalling) (func(), error), call func(*stalling) error) error {
	s := &w.stalling
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.setUp(ctx, w)
	var stop func()
	if err == nil {
		stop, err = begin(s)
	}
	if err != nil {
		// The cluster is not there, which others look for: nobody can attack it either.
		w.unattacked.Add(1)
		w.tell("no attack: %v", err)
		return nil
	}
	defer stop()
	sleep(ctx, 500*time.Millisecond)
	failed, last := 0, error(nil)
	for range honestCalls {
		if err := call(s); err != nil {
			failed, last = failed+1, err
		}
		if !sleep(ctx, f.For/honestCalls) {
			return nil
		}
	}
	if failed*10 > honestCalls {
		w.violation("nemesis", "beside %s at node %s, %d of %d honest calls failed, the last with: %v",
			what, w.target.name(victim), failed, honestCalls, last)
	}
	return nil
}

// host is what setUp needs of the world.
type host interface {
	enroll(ctx context.Context, name string) (*account, error)
	enrollApart(ctx context.Context, name string) (*account, error)
	deliver(ctx context.Context, to *account, size int) error
}

// setUp makes the two accounts, and fills their inboxes. What is made stays made when a
// later step fails, so that the next attack goes on from there; each try has names of its
// own, for a registration that has failed may have taken its name.
func (s *stalling) setUp(ctx context.Context, w host) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	s.tries++
	if s.greedy == nil {
		if s.greedy, err = w.enroll(ctx, fmt.Sprint("greedy", s.tries)); err != nil {
			return err
		}
	}
	if s.honest == nil {
		if s.honest, err = w.enrollApart(ctx, fmt.Sprint("honest", s.tries)); err != nil {
			return err
		}
	}
	for ; s.greedyHas < stalledEnvelopes; s.greedyHas++ {
		if err := w.deliver(ctx, s.greedy, largeEnvelope); err != nil {
			return err
		}
	}
	for ; s.honestHas < 1; s.honestHas++ {
		if err := w.deliver(ctx, s.honest, honestEnvelope); err != nil {
			return err
		}
	}
	return nil
}

// deliver puts an envelope of so many bytes into an account's own inbox.
func (w *world) deliver(ctx context.Context, to *account, size int) error {
	return w.write(ctx, func(ctx context.Context, id []byte) error {
		_, err := to.conn(0).Enqueue(ctx, conn.Message{To: to.id(), Payload: make([]byte, size), RequestID: id})
		return err
	})
}

// enrollApart is enroll with connections that know one node each: a call that fails
// there is not made elsewhere.
func (w *world) enrollApart(ctx context.Context, name string) (*account, error) {
	a, err := w.enroll(ctx, name)
	if err != nil {
		return nil, err
	}
	for i := range a.conns {
		options, err := w.target.options(i)
		if err != nil {
			return nil, err
		}
		c, err := conn.Dial(options)
		if err != nil {
			return nil, err
		}
		w.mu.Lock()
		w.conns = append(w.conns, c)
		w.mu.Unlock()
		c.SetSession(a.conns[i].Session())
		c.Observe(a.conns[i].Seen())
		a.conns[i] = c
	}
	return a, nil
}

// readLarge fetches the honest one's envelope.
func (w *world) readLarge(ctx context.Context, caller *conn.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	w.ops.Add(1)
	list, err := caller.Fetch(ctx, conn.Read{Limit: 1})
	if err == nil && (len(list) != 1 || len(list[0].Data) != honestEnvelope) {
		err = fmt.Errorf("%d envelopes, want the one of %d bytes", len(list), honestEnvelope)
	}
	return err
}

// stalled is an open attack.
type stalled struct {
	conn      *quic.Conn
	transport *quic.Transport
}

func (s *stalled) close() {
	_ = s.conn.CloseWithError(0, "")
	_ = s.transport.Close()
	_ = s.transport.Conn.Close()
}

// openStalled opens a connection to a node whose windows are tiny, sends so many streams
// the same bytes, and takes nothing of what comes back.
func (w *world) openStalled(ctx context.Context, victim int, begin []byte, streams int) (*stalled, error) {
	options, err := w.target.options(victim)
	if err != nil {
		return nil, err
	}
	s := &stalled{transport: &quic.Transport{Conn: options.PacketConn}}
	at, err := netip.ParseAddrPort(options.Endpoints[0])
	if err != nil {
		return nil, errors.Join(err, s.transport.Close(), options.PacketConn.Close())
	}
	trust := options.TLS.Clone()
	trust.NextProtos, trust.ServerName = []string{tlsid.ALPNClient}, at.Addr().String()
	dial, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	s.conn, err = s.transport.Dial(dial, net.UDPAddrFromAddrPort(at), trust, &quic.Config{
		InitialStreamReceiveWindow: 1 << 10, MaxStreamReceiveWindow: 1 << 10,
		InitialPacketSize: 1200, KeepAlivePeriod: time.Second,
	})
	if err != nil {
		return nil, errors.Join(err, s.transport.Close(), options.PacketConn.Close())
	}
	for range streams {
		go func() {
			if stream, err := s.conn.OpenStreamSync(s.conn.Context()); err == nil {
				_, _ = stream.Write(begin) // as much as the node takes
			}
		}()
	}
	return s, nil
}

// halfRequest is half of a request of 3 MiB: a segment table of one segment, and zeros.
func halfRequest() []byte {
	const size = 3 << 20
	return binary.LittleEndian.AppendUint32(make([]byte, 4, size/2), size/8)[:size/2]
}

// methodFetch is fetch's ordinal in NodeService.
const methodFetch = 3

// fetchFrame asks for all that the greedy one has.
func fetchFrame(who *account) ([]byte, error) {
	msg, seg := schemas.NewMessage()
	request, err := schemas.NewRootRequest(seg)
	if err != nil {
		return nil, err
	}
	request.SetMethod(methodFetch)
	params, err := schemas.NewFetchParams(seg)
	if err != nil {
		return nil, err
	}
	params.SetVersion(schemas.WireVersion)
	params.SetLimit(4)
	auth, err := params.NewAuth()
	if err != nil {
		return nil, err
	}
	auth.SetVersion(schemas.AuthVersion)
	key, token := who.id(), who.conns[0].Session().Token
	if err := errors.Join(params.SetRecipientKey(key[:]), auth.SetAccessToken(token[:]), request.SetParams(capnp.Struct(params).ToPtr())); err != nil {
		return nil, err
	}
	return msg.Marshal()
}
