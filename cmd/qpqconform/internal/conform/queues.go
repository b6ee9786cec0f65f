package conform

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"quicproquo/schemas"
)

const queuesSection, channelsSection, versionsSection = "Queues", "Channels", "Versions"

func enqueue(to, channel, payload []byte) spec {
	return of("enqueue", schemas.NewEnqueueParams, func(p schemas.EnqueueParams) error {
		p.SetVersion(1)
		return errors.Join(p.SetRecipientKey(to), p.SetChannelId(channel), p.SetPayload(payload))
	})
}

// enqueueWith changes what enqueue sends.
func enqueueWith(to, payload []byte, change func(schemas.EnqueueParams)) spec {
	return of("enqueue", schemas.NewEnqueueParams, func(p schemas.EnqueueParams) error {
		p.SetVersion(1)
		change(p)
		return errors.Join(p.SetRecipientKey(to), p.SetPayload(payload))
	})
}

func peek(own, channel []byte, after uint64) spec {
	return of("peek", schemas.NewPeekParams, func(p schemas.PeekParams) error {
		p.SetVersion(1)
		p.SetAfter(after)
		return errors.Join(p.SetRecipientKey(own), p.SetChannelId(channel))
	})
}

func ack(own, channel []byte, seq uint64) spec {
	return of("ack", schemas.NewAckParams, func(p schemas.AckParams) error {
		p.SetVersion(1)
		p.SetSeq(seq)
		return errors.Join(p.SetRecipientKey(own), p.SetChannelId(channel))
	})
}

func fetch(own, channel []byte, limit uint32, drain bool) spec {
	return of("fetch", schemas.NewFetchParams, func(p schemas.FetchParams) error {
		p.SetVersion(1)
		p.SetLimit(limit)
		p.SetDrain(drain)
		return errors.Join(p.SetRecipientKey(own), p.SetChannelId(channel))
	})
}

func fetchWait(own, channel []byte, wait time.Duration) spec {
	return of("fetchWait", schemas.NewFetchWaitParams, func(p schemas.FetchWaitParams) error {
		p.SetVersion(1)
		p.SetTimeoutMs(uint64(wait.Milliseconds()))
		return errors.Join(p.SetRecipientKey(own), p.SetChannelId(channel))
	})
}

// recipient is one of a batch.
type recipient struct{ key, device, header []byte }

func batch(channel, payload []byte, to ...recipient) spec {
	return of("batchEnqueue", schemas.NewBatchEnqueueParams, func(p schemas.BatchEnqueueParams) error {
		p.SetVersion(1)
		return errors.Join(p.SetChannelId(channel), p.SetPayload(payload), fillRecipients(p.NewRecipients, to))
	})
}

func fillRecipients(newList func(int32) (schemas.Recipient_List, error), to []recipient) error {
	list, err := newList(int32(len(to)))
	if err != nil {
		return err
	}
	for i, r := range to {
		at := list.At(i)
		if err := errors.Join(at.SetKey(r.key), at.SetDevice(r.device), at.SetHeader(r.header)); err != nil {
			return err
		}
	}
	return nil
}

func queues() []Check {
	return []Check{
		{
			What: "envelopes have numbers without gaps, in the order of their acknowledgement, and come back with their bytes", Section: queuesSection,
			Methods: []string{"enqueue", "fetch", "peek"}, run: inOrder,
		},
		{
			What: "reading removes nothing; ack removes up to a number, answers how many, and may be repeated; beyond what was given out it is E046", Section: queuesSection,
			Methods: []string{"enqueue", "fetch", "peek", "ack"}, Codes: []schemas.Code{schemas.Code_ackBeyondEnd}, run: acknowledges,
		},
		{What: "fetch with drain returns and removes, and the same request id gets the same answer again", Section: queuesSection, Methods: []string{"enqueue", "fetch"}, run: drains},
		{
			What: "batchEnqueue answers for each recipient in order; one that does not exist stops nobody", Section: queuesSection, Methods: []string{"batchEnqueue", "peek"},
			Codes: []schemas.Code{schemas.Code_accountNotFound, schemas.Code_deviceNotFound}, run: batches,
		},
		{What: "what its time to live ends leaves a loss marker that says so", Section: queuesSection, Methods: []string{"enqueue", "peek"}, run: expires},
		{What: "what is ephemeral ends with a marker that says that it was", Section: queuesSection, Methods: []string{"enqueue", "peek"}, run: ephemeral},
		{
			What: "fetchWait ends when its time is over, and the call's time before that", Section: queuesSection, Methods: []string{"fetchWait"},
			Codes: []schemas.Code{schemas.Code_timeoutTooLarge}, run: waits,
		},
		{What: "fetchWait on one node answers when another node has taken an envelope", Section: queuesSection, Methods: []string{"fetchWait", "enqueue"}, run: wakes},
	}
}

// send enqueues and returns the number.
func (w *World) send(ctx context.Context, from *person, s spec) (uint64, error) {
	a, err := w.call(ctx, from, s, schemas.Code_ok)
	return results[schemas.EnqueueResults](a).Seq(), err
}

// clear acknowledges all of somebody's inbox, and returns the last number.
func (w *World) clear(ctx context.Context, p *person) (uint64, error) {
	a, err := w.call(ctx, p, peek(p.public(), nil, 0), schemas.Code_ok)
	if err != nil {
		return 0, err
	}
	last := results[schemas.PeekResults](a).LastSeq()
	if last == 0 {
		return 0, nil
	}
	_, err = w.call(ctx, p, ack(p.public(), nil, last), schemas.Code_ok)
	return last, err
}

// waiting are the envelopes of somebody's inbox behind a number.
func (w *World) waiting(ctx context.Context, p *person, after uint64) (schemas.Envelope_List, error) {
	a, err := w.call(ctx, p, peek(p.public(), nil, after), schemas.Code_ok)
	if err != nil {
		return schemas.Envelope_List{}, err
	}
	return results[schemas.PeekResults](a).Payloads()
}

// fetched is what a fetch or a wait for one gives somebody.
func (w *World) fetched(ctx context.Context, p *person, s spec) (schemas.Envelope_List, error) {
	a, err := w.call(ctx, p, s, schemas.Code_ok)
	if err != nil {
		return schemas.Envelope_List{}, err
	}
	return results[schemas.FetchResults](a).Payloads()
}

func inOrder(ctx context.Context, w *World) error {
	ann, bob, err := w.two(ctx)
	if err != nil {
		return err
	}
	last, err := w.clear(ctx, bob)
	if err != nil {
		return err
	}
	const many = 5
	for i := range uint64(many) {
		seq, err := w.send(ctx, ann, enqueue(bob.public(), nil, fmt.Appendf(nil, "number %d", i)))
		if err != nil {
			return err
		}
		if err := same("the number", seq, last+1+i); err != nil {
			return err
		}
	}
	part, err := w.fetched(ctx, bob, fetch(bob.public(), nil, 3, false))
	if err != nil {
		return err
	}
	if err := same("a fetch with limit 3", part.Len(), 3); err != nil {
		return err
	}
	all, err := w.waiting(ctx, bob, last)
	if err != nil {
		return err
	}
	if all.Len() != many {
		return differs("envelopes", all.Len(), many)
	}
	for i := range many {
		e := all.At(i)
		data, err := e.Data()
		if want := fmt.Sprint("number ", i); err != nil || e.Seq() != last+1+uint64(i) || string(data) != want || e.ReceivedAtMs() == 0 {
			return errors.Join(err, differs(fmt.Sprint("envelope ", i), fmt.Sprintf("%d %q", e.Seq(), data), fmt.Sprintf("%d %q", last+1+uint64(i), want)))
		}
	}
	return nil
}

func acknowledges(ctx context.Context, w *World) error {
	ann, bob, err := w.two(ctx)
	if err != nil {
		return err
	}
	last, err := w.clear(ctx, bob)
	if err != nil {
		return err
	}
	for range 3 {
		if _, err := w.send(ctx, ann, enqueue(bob.public(), nil, []byte("x"))); err != nil {
			return err
		}
	}
	for _, step := range []struct{ upTo, removed, left uint64 }{{last, 0, 3}, {last + 2, 2, 1}, {last + 2, 0, 1}, {last + 1, 0, 1}, {last + 3, 1, 0}} {
		a, err := w.call(ctx, bob, ack(bob.public(), nil, step.upTo), schemas.Code_ok)
		if err != nil {
			return err
		}
		if err := same(fmt.Sprint("removed by ack of ", step.upTo), results[schemas.AckResults](a).Removed(), step.removed); err != nil {
			return err
		}
		for range 2 { // to read removes nothing
			left, err := w.fetched(ctx, bob, fetch(bob.public(), nil, 0, false))
			if err != nil {
				return err
			}
			if err := same("left after it", uint64(left.Len()), step.left); err != nil {
				return err
			}
		}
	}
	_, err = w.call(ctx, bob, ack(bob.public(), nil, last+4), schemas.Code_ackBeyondEnd)
	return err
}

func drains(ctx context.Context, w *World) error {
	ann, bob, err := w.two(ctx)
	if err != nil {
		return err
	}
	if _, err := w.clear(ctx, bob); err != nil {
		return err
	}
	for range 3 {
		if _, err := w.send(ctx, ann, enqueue(bob.public(), nil, []byte("to be drained"))); err != nil {
			return err
		}
	}
	s := fetch(bob.public(), nil, 2, true)
	s.id = random(16)
	for node := range w.nodes {
		s.node = node + 1
		got, err := w.fetched(ctx, bob, s)
		if err != nil {
			return err
		}
		if err := same("drained at "+w.nodes[node], got.Len(), 2); err != nil {
			return err
		}
	}
	left, err := w.waiting(ctx, bob, 0)
	if err != nil {
		return err
	}
	return same("left", left.Len(), 1)
}

func batches(ctx context.Context, w *World) error {
	ann, bob, err := w.two(ctx)
	if err != nil {
		return err
	}
	last, err := w.clear(ctx, bob)
	if err != nil {
		return err
	}
	nobody := newKey().Public().(ed25519.PublicKey)
	a, err := w.call(ctx, ann, batch(nil, []byte("for all"), recipient{key: nobody}, recipient{key: bob.public(), header: []byte("for bob")}, recipient{key: ann.public(), device: random(16)}), schemas.Code_ok)
	if err != nil {
		return err
	}
	outcomes, err := results[schemas.BatchEnqueueResults](a).Outcomes()
	if err != nil || outcomes.Len() != 3 {
		return errors.Join(err, differs("outcomes", outcomes.Len(), 3))
	}
	for i, want := range []schemas.Code{schemas.Code_accountNotFound, schemas.Code_ok, schemas.Code_deviceNotFound} {
		if got := outcomes.At(i).Code(); got != want {
			return differs(fmt.Sprint("outcome ", i), code(got), code(want))
		}
	}
	if err := same("bob's number", outcomes.At(1).Seq(), last+1); err != nil {
		return err
	}
	got, err := w.waiting(ctx, bob, last)
	if err != nil || got.Len() != 1 {
		return errors.Join(err, differs("envelopes", got.Len(), 1))
	}
	header, err := got.At(0).Header()
	if err == nil && string(header) != "for bob" {
		err = differs("the header", string(header), "for bob")
	}
	return err
}
