package chaos

import (
	"context"
	"fmt"
	"sync/atomic"

	"quicproquo/client/conn"
)

// reader is what a consumer knows of a queue. Sequence numbers have no gaps, a reader
// never goes back in time, and a linearizable read has all that was acknowledged before
// it began, whichever node answers.
type reader struct {
	q        *queues
	owner    *account
	queue    conn.Queue
	acked    *atomic.Uint64 // how many messages were acknowledged to who sent them
	received []string       // in the queue's order
	cursor   uint64         // the sequence number of the last of those
	last     uint64         // the newest that was seen
	// What was acknowledged to the cluster, surely and perhaps.
	removed, maybeRemoved uint64
}

// readLimit is how many envelopes one read takes.
const readLimit = 100

// peek reads what comes after the cursor, and reports whether there was something.
func (r *reader) peek(ctx context.Context, caller *conn.Conn, linearizable bool) bool {
	short, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	acked := r.acked.Load()
	done := r.q.w.call(r.owner.name, fmt.Sprintf("peek after %d", r.cursor))
	list, last, err := caller.Peek(short, conn.Read{
		Queue: r.queue, After: r.cursor, Limit: readLimit, Linearizable: linearizable,
	})
	r.q.w.ops.Add(1)
	done(err)
	if err != nil {
		return false
	}
	r.sawUpTo(last, acked, linearizable)
	return r.take(list)
}

// fetch reads the queue from its beginning, which is behind what was acknowledged.
func (r *reader) fetch(ctx context.Context, caller *conn.Conn, linearizable bool) bool {
	short, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	acked := r.acked.Load()
	done := r.q.w.call(r.owner.name, "fetch")
	list, err := caller.Fetch(short, conn.Read{Queue: r.queue, Limit: readLimit, Linearizable: linearizable})
	r.q.w.ops.Add(1)
	done(err)
	if err != nil {
		return false
	}
	last := r.maybeRemoved // of a queue that is empty
	if len(list) > 0 {
		last = list[len(list)-1].Seq
		if first := list[0].Seq; first <= r.removed || first > r.maybeRemoved+1 {
			r.q.w.violation("queue", "%s fetched from %d on; %d surely, %d perhaps was acknowledged", r.owner.name, first, r.removed, r.maybeRemoved)
		}
	}
	if len(list) < readLimit {
		r.sawUpTo(last, acked, linearizable)
	}
	for len(list) > 0 && list[0].Seq <= r.cursor {
		if had := r.received[list[0].Seq-1]; had != string(list[0].Data) {
			r.q.w.violation("queue", "%s fetched %q as number %d, which was %q", r.owner.name, list[0].Data, list[0].Seq, had)
		}
		list = list[1:]
	}
	return r.take(list)
}

// sawUpTo judges the newest sequence number that a read has shown.
func (r *reader) sawUpTo(last, acked uint64, linearizable bool) {
	if last < r.last {
		r.q.w.violation("queue", "%s read the queue at %d after it had been at %d", r.owner.name, last, r.last)
	}
	if linearizable && last < acked {
		r.q.w.violation("queue", "%s made a linearizable read that ends at %d when %d were acknowledged", r.owner.name, last, acked)
	}
	r.last = max(r.last, last)
}

func (r *reader) take(list []conn.Envelope) bool {
	for _, e := range list {
		if e.Seq != r.cursor+1 {
			r.q.w.violation("queue", "%s read %d after %d", r.owner.name, e.Seq, r.cursor)
		}
		r.cursor = e.Seq
		r.received = append(r.received, string(e.Data))
	}
	return len(list) > 0
}

// ack acknowledges all that was read. One that failed comes again.
func (r *reader) ack(ctx context.Context, caller *conn.Conn) {
	short, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	r.maybeRemoved = r.cursor
	done := r.q.w.call(r.owner.name, fmt.Sprintf("ack %d", r.cursor))
	_, err := caller.Ack(short, r.queue, r.cursor)
	r.q.w.ops.Add(1)
	done(err)
	if err == nil {
		r.removed = r.cursor
	}
}
