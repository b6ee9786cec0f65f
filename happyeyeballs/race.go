// Package happyeyeballs tries several ways to reach somebody, each a little after the
// one before, and takes the first that works (RFC 8305). A name often has addresses of
// which one answers nothing: IPv6 that is broken, a node that is down.
//
// It goes beyond the RFC in one thing: nothing further is tried beside an attempt that
// is being answered. A busy server that answers late is not made busier by clients that
// knock next door as well.
//
// It must never look names up or open anything: attempts are the caller's.
package happyeyeballs

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"
)

const (
	// Stagger is how long an attempt should go unanswered before the next begins beside it
	// (RFC 8305 §8, Connection Attempt Delay).
	Stagger = 250 * time.Millisecond
	// Fresh is how long an answer keeps further attempts back: who is answered waits for
	// the rest, but not for one who has died in the middle.
	Fresh = 3 * time.Second
)

// Attempt is one way. It ends when ctx does, and calls answered whenever something has
// come back from the other side, from any goroutine.
type Attempt[T any] func(ctx context.Context, answered func()) (T, error)

// outcome is what became of an attempt.
type outcome[T any] struct {
	number int
	result T
	err    error
}

// race is the state of Race; one goroutine runs it, attempts write to heard only.
type race[T any] struct {
	attempts []Attempt[T]
	answered func()         // tells the caller, nil for nobody
	heard    []atomic.Int64 // when each attempt was answered last, since began; 0: never
	running  map[int]bool
	results  chan outcome[T]
	began    time.Time
}

// Race runs the attempts until one succeeds, each a stagger after the one before (Stagger,
// for who knows nothing better), and returns the result. Otherwise it
// returns false and the error of each attempt. Answers to any attempt are passed on to
// answered, which may be nil; drop gets the results that come too late. All attempts
// have returned when Race does.
func Race[T any](ctx context.Context, attempts []Attempt[T], stagger time.Duration, answered func(), drop func(T)) (result T, ok bool, errs []error) {
	r := &race[T]{
		attempts: attempts, answered: answered, heard: make([]atomic.Int64, len(attempts)),
		running: map[int]bool{}, results: make(chan outcome[T], len(attempts)), began: time.Now(),
	}
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		for range len(r.running) {
			if late := <-r.results; late.err == nil {
				drop(late.result)
			}
		}
	}()
	errs = make([]error, len(attempts))
	next := time.NewTimer(0)
	defer next.Stop()
	for started := 0; started < len(attempts) || len(r.running) > 0; {
		var due <-chan time.Time
		if started < len(attempts) && ctx.Err() == nil {
			due = next.C
		}
		if due == nil && len(r.running) == 0 {
			break
		}
		select {
		case <-due:
			if wait := r.held(); wait > 0 {
				next.Reset(wait)
				continue
			}
			r.start(ctx, started)
			started++
			next.Reset(stagger)
		case o := <-r.results:
			delete(r.running, o.number)
			if o.err == nil {
				return o.result, true, nil
			}
			errs[o.number] = o.err
			next.Reset(0)
		}
	}
	for i := range errs {
		if errs[i] == nil {
			errs[i] = context.Cause(ctx) // it was not begun
		}
	}
	return result, false, errs
}

func (r *race[T]) start(ctx context.Context, number int) {
	r.running[number] = true
	go func() {
		result, err := r.attempts[number](ctx, func() {
			r.heard[number].Store(max(1, int64(time.Since(r.began))))
			if r.answered != nil {
				r.answered()
			}
		})
		r.results <- outcome[T]{number, result, err}
	}()
}

// held is how long an attempt that was answered lately still keeps others back.
func (r *race[T]) held() (wait time.Duration) {
	for number := range r.running {
		if at := r.heard[number].Load(); at != 0 {
			wait = max(wait, Fresh-(time.Since(r.began)-time.Duration(at)))
		}
	}
	return wait
}

// Interleave orders a name's addresses as RFC 8305 §4 does: the families take turns,
// that of the first address first; within a family the order stays.
func Interleave(addresses []netip.Addr) []netip.Addr {
	var families [2][]netip.Addr // that of the first address, the other
	for _, a := range addresses {
		a = a.Unmap()
		other := 0
		if a.Is4() != addresses[0].Unmap().Is4() {
			other = 1
		}
		families[other] = append(families[other], a)
	}
	list := make([]netip.Addr, 0, len(addresses))
	for i := range addresses {
		for _, family := range families {
			if i < len(family) {
				list = append(list, family[i])
			}
		}
	}
	return list
}
