package conform

import (
	"context"
	"errors"
	"fmt"
	"time"

	"quicproquo/schemas"
)

func expires(ctx context.Context, w *World) error {
	return shortLived(ctx, w, func(p schemas.EnqueueParams) { p.SetTtlSecs(1) }, false)
}

func ephemeral(ctx context.Context, w *World) error {
	return shortLived(ctx, w, func(p schemas.EnqueueParams) { p.SetTtlSecs(1); p.SetEphemeral(true) }, true)
}

// shortLived sends an envelope that lives for a second, and waits for its marker. A later one
// stays, so that the marker is not at the queue's end.
func shortLived(ctx context.Context, w *World, change func(schemas.EnqueueParams), isEphemeral bool) error {
	ann, bob, err := w.two(ctx)
	if err != nil {
		return err
	}
	if _, err := w.clear(ctx, bob); err != nil {
		return err
	}
	seq, err := w.send(ctx, ann, enqueueWith(bob.public(), []byte("short-lived"), change))
	if err != nil {
		return err
	}
	if _, err := w.send(ctx, ann, enqueue(bob.public(), nil, []byte("stays"))); err != nil {
		return err
	}
	for begin := time.Now(); ; {
		got, err := w.waiting(ctx, bob, 0)
		if err != nil {
			return err
		}
		if got.Len() > 0 && got.At(0).HasLoss() {
			loss, err := got.At(0).Loss()
			if err != nil {
				return err
			}
			if loss.Count() != 1 || loss.FirstSeq() != seq || loss.LastSeq() != seq || isEphemeral && loss.Ephemeral() != 1 || !isEphemeral && loss.Expired() != 1 {
				return differs("the marker", fmt.Sprintf("count %d from %d to %d, %d expired, %d ephemeral", loss.Count(), loss.FirstSeq(), loss.LastSeq(), loss.Expired(), loss.Ephemeral()), "that one, with its reason")
			}
			return same("envelopes", got.Len(), 2)
		}
		if time.Since(begin) > 30*time.Second {
			return differs("30 seconds after its time", fmt.Sprint(got.Len(), " envelopes, no marker"), "a loss marker")
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func waits(ctx context.Context, w *World) error {
	ann, err := w.someone(ctx, "ann")
	if err != nil {
		return err
	}
	if _, err := w.clear(ctx, ann); err != nil {
		return err
	}
	if _, err := w.call(ctx, ann, fetchWait(ann.public(), nil, 60_001*time.Millisecond), schemas.Code_timeoutTooLarge); err != nil {
		return err
	}
	for _, row := range []struct{ wait, call, atLeast, atMost time.Duration }{
		{600 * time.Millisecond, 0, 600 * time.Millisecond, 3 * time.Second},
		{40 * time.Second, 1500 * time.Millisecond, time.Second, 1500 * time.Millisecond},
	} {
		s := fetchWait(ann.public(), nil, row.wait)
		s.time = row.call
		begin := time.Now()
		a, err := w.call(ctx, ann, s, schemas.Code_ok)
		took := time.Since(begin)
		if err != nil {
			return err
		}
		got, err := results[schemas.FetchResults](a).Payloads()
		if err != nil || got.Len() != 0 {
			return errors.Join(err, differs("envelopes", got.Len(), 0))
		}
		if took < row.atLeast || took > row.atMost+3*time.Second {
			return differs(fmt.Sprintf("a wait of %v in a call of %v", row.wait, row.call), took, fmt.Sprintf("%v to %v", row.atLeast, row.atMost))
		}
	}
	return nil
}

func wakes(ctx context.Context, w *World) error {
	ann, err := w.someone(ctx, "ann")
	if err != nil {
		return err
	}
	for node := range w.nodes {
		if _, err := w.clear(ctx, ann); err != nil {
			return err
		}
		wait := fetchWait(ann.public(), nil, 30*time.Second)
		frame, err := w.frame(&wait)
		if err != nil {
			return err
		}
		l, err := ann.link(ctx, node)
		if err != nil {
			return err
		}
		came := make(chan error, 1)
		go func() {
			a, err := l.Exchange(ctx, frame)
			if err == nil {
				var got schemas.Envelope_List
				if got, err = results[schemas.FetchResults](a).Payloads(); err == nil && got.Len() != 1 {
					err = differs("the waiting call", said(a), "the envelope")
				}
			}
			came <- err
		}()
		send := enqueue(ann.public(), nil, []byte("wake up"))
		send.node = (node+1)%len(w.nodes) + 1
		begin := time.Now()
		_, err = w.send(ctx, ann, send)
		if err = errors.Join(err, <-came); err != nil {
			return err
		}
		if took := time.Since(begin); took > 10*time.Second {
			return differs("it took", took, "no longer than the message")
		}
		w.answered["fetchWait"] = true
	}
	return nil
}
