package crowd

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"quicproquo/client/conn"
	"quicproquo/testcluster"
)

// Arrivals is what clients met that all know one node first, which then dies.
type Arrivals struct {
	Clients int   `json:"clients"`
	There   int64 `json:"there"` // at that node when it died
	Errors  int64 `json:"errors"`
	// From the beginning to the first answer, and from the kill to the next.
	ServedP50 Duration `json:"servedP50Ms"`
	ServedP99 Duration `json:"servedP99Ms"`
	AgainP50  Duration `json:"againP50Ms"`
	AgainP99  Duration `json:"againP99Ms"`
	AgainMost Duration `json:"againMostMs"`
}

// arrivals has clients come to the first node, kills it, and waits until all are served.
func (r *run) arrivals(ctx context.Context) error {
	if r.Arrive == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	nodes := r.nodes.Nodes()
	conns := make([]*conn.Conn, r.Arrive)
	for i := range conns {
		var err error
		if conns[i], err = r.dial(i, false, nodes[0], nodes[1+i%2], nodes[2-i%2]); err != nil {
			return err
		}
		defer func() { _ = conns[i].Close() }()
	}
	a := &Arrivals{Clients: r.Arrive}
	var served, again []time.Duration
	served, a.Errors = together(conns, func(caller *conn.Conn) error { return patiently(ctx, caller) })
	a.ServedP50, a.ServedP99 = at(served, 0.5), at(served, 0.99)
	r.Tell("%d clients: served after p50 %v, p99 %v, %d errors", r.Arrive, time.Duration(a.ServedP50), time.Duration(a.ServedP99), a.Errors)
	for _, caller := range conns {
		if caller.Endpoint() == nodes[0].Address() {
			a.There++
		}
	}
	if err := nodes[0].Kill(); err != nil {
		return err
	}
	again, failed := together(conns, func(caller *conn.Conn) error {
		// People don't all write in the same moment: within half a second of it.
		time.Sleep(rand.N(time.Second / 2))
		return patiently(ctx, caller)
	})
	a.Errors += failed
	a.AgainP50, a.AgainP99, a.AgainMost = at(again, 0.5), at(again, 0.99), at(again, 1)
	r.Tell("after kill -9 of the node that %d were at: served again after p50 %v, p99 %v, at most %v, %d errors", a.There,
		time.Duration(a.AgainP50), time.Duration(a.AgainP99), time.Duration(a.AgainMost), failed)
	r.report.Arrivals = a
	return r.comeBack(ctx, nodes[0])
}

// patiently makes a call that may take half a minute.
func patiently(ctx context.Context, caller *conn.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	_, _, err := caller.Peek(ctx, conn.Read{Queue: conn.Queue{Account: true}, Limit: 1})
	return err
}

// together does the same with all, at once, and returns when each was done.
func together(conns []*conn.Conn, do func(*conn.Conn) error) (took []time.Duration, failed int64) {
	var mu sync.Mutex
	var errs atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	for _, caller := range conns {
		all.Go(func() {
			if err := do(caller); err != nil {
				errs.Add(1)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, time.Since(began))
		})
	}
	all.Wait()
	return took, errs.Load()
}

// comeBack starts a killed node and waits until it follows.
func (r *run) comeBack(ctx context.Context, n *testcluster.Process) error {
	if err := n.Start(); err != nil {
		return err
	}
	return testcluster.Await(ctx, "the node that was killed", func() error {
		seen, err := r.nodes.Observe(ctx)
		if err != nil {
			return err
		}
		for _, o := range seen {
			if o.Status == nil || o.Status.Leader == "" {
				return errors.New("not all nodes follow")
			}
		}
		return nil
	})
}

// lone kills the only node that a client was given, and measures until its next message is
// acknowledged by another.
func (r *run) lone(ctx context.Context) error {
	for i := range r.Lone {
		took, err := r.loneTurn(ctx, r.nodes.Nodes()[i%3])
		if err != nil {
			return err
		}
		r.Tell("kill -9 of the only node that a client was given: next acknowledged message after %v", took)
		r.report.Lone = append(r.report.Lone, Duration(took))
	}
	return nil
}

func (r *run) loneTurn(ctx context.Context, n *testcluster.Process) (took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	caller, err := r.dial(0, true, n)
	if err != nil {
		return 0, err
	}
	defer func() { _ = caller.Close() }()
	message := conn.Message{To: r.id(r.account), Payload: []byte("still here")}
	if _, err := caller.Enqueue(ctx, message); err != nil {
		return 0, fmt.Errorf("send before the kill: %w", err)
	}
	time.Sleep(time.Second) // the client has learned of the others
	began := time.Now()
	if err := n.Kill(); err != nil {
		return 0, err
	}
	if _, err := caller.Enqueue(ctx, message); err != nil {
		return 0, fmt.Errorf("send after the kill: %w", err)
	}
	took = time.Since(began)
	return took, r.comeBack(ctx, n)
}
