package bench

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// operation is one call of a workload's by a worker. units is how much was done by it, in
// the workload's unit.
type operation func(ctx context.Context, worker int) (units int, err error)

// load has workers call until the context ends.
type load struct {
	operation operation
	workers   int
	rate      float64 // calls due a second; 0: the closed loop
	recorder  *recorder
	next      atomic.Int64 // of the open loop: the call that is due next
}

// run returns when all workers have ended.
func (l *load) run(ctx context.Context) {
	var all sync.WaitGroup
	began := time.Now()
	for worker := range l.workers {
		all.Go(func() {
			if l.rate > 0 {
				l.open(ctx, began, worker)
			} else {
				l.closed(ctx, worker)
			}
		})
	}
	all.Wait()
}

func (l *load) closed(ctx context.Context, worker int) {
	for ctx.Err() == nil {
		l.call(ctx, worker, time.Now())
	}
}

// open takes the next call that is due, waits until it is, and counts from then: also the
// time in which no worker was free.
func (l *load) open(ctx context.Context, began time.Time, worker int) {
	for ctx.Err() == nil {
		due := began.Add(time.Duration(float64(l.next.Add(1)-1) / l.rate * float64(time.Second)))
		if wait := time.Until(due); wait > 0 {
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return
			}
		}
		l.call(ctx, worker, due)
	}
}

func (l *load) call(ctx context.Context, worker int, from time.Time) {
	units, err := l.operation(ctx, worker)
	switch {
	case err == nil:
		l.recorder.done(worker, time.Since(from), units)
	case ctx.Err() == nil:
		l.recorder.failed(err)
		select { // a cluster that refuses is not asked at full speed
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}
