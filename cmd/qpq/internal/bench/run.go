package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Run measures one workload. It returns what it saw also when there were errors: look at
// Report.Errors.
func Run(ctx context.Context, o Options) (_ *Report, err error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	kind, _ := find(o.Workload)
	w := &world{options: &o}
	defer func() { err = errors.Join(err, w.close()) }()
	if o.Dial == nil {
		if err := w.startNodes(ctx); err != nil {
			return nil, err
		}
	}
	do, err := kind.prepare(ctx, w)
	if err != nil {
		return nil, fmt.Errorf("prepare %s: %w", kind.Name, err)
	}
	r := &Report{
		Workload: kind.Name, Unit: kind.unit, Rate: o.Rate, InFlight: o.InFlight, Connections: len(w.seats), Accounts: len(w.accounts),
		Size: o.Size, Nodes: w.nodes.count(), LogStore: w.nodes.logStore(),
	}
	if kind.batch {
		r.Recipients = o.Recipients
	}
	w.measure(ctx, do, r)
	if failed := w.drains.err(); failed != nil {
		return r, fmt.Errorf("empty the queues: %w", failed)
	}
	return r, errors.Join(w.nodes.err(), ctx.Err())
}

// measure has the load run, and fills the report.
func (w *world) measure(ctx context.Context, do operation, r *Report) {
	o := w.options
	l := &load{operation: do, workers: o.InFlight, rate: o.Rate, recorder: newRecorder()}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.run(ctx)
	}()
	defer func() {
		cancel()
		<-ended
	}()
	if !sleep(ctx, o.Warmup) {
		return
	}
	l.recorder.take()
	l.recorder.counting.Store(true)
	client, nodes := cpuSelf(), w.nodes.cpu()
	began, total := time.Now(), newHistogram()
	for at := 1; time.Since(began) < o.For-time.Millisecond; at++ {
		if !sleep(ctx, min(time.Second, o.For-time.Since(began))) {
			break
		}
		calls, units, h := l.recorder.take()
		total.Merge(h)
		s := Second{
			At: at, Calls: calls, Units: units, P50: h.ValueAtPercentile(50), P99: h.ValueAtPercentile(99), Max: h.Max(),
			Errors: l.recorder.errors.Load(),
		}
		r.Series = append(r.Series, s)
		r.Calls, r.Units = r.Calls+calls, r.Units+units
		if o.Progress != nil {
			o.Progress(s)
		}
	}
	r.Seconds = time.Since(began).Seconds()
	r.Errors = l.recorder.errors.Load()
	if first := l.recorder.first.Load(); first != nil {
		r.FirstError = *first
	}
	if r.Calls > 0 {
		r.ClientCPU = float64((cpuSelf() - client).Microseconds()) / float64(r.Calls)
		r.NodesCPU = float64((w.nodes.cpu() - nodes).Microseconds()) / float64(r.Calls)
	}
	r.summarize(total)
}

// sleep reports whether the time passed before the context ended.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
