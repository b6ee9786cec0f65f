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

	"quicproquo/client/conn"
	"quicproquo/schemas"
)

// queues are pairs of a producer and a consumer with a channel. The producer numbers
// what it sends: to the channel, and now and then to the inboxes of all consumers at
// once. The consumer reads both on every node in turn and acknowledges what it has,
// sometimes.
type queues struct {
	w       *world
	pairs   []*pair
	batches atomic.Uint64 // that were acknowledged
}

// pair is written by its two goroutines, each its own part, and read when both have
// ended.
type pair struct {
	from, to *account
	channel  conn.ChannelID
	acked    []string      // by the producer's view, in its order
	batches  []string      // the same, to all consumers
	recent   []sent        // the newest of acked
	done     atomic.Uint64 // how many acked are
	begun    int           // the last may not be acknowledged
	own      reader        // of the channel
	inbox    reader
}

// sent is a message that was acknowledged.
type sent struct {
	body string
	id   []byte // of the request
	seq  uint64
	at   time.Time // when it was sent first
}

// levelTime is how long a new cluster may take until its nodes have agreed to keep what a
// request id asked for.
const levelTime = 20 * time.Second

// remembered is how many messages a producer may send a second time: enough for some to
// be older than the snapshot that a node came back with.
const remembered = 256

// repeatable is how long a message may be sent a second time: the cluster remembers request
// ids for 30 minutes at least (docs/protocol.md), and clocks and calls take their part.
const repeatable = 25 * time.Minute

// fresh is how many of them may lend their request id to something else.
const fresh = 16

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
		p := &pair{from: from, to: to, channel: channel}
		p.own = reader{q: q, owner: to, queue: conn.Queue{Channel: channel}, acked: &p.done}
		p.inbox = reader{q: q, owner: to, acked: &q.batches}
		q.pairs = append(q.pairs, p)
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
		body := fmt.Sprintf("%s-%d", p.from.name, p.begun)
		p.begun++
		caller := p.from.conn(rng.IntN(len(p.from.conns)))
		send := q.send
		if rng.IntN(6) == 0 {
			send = q.sendToAll
		}
		if err := send(finish, p, caller, body); err != nil {
			q.w.violation(q.name(), "%s could not be sent: %v", body, err)
			return
		}
		p.forget()
		if len(p.recent) > 0 && rng.IntN(8) == 0 {
			q.repeat(ctx, p, rng)
		}
		if len(p.recent) >= fresh && rng.IntN(16) == 0 && time.Since(q.w.began) > levelTime {
			q.reuse(ctx, p, rng)
		}
		sleep(ctx, time.Duration(rng.IntN(2*int(q.w.options.Pace))))
	}
}

// send sends a message to the pair's channel.
func (q *queues) send(ctx context.Context, p *pair, caller *conn.Conn, body string) error {
	done := q.w.call(p.from.name, "enqueue "+body)
	now := sent{body: body, at: time.Now()}
	err := q.w.write(ctx, func(ctx context.Context, id []byte) (err error) {
		if now.id = id; id == nil {
			now.id = requestID()
		}
		now.seq, err = caller.Enqueue(ctx, p.message(now))
		return err
	})
	done(err)
	if err != nil {
		return err
	}
	p.acked = append(p.acked, body)
	p.done.Add(1)
	p.recent = append(p.recent[max(0, len(p.recent)-remembered+1):], now)
	return nil
}

// sendToAll sends one to the inboxes of all consumers: all get it, or none.
func (q *queues) sendToAll(ctx context.Context, p *pair, caller *conn.Conn, body string) error {
	batch := conn.Batch{Payload: []byte(body)}
	for _, other := range q.pairs {
		batch.Recipients = append(batch.Recipients, conn.Recipient{Account: other.to.id()})
	}
	done := q.w.call(p.from.name, "batchEnqueue "+body)
	var outcomes []conn.Outcome
	err := q.w.write(ctx, func(ctx context.Context, id []byte) (err error) {
		batch.RequestID = id
		outcomes, err = caller.BatchEnqueue(ctx, batch)
		return err
	})
	done(err)
	if err != nil {
		return err
	}
	for i, o := range outcomes {
		if o.Err != nil {
			return fmt.Errorf("to the inbox of %s: %w", q.pairs[i].to.name, o.Err)
		}
	}
	p.batches = append(p.batches, body)
	q.batches.Add(1)
	return nil
}

func (p *pair) message(m sent) conn.Message {
	return conn.Message{To: p.to.id(), Channel: p.channel, Payload: []byte(m.body), RequestID: m.id}
}

// requestID is a new one.
func requestID() []byte {
	id := make([]byte, schemas.RequestIDSize)
	_, _ = crand.Read(id) // never fails
	return id
}

// forget drops what the cluster need not remember any more.
func (p *pair) forget() {
	i := slices.IndexFunc(p.recent, func(s sent) bool { return time.Since(s.at) < repeatable })
	if i < 0 {
		i = len(p.recent)
	}
	p.recent = p.recent[i:]
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

// reuse sends something else under the request id of a message that was acknowledged: it
// must not hear of that one's success.
func (q *queues) reuse(ctx context.Context, p *pair, rng *rand.Rand) {
	old := p.recent[len(p.recent)-1-rng.IntN(fresh)]
	other := p.message(old)
	other.Payload = []byte("not " + old.body)
	short, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	done := q.w.call(p.from.name, "reuse the id of "+old.body)
	_, err := p.from.conn(rng.IntN(len(p.from.conns))).Enqueue(short, other)
	q.w.ops.Add(1)
	done(err)
	if err == nil {
		q.w.violation(q.name(), "another message under the request id of %s got that one's answer", old.body)
	}
}

func (q *queues) consume(ctx context.Context, p *pair, rng *rand.Rand) {
	for ctx.Err() == nil {
		r := &p.own
		if rng.IntN(4) == 0 {
			r = &p.inbox
		}
		read := r.peek
		if rng.IntN(4) == 0 {
			read = r.fetch
		}
		conn := func() *conn.Conn { return p.to.conn(rng.IntN(len(p.to.conns))) }
		if read(ctx, conn(), rng.IntN(4) == 0) && rng.IntN(3) == 0 {
			r.ack(ctx, conn())
		}
		sleep(ctx, q.w.options.Pace)
	}
}

// check empties the queues and compares what came with what was acknowledged.
func (q *queues) check(ctx context.Context, s *Summary) {
	var batches []string
	for _, p := range q.pairs {
		batches = append(batches, p.batches...)
	}
	for _, p := range q.pairs {
		for _, r := range []*reader{&p.own, &p.inbox} {
			for r.peek(ctx, p.to.conn(0), true) {
			}
		}
		q.compare(s, p.to.name, p.acked, p.own.received)
		q.compare(s, p.to.name, batches, p.inbox.received)
		for _, from := range q.pairs {
			if got := by(from.from.name, p.inbox.received); len(got) == len(from.batches) && !slices.Equal(from.batches, got) {
				s.Reordered++
				q.w.violation(q.name(), "what %s sent to all arrived at %s in another order", from.from.name, p.to.name)
			}
		}
		if len(p.acked) == len(p.own.received) && !slices.Equal(p.acked, p.own.received) {
			s.Reordered++
			q.w.violation(q.name(), "what %s sent arrived in another order", p.from.name)
		}
	}
}

// by are the messages of one sender.
func by(sender string, bodies []string) (list []string) {
	for _, body := range bodies {
		if strings.HasPrefix(body, sender+"-") {
			list = append(list, body)
		}
	}
	return list
}

// compare tells what was acknowledged and did not arrive once, and what nobody sent.
func (q *queues) compare(s *Summary, at string, acked, received []string) {
	lost, doubled, phantom := difference(acked, received)
	for _, body := range lost {
		q.w.violation(q.name(), "%s was acknowledged and did not arrive at %s", body, at)
	}
	for _, body := range doubled {
		q.w.violation(q.name(), "%s arrived twice at %s", body, at)
	}
	for _, body := range phantom {
		q.w.violation(q.name(), "%s arrived at %s and was not sent", body, at)
	}
	s.Lost += len(lost)
	s.Duplicated += len(doubled)
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
