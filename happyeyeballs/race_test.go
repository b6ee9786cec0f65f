package happyeyeballs

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var errRefused = errors.New("refused")

// way is what an attempt does: it is answered at certain times, and ends.
type way struct {
	answers []time.Duration
	ends    time.Duration // 0: with its context
	fails   bool
}

// Races on fake time: when each attempt begins, and which wins.
func TestRace(t *testing.T) {
	for _, c := range []struct {
		name   string
		ways   []way
		winner int // -1: none
		began  []time.Duration
		took   time.Duration
	}{
		{"the first is fast", []way{{ends: 50 * time.Millisecond}, {ends: time.Millisecond}}, 0, []time.Duration{0}, 50 * time.Millisecond},
		{"the first answers nothing", []way{{}, {}, {ends: 10 * time.Millisecond}}, 2, []time.Duration{0, Stagger, 2 * Stagger}, 2*Stagger + 10*time.Millisecond},
		{"the first is refused at once", []way{{ends: 5 * time.Millisecond, fails: true}, {ends: time.Millisecond}}, 1, []time.Duration{0, 5 * time.Millisecond}, 6 * time.Millisecond},
		{"the first is slow, and answers", []way{{answers: []time.Duration{100 * time.Millisecond}, ends: 2 * time.Second}, {ends: time.Millisecond}}, 0, []time.Duration{0}, 2 * time.Second},
		{"and dies in the middle", []way{{answers: []time.Duration{100 * time.Millisecond}}, {ends: time.Millisecond}}, 1, []time.Duration{0, Fresh + 100*time.Millisecond}, Fresh + 101*time.Millisecond},
		{"and fails in the middle", []way{{answers: []time.Duration{100 * time.Millisecond}, ends: 300 * time.Millisecond, fails: true}, {ends: time.Millisecond}}, 1, []time.Duration{0, 300 * time.Millisecond}, 301 * time.Millisecond},
		{"the second is begun already when the first answers", []way{{answers: []time.Duration{300 * time.Millisecond}, ends: time.Second}, {}, {ends: time.Millisecond}}, 0, []time.Duration{0, Stagger}, time.Second},
		{"all are refused", []way{{ends: 1, fails: true}, {ends: 1, fails: true}}, -1, []time.Duration{0, 1}, 2},
		{"there is none", nil, -1, nil, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var mu sync.Mutex
				var began []time.Duration
				attempts := make([]Attempt[int], len(c.ways))
				for i, w := range c.ways {
					attempts[i] = func(ctx context.Context, answered func()) (int, error) {
						mu.Lock()
						began = append(began, time.Since(start))
						mu.Unlock()
						return w.run(ctx, i, answered)
					}
				}
				got, ok, errs := Race(t.Context(), attempts, Stagger, nil, func(int) {})
				if took := time.Since(start); ok != (c.winner >= 0) || ok && got != c.winner || took != c.took {
					t.Errorf("attempt %d won: %t, after %v; want %d after %v", got, ok, took, c.winner, c.took)
				}
				if !slices.Equal(began, c.began) {
					t.Errorf("attempts began at %v, want %v", began, c.began)
				}
				if !ok && (len(errs) != len(c.ways) || slices.Contains(errs, nil)) {
					t.Errorf("errors %v, want one for each attempt", errs)
				}
			})
		})
	}
}

func (w *way) run(ctx context.Context, number int, answered func()) (int, error) {
	began := time.Now()
	for _, at := range w.answers {
		time.Sleep(at - time.Since(began))
		answered()
	}
	if w.ends == 0 {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	time.Sleep(w.ends - time.Since(began))
	if w.fails {
		return 0, errRefused
	}
	return number, nil
}

// A result that comes too late is given to drop, and answers are passed on.
func TestLateResultsAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(context.Context, func()) (string, error) {
			time.Sleep(time.Second)
			return "slow", nil
		}
		fast := func(_ context.Context, answered func()) (string, error) {
			answered()
			return "fast", nil
		}
		var dropped []string
		told := 0
		got, ok, _ := Race(t.Context(), []Attempt[string]{slow, fast}, Stagger, func() { told++ }, func(late string) { dropped = append(dropped, late) })
		if !ok || got != "fast" || !slices.Equal(dropped, []string{"slow"}) || told != 1 {
			t.Errorf("got %q (%t), dropped %q, told %d times; want fast, slow dropped, told once", got, ok, dropped, told)
		}
	})
}

// The end of the context ends a race, and nothing more is begun.
func TestRaceEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		begun := 0
		wait := func(ctx context.Context, _ func()) (int, error) {
			begun++
			<-ctx.Done()
			return 0, ctx.Err()
		}
		_, ok, errs := Race(ctx, []Attempt[int]{wait, wait}, Stagger, nil, func(int) {})
		if ok || begun != 1 || !errors.Is(errs[1], context.DeadlineExceeded) {
			t.Errorf("won: %t, %d begun, errors %v; want one begun and both late", ok, begun, errs)
		}
	})
}

func TestInterleave(t *testing.T) {
	for _, c := range []struct{ in, want []string }{
		{nil, nil},
		{[]string{"192.0.2.1"}, []string{"192.0.2.1"}},
		{[]string{"2001:db8::1", "2001:db8::2", "192.0.2.1", "192.0.2.2", "192.0.2.3"}, []string{"2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "192.0.2.3"}},
		{[]string{"192.0.2.1", "2001:db8::1", "2001:db8::2"}, []string{"192.0.2.1", "2001:db8::1", "2001:db8::2"}},
		{[]string{"::ffff:192.0.2.1", "2001:db8::1"}, []string{"192.0.2.1", "2001:db8::1"}},
	} {
		var list []netip.Addr
		for _, text := range c.in {
			list = append(list, netip.MustParseAddr(text))
		}
		if got := fmt.Sprint(Interleave(list)); got != fmt.Sprint(c.want) {
			t.Errorf("%v become %s, want %v", c.in, got, c.want)
		}
	}
}
