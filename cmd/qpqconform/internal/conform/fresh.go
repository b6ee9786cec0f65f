package conform

import (
	"context"
	"errors"
	"time"

	"quicproquo/schemas"
)

const freshSection, repeatSection = "How fresh an answer is", "Repeating calls"

func whoami() spec { return of("whoami", schemas.NewWhoamiParams, nil) }

func fresh() []Check {
	return []Check{
		{What: "what is written on one node is read on each other with its index as seen", Section: freshSection, Methods: []string{"enqueue", "peek", "ack"}, run: readOwnWrites},
		{
			What: "an index that is not there yet: E038 when the call's time is over, E049 with the cluster's index when the leader was asked", Section: freshSection,
			Codes: []schemas.Code{schemas.Code_lagging, schemas.Code_seenTooFarAhead}, run: ahead,
		},
		{What: "a linearizable read at each node knows what was acknowledged before, without seen", Section: freshSection, Methods: []string{"enqueue", "peek", "ack"}, run: linearizable},
		{What: "answers never go back in time, whichever node is asked", Section: freshSection, run: neverBack},
	}
}

func readOwnWrites(ctx context.Context, w *World) error {
	return writtenAndRead(ctx, w, false)
}

func linearizable(ctx context.Context, w *World) error {
	return writtenAndRead(ctx, w, true)
}

// writtenAndRead has each node write an envelope and each other node read it.
func writtenAndRead(ctx context.Context, w *World, exact bool) error {
	ann, err := w.someone(ctx, "ann")
	if err != nil {
		return err
	}
	for from := range w.nodes {
		send := enqueue(ann.public(), nil, []byte("from one node to the others"))
		send.node = from + 1
		a, err := w.call(ctx, ann, send, schemas.Code_ok)
		if err != nil {
			return err
		}
		seq := results[schemas.EnqueueResults](a).Seq()
		for to := range w.nodes {
			read := peek(ann.public(), nil, seq-1)
			read.node, read.exact = to+1, exact
			if exact {
				read.seen = new(uint64)
			}
			a, err := w.call(ctx, ann, read, schemas.Code_ok)
			if err != nil {
				return err
			}
			got, err := results[schemas.PeekResults](a).Payloads()
			if err != nil || got.Len() != 1 || got.At(0).Seq() != seq {
				return differs("node "+w.nodes[to], got.Len(), "the envelope that "+w.nodes[from]+" has acknowledged")
			}
		}
		if _, err := w.call(ctx, ann, ack(ann.public(), nil, seq), schemas.Code_ok); err != nil {
			return err
		}
	}
	return nil
}

func ahead(ctx context.Context, w *World) error {
	for node := range w.nodes {
		index := w.seen + 1<<19
		s := health()
		s.method, s.node, s.seen, s.time = "health", node+1, &index, 0
		read := of("resolveUser", schemas.NewResolveUserParams, func(p schemas.ResolveUserParams) error { return p.SetUsername("nobody") })
		read.node, read.seen, read.time = node+1, &index, 300*time.Millisecond
		ann, err := w.someone(ctx, "ann")
		if err != nil {
			return err
		}
		if a, err := w.once(ctx, ann, &read); err != nil || a.Code != schemas.Code_lagging {
			return errors.Join(err, differs("a call of 300 ms", said(a), code(schemas.Code_lagging)))
		}
		read.time = 0
		a, err := w.call(ctx, ann, read, schemas.Code_seenTooFarAhead)
		if err != nil {
			return err
		}
		if a.Value == 0 || a.Value >= index {
			return differs("the value of E049", a.Value, "the index that the node has")
		}
	}
	return nil
}

func neverBack(ctx context.Context, w *World) error {
	for range 4 * len(w.nodes) {
		before := w.seen
		ann, err := w.someone(ctx, "ann")
		if err != nil {
			return err
		}
		a, err := w.call(ctx, ann, whoami(), schemas.Code_ok)
		if err != nil {
			return err
		}
		if a.Index < before {
			return differs("the index of an answer", a.Index, ">= what the call had seen")
		}
	}
	return nil
}

func repeats() []Check {
	return []Check{
		{What: "a write that is repeated with its request id, on every node, is applied once and has the first outcome", Section: repeatSection, Methods: []string{"enqueue"}, run: repeated},
		{What: "so is one whose answer nobody took", Section: repeatSection, Methods: []string{"enqueue"}, run: unheard},
		{What: "another command under a known id changes nothing: E078", Section: repeatSection, Codes: []schemas.Code{schemas.Code_requestIdReused}, run: reused},
		{What: "the ids of one caller are not another's", Section: repeatSection, Methods: []string{"enqueue"}, run: ownIDs},
		{What: "a write without an id is applied each time", Section: repeatSection, Methods: []string{"enqueue"}, run: withoutID},
	}
}

// once more sends the same call to each node and demands the same number.
func (w *World) onceMore(ctx context.Context, p *person, s spec, seq uint64) error {
	for node := range w.nodes {
		s.node, s.first = node+1, false
		a, err := w.call(ctx, p, s, schemas.Code_ok)
		if err != nil {
			return err
		}
		if got := results[schemas.EnqueueResults](a).Seq(); got != seq {
			return differs("the number of the repeated message at "+w.nodes[node], got, seq)
		}
	}
	return w.last(ctx, p, seq)
}

// last demands that the inbox of somebody has given out no number beyond seq.
func (w *World) last(ctx context.Context, p *person, seq uint64) error {
	a, err := w.call(ctx, p, peek(p.public(), nil, 0), schemas.Code_ok)
	if err != nil {
		return err
	}
	return same("the last number of the queue", results[schemas.PeekResults](a).LastSeq(), seq)
}

func repeated(ctx context.Context, w *World) error {
	ann, err := w.someone(ctx, "ann")
	if err != nil {
		return err
	}
	s := enqueue(ann.public(), nil, []byte("once"))
	s.id, s.first = random(16), true
	a, err := w.call(ctx, ann, s, schemas.Code_ok)
	if err != nil {
		return err
	}
	return w.onceMore(ctx, ann, s, results[schemas.EnqueueResults](a).Seq())
}

func unheard(ctx context.Context, w *World) error {
	ann, err := w.someone(ctx, "ann")
	if err != nil {
		return err
	}
	s := enqueue(ann.public(), nil, []byte("unheard"))
	s.id, s.first = random(16), true
	frame, err := w.frame(&s)
	if err != nil {
		return err
	}
	l, err := ann.link(ctx, 0)
	if err != nil {
		return err
	}
	stream, err := l.Open(ctx)
	if err != nil {
		return err
	}
	if _, err := stream.Write(frame); err != nil {
		return err
	}
	_ = stream.Close()
	stream.CancelRead(0)
	s.first = false
	a, err := w.call(ctx, ann, s, schemas.Code_ok)
	if err != nil {
		return err
	}
	return w.onceMore(ctx, ann, s, results[schemas.EnqueueResults](a).Seq())
}

func reused(ctx context.Context, w *World) error {
	ann, bob, err := w.two(ctx)
	if err != nil {
		return err
	}
	s := enqueue(ann.public(), nil, []byte("the first command"))
	s.id = random(16)
	a, err := w.call(ctx, ann, s, schemas.Code_ok)
	if err != nil {
		return err
	}
	seq := results[schemas.EnqueueResults](a).Seq()
	others := []spec{enqueue(ann.public(), nil, []byte("another payload")), createChannel(bob.public()), ack(ann.public(), nil, seq), ann.deletion()}
	for node := range w.nodes {
		for _, other := range others {
			other.id, other.node = s.id, node+1
			if _, err := w.call(ctx, ann, other, schemas.Code_requestIdReused); err != nil {
				return err
			}
		}
	}
	if _, err := w.call(ctx, ann, whoami(), schemas.Code_ok); err != nil {
		return err
	}
	return w.onceMore(ctx, ann, s, seq)
}

func ownIDs(ctx context.Context, w *World) error {
	ann, bob, err := w.two(ctx)
	if err != nil {
		return err
	}
	id := random(16)
	var before uint64
	for _, from := range []*person{ann, bob} {
		s := enqueue(ann.public(), nil, []byte("from "+from.name))
		s.id = id
		a, err := w.call(ctx, from, s, schemas.Code_ok)
		if err != nil {
			return err
		}
		seq := results[schemas.EnqueueResults](a).Seq()
		if seq <= before {
			return differs("the number of the second one's message", seq, before+1)
		}
		before = seq
	}
	return nil
}

func withoutID(ctx context.Context, w *World) error {
	ann, err := w.someone(ctx, "ann")
	if err != nil {
		return err
	}
	var seqs [2]uint64
	for i := range seqs {
		s := enqueue(ann.public(), nil, []byte("without an id"))
		frame, err := w.frame(&s)
		if err != nil {
			return err
		}
		l, err := ann.link(ctx, 0)
		if err != nil {
			return err
		}
		a, err := l.Exchange(ctx, frame)
		if err != nil || a.Code != schemas.Code_ok {
			return errors.Join(err, differs("enqueue", said(a), "success"))
		}
		w.note("enqueue", a)
		seqs[i] = results[schemas.EnqueueResults](a).Seq()
	}
	return same("the second number", seqs[1], seqs[0]+1)
}
