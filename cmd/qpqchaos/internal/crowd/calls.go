package crowd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"quicproquo/client/conn"
)

// Calls is what connections with one call each have done.
type Calls struct {
	Connections int      `json:"connections"`
	Beside      bool     `json:"beside"` // processes that take all of the processor
	PerSecond   float64  `json:"perSecond"`
	Errors      int64    `json:"errors"`
	First       string   `json:"firstError,omitempty"`
	P50         Duration `json:"p50Ms"`
	P99         Duration `json:"p99Ms"`
}

// calls measures few and many connections, alone and beside load, in turns.
func (r *run) calls(ctx context.Context) error {
	if r.Turns == 0 {
		return nil
	}
	var few, many float64
	for turn := range r.Turns {
		for i := range 4 {
			n, beside := r.Few, i%4 >= 2
			if (i+turn)%2 == 1 {
				n = r.Many
			}
			c, err := r.callTurn(ctx, n, beside)
			if err != nil {
				return err
			}
			r.Tell("%5d connections, beside load: %5t: %7.0f calls/s, %d errors, p50 %v, p99 %v %s", n, beside,
				c.PerSecond, c.Errors, time.Duration(c.P50), time.Duration(c.P99), c.First)
			r.report.Calls = append(r.report.Calls, c)
			switch {
			case beside && n == r.Few:
				few += c.PerSecond
			case beside:
				many += c.PerSecond
			}
		}
	}
	r.report.Ratio = many / few
	r.Tell("beside load %d connections do %.2f x what %d do", r.Many, r.report.Ratio, r.Few)
	return nil
}

// callTurn connects, and then has the connections call for a while.
func (r *run) callTurn(ctx context.Context, connections int, beside bool) (c Calls, err error) {
	if beside {
		stop, err := r.spin()
		if err != nil {
			return c, err
		}
		defer stop()
	}
	conns := make([]*conn.Conn, connections)
	defer func() {
		for _, caller := range conns {
			if caller != nil {
				err = errors.Join(err, caller.Close())
			}
		}
	}()
	nodes := r.nodes.Nodes()
	for i := range conns {
		k := i % len(nodes)
		if conns[i], err = r.dial(i, false, nodes[k], nodes[(k+1)%3], nodes[(k+2)%3]); err != nil {
			return c, err
		}
	}
	// Beside the load they connect as well, but what is measured is their calls.
	if _, failed := together(conns, func(caller *conn.Conn) error { return patiently(ctx, caller) }); failed > 0 {
		c.Errors = failed
	}
	t := &turn{}
	began, end := time.Now(), time.Now().Add(r.Turn)
	var all sync.WaitGroup
	for _, caller := range conns {
		all.Go(func() { t.call(ctx, caller, end) })
	}
	all.Wait()
	c = Calls{Connections: connections, Beside: beside, Errors: c.Errors + t.errors.Load()}
	c.PerSecond = float64(len(t.took)) / time.Since(began).Seconds()
	if t.first != nil {
		c.First = t.first.Error()
	}
	c.P50, c.P99 = at(t.took, 0.5), at(t.took, 0.99)
	return c, nil
}

// turn is what the connections of a turn have seen. mu guards took and first.
type turn struct {
	errors atomic.Int64
	mu     sync.Mutex
	took   []time.Duration
	first  error
}

// call makes one call after the other: the account's own queue is looked at.
func (t *turn) call(ctx context.Context, caller *conn.Conn, end time.Time) {
	var took []time.Duration
	for time.Now().Before(end) && ctx.Err() == nil {
		began := time.Now()
		_, _, err := caller.Peek(ctx, conn.Read{Queue: conn.Queue{Account: true}, Limit: 1})
		if err != nil {
			t.errors.Add(1)
			t.mu.Lock()
			if t.first == nil {
				t.first = fmt.Errorf("after %v: %w", time.Since(began), err)
			}
			t.mu.Unlock()
			continue
		}
		took = append(took, time.Since(began))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.took = append(t.took, took...)
}

// spin starts the processes beside.
func (r *run) spin() (stop func(), err error) {
	var pipes []io.Closer
	var all sync.WaitGroup
	stop = func() {
		for _, p := range pipes {
			_ = p.Close()
		}
		all.Wait()
	}
	for range r.Spins {
		cmd := r.Spin()
		life, err := cmd.StdinPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			stop()
			return nil, fmt.Errorf("start other load: %w", err)
		}
		pipes = append(pipes, life)
		all.Go(func() { _ = cmd.Wait() })
	}
	return stop, nil
}
