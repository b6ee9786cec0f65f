package turnstile

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// No more than so many are inside, whoever leaves lets one in, and all get their turn.
func TestAFewAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := New(4, time.Hour, time.Hour)
		var inside, most, done atomic.Int32
		var all sync.WaitGroup
		began := time.Now()
		for range 40 {
			all.Go(func() {
				leave, err := gate.Enter(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				if n := inside.Add(1); n > most.Load() {
					most.Store(n)
				}
				time.Sleep(time.Second)
				inside.Add(-1)
				leave()
				leave()
				done.Add(1)
			})
		}
		all.Wait()
		if most.Load() != 4 || done.Load() != 40 || time.Since(began) != 10*time.Second {
			t.Errorf("%d were inside at once, %d had a turn, in %v; want 4, 40 and 10s", most.Load(), done.Load(), time.Since(began))
		}
	})
}

// Who has waited for long goes all the same, at a rate; who gives up waiting gets no turn.
func TestNobodyIsKeptOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := New(1, time.Second, 100*time.Millisecond)
		if _, err := gate.Enter(t.Context()); err != nil { // and never leaves
			t.Fatal(err)
		}
		began := time.Now()
		var all sync.WaitGroup
		var last atomic.Int64
		for range 11 {
			all.Go(func() {
				leave, err := gate.Enter(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				leave()
				if at := int64(time.Since(began)); at > last.Load() {
					last.Store(at)
				}
			})
		}
		all.Wait()
		if got := time.Duration(last.Load()); got != 2*time.Second {
			t.Errorf("the eleventh went after %v, want a second and ten tenths", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := gate.Enter(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who gives up gets %v, want that the time is over", err)
		}
	})
}
