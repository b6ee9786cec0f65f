package conform

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quic-go/quic-go"

	"quicproquo/cmd/qpqconform/internal/wire"
	"quicproquo/schemas"
)

// cursor is one of subscribe.
type cursor struct {
	channel []byte
	after   uint64
}

func subscribe(cursors ...cursor) spec {
	return of("subscribe", schemas.NewSubscribeParams, func(p schemas.SubscribeParams) error {
		list, err := p.NewCursors(int32(len(cursors)))
		for i, c := range cursors {
			list.At(i).SetAfter(c.after)
			err = errors.Join(err, list.At(i).SetChannelId(c.channel))
		}
		return err
	})
}

func subscriptions() []Check {
	return []Check{
		{
			What: "subscribe gives what waits, then what comes, on any node, and resumes behind its cursor with nothing missed or twice", Section: queuesSection,
			Methods: []string{"subscribe", "enqueue"}, run: subscribes,
		},
		{
			What: "a fifth subscription of a connection is refused with a time to wait, and taken when one has ended", Section: "Limits a client meets",
			Methods: []string{"subscribe"}, Codes: []schemas.Code{schemas.Code_rateLimited}, run: fifth,
		},
		{What: "subscribe keeps its time until the first response", Section: callSection, Methods: []string{"subscribe"}, run: firstInTime},
		{
			What: "subscribe refuses a channel id of 15 bytes (E011), a cursor beyond the end (E046), 4,097 cursors (E071)", Section: queuesSection,
			Codes: []schemas.Code{schemas.Code_channelIdLength, schemas.Code_ackBeyondEnd, schemas.Code_listTooLong}, run: badSubscriptions,
		},
	}
}

// subscription is one that runs.
type subscription struct {
	w      *World
	stream *quic.Stream
}

func (w *World) open(ctx context.Context, l *wire.Link, s spec) (*subscription, error) {
	frame, err := w.frame(&s)
	if err != nil {
		return nil, err
	}
	stream, err := l.Open(ctx)
	if err != nil {
		return nil, err
	}
	if err := stream.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return nil, err
	}
	_, err = stream.Write(frame)
	return &subscription{w, stream}, err
}

func (s *subscription) next() (wire.Answer, schemas.SubscribeResults, error) {
	a, err := wire.ReadAnswer(s.stream)
	if err == nil {
		s.w.note("subscribe", a)
	}
	return a, results[schemas.SubscribeResults](a), err
}

func (s *subscription) end() { s.stream.CancelRead(0); s.stream.CancelWrite(0) }

// numbers reads envelopes until so many have come, and demands that their numbers follow
// one another.
func (s *subscription) numbers(after uint64, many int) error {
	for got := 0; got < many; {
		a, r, err := s.next()
		if err != nil || a.Code != schemas.Code_ok {
			return errors.Join(err, differs("a subscription", said(a), "envelopes"))
		}
		list, err := r.Payloads()
		if err != nil {
			return err
		}
		for i := range list.Len() {
			if seq := list.At(i).Seq(); seq != after+1 {
				return differs("the number that comes", seq, after+1)
			}
			after++
			got++
		}
	}
	return nil
}

func subscribes(ctx context.Context, w *World) error {
	ann, bob, err := w.two(ctx)
	if err != nil {
		return err
	}
	after, err := w.clear(ctx, bob)
	if err != nil {
		return err
	}
	for node := range w.nodes {
		if _, err := w.send(ctx, ann, enqueue(bob.public(), nil, []byte("waits"))); err != nil {
			return err
		}
		l, err := bob.link(ctx, node)
		if err != nil {
			return err
		}
		s, err := w.open(ctx, l, subscribe(cursor{after: after}))
		if err != nil {
			return err
		}
		err = s.numbers(after, 1)
		for i := range 2 {
			if err == nil {
				_, err = w.send(ctx, ann, enqueue(bob.public(), nil, fmt.Appendf(nil, "comes %d", i)))
			}
		}
		if err == nil {
			err = s.numbers(after+1, 2)
		}
		s.end()
		if err != nil {
			return fmt.Errorf("node %s: %w", w.nodes[node], err)
		}
		after += 3
	}
	return nil
}

func fifth(ctx context.Context, w *World) error {
	ann, err := w.someone(ctx, "ann")
	if err != nil {
		return err
	}
	l, err := ann.link(ctx, 0)
	if err != nil {
		return err
	}
	var running []*subscription
	defer func() {
		for _, s := range running {
			s.end()
		}
	}()
	for range 4 {
		s, err := w.open(ctx, l, subscribe())
		if err != nil {
			return err
		}
		running = append(running, s)
		if a, _, err := s.next(); err != nil || a.Code != schemas.Code_ok {
			return errors.Join(err, differs("one of the first four", said(a), "success"))
		}
	}
	s, err := w.open(ctx, l, subscribe())
	if err != nil {
		return err
	}
	defer s.end()
	a, _, err := s.next()
	if err != nil || a.Code != schemas.Code_rateLimited || a.RetryAfter <= 0 {
		return errors.Join(err, differs("the fifth", fmt.Sprintf("%s, wait %v", said(a), a.RetryAfter), "E013 with a time to wait"))
	}
	running[0].end()
	time.Sleep(min(a.RetryAfter, 10*time.Second))
	s, err = w.open(ctx, l, subscribe())
	if err != nil {
		return err
	}
	running = append(running, s)
	if a, _, err := s.next(); err != nil || a.Code != schemas.Code_ok {
		return errors.Join(err, differs("one more after one has ended and the time is over", said(a), "success"))
	}
	return nil
}

func firstInTime(ctx context.Context, w *World) error {
	bob, err := w.someone(ctx, "bob") // ann's subscriptions may not be over yet
	if err != nil {
		return err
	}
	l, err := bob.link(ctx, 0)
	if err != nil {
		return err
	}
	call := subscribe()
	call.time = 2 * time.Second
	s, err := w.open(ctx, l, call)
	if err != nil {
		return err
	}
	defer s.end()
	begin := time.Now()
	a, _, err := s.next()
	if took := time.Since(begin); err != nil || a.Code != schemas.Code_ok || took > 3*time.Second {
		return errors.Join(err, differs("the first response", fmt.Sprintf("%s after %v", said(a), took), "success within 2 s"))
	}
	return nil
}

func badSubscriptions(ctx context.Context, w *World) error {
	ann, err := w.someone(ctx, "ann")
	if err != nil {
		return err
	}
	return w.refusals(ctx, ann, []refusal{
		{"a channel id of 15 bytes", subscribe(cursor{channel: random(15)}), schemas.Code_channelIdLength},
		{"beyond the end", subscribe(cursor{after: 1 << 40}), schemas.Code_ackBeyondEnd},
		{"4,097 cursors", subscribe(make([]cursor, schemas.MaxCursors+1)...), schemas.Code_listTooLong},
	})
}
