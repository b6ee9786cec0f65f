package chaos

import (
	"context"
	crand "crypto/rand"
	"math/rand/v2"

	"quicproquo/client/conn"
)

// prober tries, throughout, what nobody may: to read, write and acknowledge others'
// queues, with a session of its own, with a forged token, and with none.
type prober struct {
	w       *world
	me      *account
	victims *queues
	forged  []*conn.Conn
	bare    []*conn.Conn
}

func newProber(ctx context.Context, w *world, victims *queues) (*prober, error) {
	me, err := w.enroll(ctx, "mallory")
	if err != nil {
		return nil, err
	}
	p := &prober{w: w, me: me, victims: victims}
	for i := range w.target.nodes() {
		bare, err := w.connect(i)
		if err != nil {
			return nil, err
		}
		forged, err := w.connect(i)
		if err != nil {
			return nil, err
		}
		session := *me.conns[0].Session()
		_, _ = crand.Read(session.Token[:]) // never fails
		forged.SetSession(&session)
		p.bare, p.forged = append(p.bare, bare), append(p.forged, forged)
	}
	return p, nil
}

func (p *prober) name() string { return "prober" }

func (p *prober) run(ctx, _ context.Context) {
	rng := rand.New(rand.NewPCG(p.w.options.Seed, 3))
	for ctx.Err() == nil {
		victim := p.victims.pairs[rng.IntN(len(p.victims.pairs))]
		for kind, conns := range map[string][]*conn.Conn{"another's session": p.me.conns, "a forged token": p.forged, "no session": p.bare} {
			p.probe(ctx, kind, conns[rng.IntN(len(conns))], victim)
		}
		sleep(ctx, 3*p.w.options.Pace)
	}
}

func (p *prober) probe(ctx context.Context, kind string, caller *conn.Conn, victim *pair) {
	short, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	queue := conn.Queue{Channel: victim.channel}
	_, _, peeked := caller.Peek(short, conn.Read{Queue: queue, Limit: 10})
	_, fetched := caller.Fetch(short, conn.Read{Queue: queue, Limit: 10})
	_, acked := caller.Ack(short, queue, 1)
	_, sent := caller.Enqueue(short, conn.Message{To: victim.to.id(), Channel: victim.channel, Payload: []byte("forged")})
	for call, err := range map[string]error{"peek": peeked, "fetch": fetched, "ack": acked, "enqueue": sent} {
		p.w.ops.Add(1)
		if err == nil {
			p.w.unauthorized.Add(1)
			p.w.violation(p.name(), "%s with %s was let in", call, kind)
		}
	}
}

func (p *prober) check(context.Context, *Summary) {}
