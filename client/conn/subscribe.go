package conn

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"time"

	"github.com/quic-go/quic-go"

	"quicproquo/schemas"
)

// Subscription says what to subscribe to: all queues of one device.
type Subscription struct {
	// Device is another of the account's devices, which only a session without a
	// device may name; zero: the session's own.
	Device DeviceID
	// Account means the account's own queues and no device's.
	Account bool
	// Cursors are the highest sequence numbers that the program has, by channel. A
	// queue without one begins after what was acknowledged.
	Cursors map[ChannelID]uint64
	// Limit is how many envelopes one response brings at most; 0: the cluster's
	// default.
	Limit int
	// CaughtUp is called, if it is set, whenever the node had nothing more: the
	// first time all that there was at the beginning has been given.
	CaughtUp func()
}

// Subscribe gives the envelopes of a device's queues as they come, first those
// that are there. Each queue's come in order, each of them once, however often the
// Conn has to move to another node meanwhile. Nothing is removed: Ack does that,
// and should, or the program gets them again the next time.
//
// The sequence ends when the caller breaks off, or with an error: the context's,
// or a code's that says that calling again is of no use.
func (c *Conn) Subscribe(ctx context.Context, what Subscription) iter.Seq2[Envelope, error] {
	return func(yield func(Envelope, error) bool) {
		session := c.session.Load()
		if session == nil {
			yield(Envelope{}, ErrTokenMissing)
			return
		}
		s := &subscriber{
			conn: c, session: session, what: what, yield: yield, cursors: maps.Clone(what.Cursors),
			request: Request{Method: methodSubscribe},
		}
		if s.cursors == nil {
			s.cursors = map[ChannelID]uint64{}
		}
		if err := s.run(ctx); !errors.Is(err, errEnough) {
			yield(Envelope{}, err)
		}
	}
}

// subscriber is a subscription under way. It belongs to the goroutine that ranges
// over it.
type subscriber struct {
	conn    *Conn
	session *Session
	what    Subscription
	request Request
	yield   func(Envelope, error) bool
	// cursors are what was given to the program, by channel.
	cursors map[ChannelID]uint64
}

// Ends of a subscription on one node that are not failures.
var (
	errEnough  = errors.New("the program has enough")
	errLeaving = errors.New("the connection is being given up")
)

// run subscribes on one node after another.
func (s *subscriber) run(ctx context.Context) error {
	h := history{request: &s.request, pause: retryPause, keep: s.conn.options.KeepSeen}
	for {
		l, answered, err := s.attempt(ctx)
		switch {
		case errors.Is(err, errEnough):
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case s.conn.closing():
			return ErrClosed
		}
		if answered { // whatever failed before is over
			h = history{request: &s.request, pause: retryPause, keep: s.conn.options.KeepSeen}
		}
		if errors.Is(err, errLeaving) || errors.Is(err, errOtherSession) {
			if s.conn.session.Load() != s.session {
				return ErrSessionReplaced
			}
			continue
		}
		next := h.judge(outcome{err: err}, time.Hour)
		if next.stop {
			return h.verdict(ctx)
		}
		if cut, is := errors.AsType[*quic.StreamError](err); is && cut.ErrorCode == streamTimeout {
			next.elsewhere = false // the program was too slow, not the node
		}
		if next.correct {
			s.conn.correct(next.seen, next.has)
		}
		if next.here {
			continue
		}
		s.conn.move(ctx, l, outcome{err: err}, next, &h)
	}
}

// attempt subscribes on one node until that ends. answered: it has given results.
func (s *subscriber) attempt(ctx context.Context) (l *link, answered bool, err error) {
	if l, err = s.conn.connect(ctx); err != nil {
		return nil, false, err
	}
	defer l.release()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(l.leaving, func() {
		if l.conn.Context().Err() != nil {
			cancel(context.Cause(l.conn.Context()))
		} else {
			cancel(errLeaving)
		}
	})()
	m := newMessage()
	defer m.release()
	if err := begin(m, &s.request, schemas.NewSubscribeParams, s.fill); err != nil {
		return l, false, err
	}
	deadline := time.Now().Add(schemas.DefaultCallTimeout)
	if err := s.conn.present(ctx, l, s.session, m.size(), deadline); err != nil {
		return l, false, orCause(ctx, err)
	}
	known := s.conn.stamp(m, l.at, false)
	m.request.SetTimeoutMs(uint32(schemas.DefaultCallTimeout.Milliseconds()))
	if err := m.encode(); err != nil {
		return l, false, err
	}
	// It takes none of the slots of calls: those are for what ends soon.
	stream, err := l.conn.OpenStreamSync(ctx)
	if err != nil {
		return l, false, orCause(ctx, err)
	}
	defer drop(stream)
	defer context.AfterFunc(ctx, func() { _ = stream.SetDeadline(time.Unix(1, 0)) })()
	answered, err = s.follow(ctx, l, stream, m, known, deadline)
	return l, answered, orCause(ctx, err)
}

// orCause prefers why a context ended over what that did to the stream.
func orCause(ctx context.Context, err error) error {
	if ctx.Err() != nil && !errors.Is(err, errEnough) {
		return context.Cause(ctx)
	}
	return err
}

func (s *subscriber) fill(p schemas.SubscribeParams) error {
	if err := authorize(p, s.session); err != nil {
		return err
	}
	q := Queue{Device: s.what.Device, Account: s.what.Account}
	if err := p.SetDeviceId(q.deviceField()); err != nil {
		return err
	}
	p.SetLimit(uint32(min(max(s.what.Limit, 0), schemas.MaxFetch)))
	// What a node does not know the subscriber itself leaves out.
	list, err := p.NewCursors(int32(min(len(s.cursors), schemas.MaxCursors)))
	if err != nil {
		return err
	}
	i := 0
	for channel, after := range s.cursors {
		if i == list.Len() {
			break
		}
		list.At(i).SetAfter(after)
		if err := list.At(i).SetChannelId(channel.bytes()); err != nil {
			return err
		}
		i++
	}
	return nil
}

// follow sends the request and gives what comes to the program.
func (s *subscriber) follow(ctx context.Context, l *link, stream *quic.Stream, m *message, known uint64, deadline time.Time) (answered bool, err error) {
	if err := stream.SetWriteDeadline(deadline); err != nil {
		return false, err
	}
	if ctx.Err() != nil { // its deadline may have been overwritten
		return false, ctx.Err()
	}
	if _, err := stream.Write(m.sent); err != nil && !stopped(err) {
		return false, err
	}
	if err := m.awaitHead(ctx, l, stream, deadline); err != nil {
		return false, err
	}
	for {
		if err := s.receive(ctx, l, stream, m, known); err != nil {
			return answered, err
		}
		if !answered {
			answered = true
			s.conn.endpoints.worked(l.at)
		}
		if err := m.awaitPush(ctx, l, stream); err != nil {
			return answered, err
		}
	}
}

// receive reads a response whose first word has come, and gives what it brings.
func (s *subscriber) receive(ctx context.Context, l *link, stream *quic.Stream, m *message, known uint64) error {
	if err := stream.SetReadDeadline(time.Now().Add(pushTime)); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	frame, err := schemas.ReadFrame(m.whole(stream), schemas.MaxResponse, m.received)
	if err != nil {
		return err
	}
	m.received = frame
	if err := m.open(); err != nil {
		return err
	}
	s.conn.observe(m, l.at, known)
	if err := m.failure(); err != nil {
		s.session.noteReplaced(err)
		return err
	}
	ptr, err := m.response.Results()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrResponse, err)
	}
	results := schemas.SubscribeResults(ptr.Struct())
	payloads, err := results.Payloads()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrResponse, err)
	}
	list, err := readEnvelopes(payloads)
	if err != nil {
		return err
	}
	caughtUp := results.CaughtUp()
	if cap(m.received) > keptBuffer {
		m.received = nil // the wait for the next may be long
	}
	return s.give(list, caughtUp)
}

// give hands envelopes to the program, those that it has not had.
func (s *subscriber) give(list []Envelope, caughtUp bool) error {
	for i := range list {
		e := &list[i]
		have := s.cursors[e.Channel]
		if e.Seq <= have {
			continue
		}
		if e.Loss.Count > 0 && e.Loss.First <= have {
			e.Loss = e.Loss.behind(have)
		}
		s.cursors[e.Channel] = e.Seq
		if !s.yield(*e, nil) {
			return errEnough
		}
	}
	if caughtUp && s.what.CaughtUp != nil {
		s.what.CaughtUp()
	}
	return nil
}

// awaitPush waits for the first word of the next response, for as long as the node
// is there: something comes from it at least every keepAlive, which is when QUIC
// asks, and a response at least every pushSilence.
func (m *message) awaitPush(ctx context.Context, l *link, stream *quic.Stream) error {
	heard, at := l.packets(), time.Now()
	end := at.Add(pushSilence)
	for have := 0; have < frameHead; {
		if err := stream.SetReadDeadline(time.Now().Add(pushTick)); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		n, err := stream.Read(m.head[have:])
		have += n
		switch {
		case err == nil || have == frameHead:
			continue
		case !errors.Is(err, os.ErrDeadlineExceeded) || ctx.Err() != nil:
			return err
		}
		now := time.Now()
		if packets := l.packets(); packets != heard {
			heard, at = packets, now
		}
		if now.After(end) || now.Sub(at) > keepAlive+l.patience() {
			return errSilent
		}
	}
	return nil
}
