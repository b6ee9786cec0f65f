package conn

import (
	"context"
	"math"
	"time"

	"quicproquo/schemas"
)

// Ordinals of the queue topic's reads in NodeService; methodFetch is in queue.go.
const (
	methodFetchWait = 4
	methodPeek      = 14
	methodSubscribe = 33
)

// Read says how a queue is read. Reading removes nothing: Ack does.
type Read struct {
	Queue Queue
	// After is a cursor: Peek returns envelopes with higher sequence numbers only.
	After uint64
	// Limit is how many envelopes are returned at most; 0: the cluster's default.
	// An answer has about 4 MiB at most, whatever the limit.
	Limit int
	// Linearizable makes it see everything that was acknowledged anywhere before.
	Linearizable bool
}

func (r *Read) limit() uint32 { return uint32(min(max(r.Limit, 0), math.MaxInt32)) }

// Fetch returns the first envelopes of a queue.
func (c *Conn) Fetch(ctx context.Context, r Read) (list []Envelope, err error) {
	s := c.session.Load()
	if s == nil {
		return nil, ErrTokenMissing
	}
	err = CallAs(ctx, c, Request{Method: methodFetch, Linearizable: r.Linearizable}, schemas.NewFetchParams,
		func(p schemas.FetchParams) error {
			p.SetLimit(r.limit())
			return r.Queue.name(p, s.Account)
		},
		func(results schemas.FetchResults) (err error) {
			list, err = fetched(results)
			return err
		})
	return list, err
}

// Peek returns the envelopes of a queue behind a cursor, and the highest sequence
// number that the queue has given out.
func (c *Conn) Peek(ctx context.Context, r Read) (list []Envelope, last uint64, err error) {
	s := c.session.Load()
	if s == nil {
		return nil, 0, ErrTokenMissing
	}
	err = CallAs(ctx, c, Request{Method: methodPeek, Linearizable: r.Linearizable}, schemas.NewPeekParams,
		func(p schemas.PeekParams) error {
			p.SetAfter(r.After)
			p.SetLimit(r.limit())
			return r.Queue.name(p, s.Account)
		},
		func(results schemas.PeekResults) error {
			last = results.LastSeq()
			payloads, err := results.Payloads()
			if err != nil {
				return err
			}
			list, err = readEnvelopes(payloads)
			return err
		})
	return list, last, err
}

// waitChunk is the longest wait that one call of FetchWait asks for: well below
// what a node allows, so that a client that has to move does not wait for long.
const waitChunk = 20 * time.Second

// FetchWait is Fetch that waits until there is something. When the time is over
// it returns nothing and no error.
func (c *Conn) FetchWait(ctx context.Context, r Read, wait time.Duration) (list []Envelope, err error) {
	s := c.session.Load()
	if s == nil {
		return nil, ErrTokenMissing
	}
	for until := time.Now().Add(wait); ; {
		left := min(max(time.Until(until), 0), waitChunk)
		err := c.fetchWait(ctx, s, &r, left, func(got []Envelope) { list = got })
		if err != nil || len(list) > 0 || !time.Now().Before(until) {
			return list, err
		}
	}
}

func (c *Conn) fetchWait(ctx context.Context, s *Session, r *Read, wait time.Duration, got func([]Envelope)) error {
	// Twice the wait: a node that falls silent must leave time for another.
	ctx, cancel := context.WithTimeout(ctx, 2*wait+schemas.DefaultCallTimeout)
	defer cancel()
	return CallAs(ctx, c, Request{Method: methodFetchWait, Linearizable: r.Linearizable}, schemas.NewFetchWaitParams,
		func(p schemas.FetchWaitParams) error {
			p.SetTimeoutMs(uint64(wait.Milliseconds()))
			p.SetLimit(r.limit())
			return r.Queue.name(p, s.Account)
		},
		func(results schemas.FetchResults) error {
			list, err := fetched(results)
			got(list)
			return err
		})
}

func fetched(results schemas.FetchResults) ([]Envelope, error) {
	payloads, err := results.Payloads()
	if err != nil {
		return nil, err
	}
	return readEnvelopes(payloads)
}
