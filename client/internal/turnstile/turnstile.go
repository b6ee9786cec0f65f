// Package turnstile lets the dialers of one process through a few at a time: a process
// with a thousand connections that all lose patience at once must not make a thousand
// handshakes at once, neither here nor at the node.
//
// It must never keep anybody out for good: who has waited for long goes all the same, as
// often as a rate allows, so that dialers to nodes that are dead don't hold up others.
package turnstile

import (
	"context"
	"sync"
	"time"
)

// Turnstile is shared by the dialers. Safe for concurrent use.
type Turnstile struct {
	inside chan struct{} // a token for each that is inside
	wait   time.Duration
	every  time.Duration

	mu   sync.Mutex
	next time.Time // when the next who has waited goes; mu guards it
}

// New returns a turnstile for so many at a time. Who has waited for wait goes as soon as
// nobody did in every.
func New(inside int, wait, every time.Duration) *Turnstile {
	return &Turnstile{inside: make(chan struct{}, inside), wait: wait, every: every}
}

// Enter waits for a turn, or for the context's end. leave ends the turn, once.
func (t *Turnstile) Enter(ctx context.Context) (leave func(), err error) {
	leave = sync.OnceFunc(func() { <-t.inside })
	select {
	case t.inside <- struct{}{}:
		return leave, nil
	default:
	}
	timer := time.NewTimer(t.wait)
	defer timer.Stop()
	for {
		select {
		case t.inside <- struct{}{}:
			return leave, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-timer.C:
			again := t.overtake(time.Now())
			if again <= 0 {
				return func() {}, nil
			}
			timer.Reset(again)
		}
	}
}

// overtake takes the turn of one who has waited, or says how long until there is one.
func (t *Turnstile) overtake(now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if wait := t.next.Sub(now); wait > 0 {
		return wait
	}
	t.next = now.Add(t.every)
	return 0
}
