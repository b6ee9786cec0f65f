package chaos

import (
	"context"
	crand "crypto/rand"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"quicproquo/client"
	"quicproquo/schemas"
)

// queues are pairs of a producer and a consumer with a channel. The producer numbers
// what it sends; the consumer reads on every node in turn and acknowledges what it
// has, sometimes.
type queues struct {
	w     *world
	pairs []*pair
}

// pair is written by its two goroutines, each its own part, and read when both have
// ended.
type pair struct {
	from, to *account
	channel  client.ChannelID
	acked    []string      // by the producer's view, in its order
	recent   []sent        // the newest of those
	done     atomic.Uint64 // how many those are
	sent     int           // begun; the last may not be acknowledged
	received []string      // by the consumer's, in the queue's order
	cursor   uint64
	last     uint64 // the newest sequence number seen
}

// sent is a message that was acknowledged.
type sent struct {
	body string
	id   []byte // of the request
	seq  uint64
}

// remembered is how many messages a producer may send a second time.
const remembered = 16

func newQueues(ctx context.Context, w *world, n int) (*queues, error) {
	q := &queues{w: w}
	for i := range n {
		from, err := w.enroll(ctx, fmt.Sprintf("producer%d", i))
		if err != nil {
			return nil, err
		}
		to, err := w.enroll(ctx, fmt.Sprintf("consumer%d", i))
		if err != nil {
			return nil, err
		}
		channel, _, err := from.conn(0).CreateChannel(ctx, to.id())
		if err != nil {
			return nil, fmt.Errorf("create a channel: %w", err)
		}
		q.pairs = append(q.pairs, &pair{from: from, to: to, channel: channel})
	}
	return q, nil
}

func (q *queues) name() string { return "queue" }

// run produces and consumes until ctx ends. What a producer has begun it brings to an
// end, with the time of finish.
func (q *queues) run(ctx, finish context.Context) {
	var wg sync.WaitGroup
	for i, p := range q.pairs {
		rng := rand.New(rand.NewPCG(q.w.options.Seed, uint64(100+i)))
		wg.Go(func() { q.produce(ctx, finish, p, rng) })
		wg.Go(func() { q.consume(ctx, p, rand.New(rand.NewPCG(q.w.options.Seed, uint64(200+i)))) })
	}
	wg.Wait()
}

func (q *queues) produce(ctx, finish context.Context, p *pair, rng *rand.Rand) {
	for ctx.Err() == nil {
		body := fmt.Sprintf("%s-%d", p.from.name, p.sent)
		p.sent++
		conn := p.from.conn(rng.IntN(len(p.from.conns)))
		done := q.w.call(p.from.name, "enqueue "+body)
		now := sent{body: body}
		err := q.w.write(finish, func(ctx context.Context, id []byte) (err error) {
			if now.id = id; id == nil {
				now.id = requestID()
			}
			now.seq, err = conn.Enqueue(ctx, p.message(now))
			return err
		})
		done(err)
		if err != nil {
			q.w.violation(q.name(), "%s could not be sent: %v", body, err)
			return
		}
		p.acked = append(p.acked, body)
		p.done.Add(1)
		p.recent = append(p.recent[max(0, len(p.recent)-remembered+1):], now)
		if rng.IntN(8) == 0 {
			q.repeat(ctx, p, rng)
		}
		sleep(ctx, time.Duration(rng.IntN(2*int(q.w.options.Pace))))
	}
}

func (p *pair) message(m sent) client.Message {
	return client.Message{To: p.to.id(), Channel: p.channel, Payload: []byte(m.body), RequestID: m.id}
}

// requestID is a new one.
func requestID() []byte {
	id := make([]byte, schemas.RequestIDSize)
	_, _ = crand.Read(id) // never fails
	return id
}

// repeat sends a message again that was acknowledged long ago, as a client does whose
// answer was lost: the answer is the old one, and nothing arrives a second time.
func (q *queues) repeat(ctx context.Context, p *pair, rng *rand.Rand) {
	old := p.recent[rng.IntN(len(p.recent))]
	short, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	done := q.w.call(p.from.name, "repeat "+old.body)
	seq, err := p.from.conn(rng.IntN(len(p.from.conns))).Enqueue(short, p.message(old))
	q.w.ops.Add(1)
	done(err)
	if err == nil && seq != old.seq {
		q.w.violation(q.name(), "%s was number %d; when it was repeated the answer was %d", old.body, old.seq, seq)
	}
}

func (q *queues) consume(ctx context.Context, p *pair, rng *rand.Rand) {
	for ctx.Err() == nil {
		if q.take(ctx, p, p.to.conn(rng.IntN(len(p.to.conns))), rng.IntN(4) == 0) && rng.IntN(3) == 0 {
			conn := p.to.conn(rng.IntN(len(p.to.conns)))
			short, cancel := context.WithTimeout(ctx, callTime)
			done := q.w.call(p.to.name, fmt.Sprintf("ack %d", p.cursor))
			_, err := conn.Ack(short, client.Queue{Channel: p.channel}, p.cursor)
			done(err) // one that failed comes again
			cancel()
			q.w.ops.Add(1)
		}
		sleep(ctx, q.w.options.Pace)
	}
}

// take reads what comes after the cursor. Sequence numbers have no gaps, a reader
// never goes back in time, and a linearizable read has all that was acknowledged
// before it began, whichever node answers.
func (q *queues) take(ctx context.Context, p *pair, conn *client.Conn, linearizable bool) bool {
	short, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	acked := p.done.Load()
	done := q.w.call(p.to.name, fmt.Sprintf("peek after %d", p.cursor))
	list, last, err := conn.Peek(short, client.Read{
		Queue: client.Queue{Channel: p.channel}, After: p.cursor, Limit: 100, Linearizable: linearizable,
	})
	q.w.ops.Add(1)
	done(err)
	if err != nil {
		return false
	}
	if last < p.last {
		q.w.violation(q.name(), "%s read the queue at %d after it had been at %d", p.to.name, last, p.last)
	}
	if linearizable && last < acked {
		q.w.violation(q.name(), "%s made a linearizable read that ends at %d when %d were acknowledged", p.to.name, last, acked)
	}
	p.last = max(p.last, last)
	for _, e := range list {
		if e.Seq != p.cursor+1 {
			q.w.violation(q.name(), "%s read %d after %d", p.to.name, e.Seq, p.cursor)
		}
		p.cursor = e.Seq
		p.received = append(p.received, string(e.Data))
	}
	return len(list) > 0
}

// check empties the queues and compares what came with what was acknowledged.
func (q *queues) check(ctx context.Context, s *Summary) {
	for _, p := range q.pairs {
		for q.take(ctx, p, p.to.conn(0), true) {
		}
		lost, doubled, phantom := difference(p.acked, p.received)
		for _, body := range lost {
			q.w.violation(q.name(), "%s was acknowledged and did not arrive", body)
		}
		for _, body := range doubled {
			q.w.violation(q.name(), "%s arrived twice", body)
		}
		for _, body := range phantom {
			q.w.violation(q.name(), "%s arrived at %s and was not sent", body, p.to.name)
		}
		s.Lost += len(lost)
		s.Duplicated += len(doubled)
		if len(lost)+len(doubled)+len(phantom) == 0 && !slices.Equal(p.acked, p.received) {
			s.Reordered++
			q.w.violation(q.name(), "what %s sent arrived in another order", p.from.name)
		}
	}
}

// difference compares what was acknowledged with what arrived, in linear time.
func difference(acked, received []string) (lost, doubled, phantom []string) {
	count := make(map[string]int, len(received))
	for _, body := range received {
		if count[body]++; count[body] == 2 {
			doubled = append(doubled, body)
		}
	}
	sent := make(map[string]bool, len(acked))
	for _, body := range acked {
		sent[body] = true
		if count[body] == 0 {
			lost = append(lost, body)
		}
	}
	for body := range count {
		if !sent[body] {
			phantom = append(phantom, body)
		}
	}
	slices.SortFunc(phantom, strings.Compare)
	return lost, doubled, phantom
}
