package conn

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"capnproto.org/go/capnp/v3"

	"quicproquo/schemas"
)

// Request says how a method is called.
type Request struct {
	// Method is its ordinal in NodeService.
	Method uint16
	// Write marks a method that changes something. It gets a request id and is
	// applied once at most.
	Write bool
	// ID is the request id of a write, 16 bytes; nil makes a random one. Give
	// it to repeat a write whose outcome an earlier call could not learn.
	ID []byte
	// Linearizable makes a read see every write that was acknowledged anywhere
	// before it. Without, it sees at least what this Conn has seen.
	Linearizable bool

	// own marks an id that begin made: nobody outside this call knows it.
	own     bool
	session *Session // whom the call runs as; nil: nobody
}

// Call is one logical call, however many attempts it takes. Typed methods are a
// few lines around it.
//
// newParams and fill make the method's parameters (fill may be nil); read gets
// its results and must copy what it keeps: the memory is used again. Call
// repeats the call within ctx as the code table allows, ten seconds if ctx has no
// deadline. Errors of calls are *Error; read's errors come back as they are.
func Call[P, R ~capnp.StructKind](
	ctx context.Context, c *Conn, request Request,
	newParams func(*capnp.Segment) (P, error), fill func(P) error, read func(R) error,
) error {
	m := newMessage()
	defer m.release()
	if err := begin(m, &request, newParams, fill); err != nil {
		return err
	}
	if err := c.do(ctx, &request, m); err != nil {
		return err
	}
	results, err := m.response.Results()
	if err != nil {
		return fmt.Errorf("read results: %w", err)
	}
	return read(R(results.Struct()))
}

// begin makes the request's message with its parameters.
func begin[P ~capnp.StructKind](m *message, request *Request, newParams func(*capnp.Segment) (P, error), fill func(P) error) error {
	if err := m.begin(request); err != nil {
		return err
	}
	params, err := newParams(m.request.Segment())
	if err != nil {
		return fmt.Errorf("make parameters: %w", err)
	}
	if fill != nil {
		if err := fill(params); err != nil {
			return fmt.Errorf("fill parameters: %w", err)
		}
	}
	if err := m.request.SetParams(capnp.Struct(params).ToPtr()); err != nil {
		return fmt.Errorf("set parameters: %w", err)
	}
	return nil
}

// begin starts the request's message; a write gets its id here, once.
func (m *message) begin(request *Request) error {
	request.own = request.Write && request.ID == nil
	if request.own {
		request.ID = make([]byte, schemas.RequestIDSize)
		rand.Read(request.ID)
	}
	if n := len(request.ID); n != 0 && n != schemas.RequestIDSize {
		return fmt.Errorf("request id has %d bytes, not %d", n, schemas.RequestIDSize)
	}
	seg, err := m.out.Reset(capnp.SingleSegment(nil))
	if err != nil {
		return fmt.Errorf("begin request: %w", err)
	}
	if m.request, err = schemas.NewRootRequest(seg); err != nil {
		return fmt.Errorf("begin request: %w", err)
	}
	m.request.SetMethod(request.Method)
	m.request.SetLinearizable(request.Linearizable)
	m.request.SetFirst(request.own)
	return m.request.SetRequestId(request.ID)
}

// renew gives the request another id in the place of one that was certainly
// refused: a refusal that the log made is the outcome of its id forever.
func (m *message) renew(request *Request) error {
	id, err := m.request.RequestId()
	if err != nil {
		return fmt.Errorf("renew request id: %w", err)
	}
	rand.Read(id) // in its place: a message does not give memory back
	request.ID = bytes.Clone(id)
	m.request.SetFirst(true)
	return nil
}

// do makes attempts until one gives results, which are then in m.
func (c *Conn) do(ctx context.Context, request *Request, m *message) error {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(schemas.DefaultCallTimeout)
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	h := history{request: request, pause: retryPause, keep: c.options.KeepSeen}
	for {
		l, o := c.attempt(ctx, deadline, m, request)
		if o.err == nil {
			return nil
		}
		if o.sent {
			m.request.SetFirst(false)
		}
		next := h.judge(o, time.Until(deadline))
		if c.closing() {
			next.stop = true
		}
		if next.stop || ctx.Err() != nil {
			return h.verdict(ctx)
		}
		if next.renew {
			if err := m.renew(request); err != nil {
				return err
			}
		}
		if next.correct {
			c.correct(next.seen, next.has)
		}
		if !next.here {
			c.move(ctx, l, o, next, &h)
		}
		if time.Until(deadline) < minRepeat+l.roundTrip() {
			return h.verdict(ctx)
		}
	}
}

// attempt sends the request once and reads what comes back into m. The link is
// nil when there was none.
func (c *Conn) attempt(ctx context.Context, deadline time.Time, m *message, request *Request) (*link, outcome) {
	l, err := c.connect(ctx)
	if err != nil {
		return nil, outcome{err: err}
	}
	defer l.release()
	budget := c.budget(l, time.Until(deadline))
	switch err := c.present(ctx, l, request.session, m.size(), time.Now().Add(budget)); {
	case errors.Is(err, errOtherSession):
		return nil, outcome{err: err}
	case err != nil:
		return l, outcome{err: err} // the call itself was not sent
	}
	known := c.stamp(m, l.at, request.Linearizable)
	m.request.SetTimeoutMs(uint32(max(budget.Milliseconds(), 1)))
	sent, err := m.exchange(ctx, l, time.Now().Add(min(budget+answerSlack, time.Until(deadline))))
	if err != nil {
		return l, outcome{err: err, sent: sent}
	}
	c.observe(m, l.at, known)
	err = m.failure()
	request.session.noteReplaced(err)
	if e, is := errors.AsType[*Error](err); !is || e.Code.Doc().Retry != schemas.Retry_elsewhere {
		c.endpoints.worked(l.at)
	}
	return l, outcome{err: err, sent: true}
}

// budget is the time that one node gets: half of what is left while there is
// another to try, so that one that is stuck does not use up all of it.
func (c *Conn) budget(l *link, left time.Duration) time.Duration {
	budget := left
	if c.endpoints.another(l.at, time.Now()) {
		budget = max(left/2, min(left, minAttempt))
	}
	return min(budget, schemas.MaxCallTimeout)
}

// answerSlack is how much longer than the node is told the client waits, so that
// the node's own answer about its time comes first.
const answerSlack = 250 * time.Millisecond

// move goes to where the next attempt is made, and waits if it must.
func (c *Conn) move(ctx context.Context, l *link, o outcome, next step, h *history) {
	if l != nil && next.elsewhere {
		// The only node there is keeps its connection while it answers.
		if !answered(o.err) || c.endpoints.size() > 1 {
			c.abandon(l, o.err, next.pause)
		}
		if c.endpoints.another(l.at, time.Now()) {
			return
		}
	}
	timer := time.NewTimer(max(next.pause, h.backoff()))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-c.ctx.Done():
	}
}

func (c *Conn) closing() bool { return c.ctx.Err() != nil }
