package bench

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// run has a load run for a while on fake time, and returns what was recorded.
func run(t *testing.T, l *load, d time.Duration) (calls int64, late int64, r *recorder) {
	t.Helper()
	l.recorder = newRecorder()
	l.recorder.counting.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	l.run(ctx)
	calls, _, h := l.recorder.take()
	for _, b := range h.Distribution() {
		if b.From >= 400_000 {
			late += b.Count
		}
	}
	return calls, late, l.recorder
}

// stalling is a server that answers in a millisecond, but for the second second, in which
// it stands still.
func stalling(began time.Time) operation {
	return func(context.Context, int) (int, error) {
		if at := time.Since(began); at >= time.Second && at < 2*time.Second {
			time.Sleep(2*time.Second - at)
		}
		time.Sleep(time.Millisecond)
		return 1, nil
	}
}

// A server stands still for a second. In the open loop every call that was due meanwhile
// says so, however few workers there are; in the closed loop only those that were in flight.
func TestOpenLoopSeesAStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls, late, _ := run(t, &load{operation: stalling(time.Now()), workers: 4, rate: 200}, 5*time.Second)
		if calls < 990 || calls > 1001 {
			t.Errorf("%d calls in five seconds at 200 due a second, want about 1,000", calls)
		}
		// 200 were due in that second; those of its first 600 ms waited 400 ms and more, and
		// so did those behind them that the four workers came to later.
		if late < 100 {
			t.Errorf("%d calls say that they were late, want 100 at least", late)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		if _, late, _ := run(t, &load{operation: stalling(time.Now()), workers: 4}, 5*time.Second); late != 4 {
			t.Errorf("%d calls of the closed loop say that they were late, want those 4 in flight", late)
		}
	})
}

// A call that fails is counted as such, does not count as done, and the first error is kept.
func TestFailuresAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int64
		calls, _, r := run(t, &load{workers: 1, operation: func(context.Context, int) (int, error) {
			time.Sleep(time.Millisecond)
			if n.Add(1)%2 == 0 {
				return 0, errors.New("refused")
			}
			return 1, nil
		}}, time.Second)
		if r.errors.Load() < 10 || calls < 10 || *r.first.Load() != "refused" {
			t.Errorf("%d errors, %d calls, want half of each, and the first error", r.errors.Load(), calls)
		}
	})
}
