package bench

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"quicproquo/client/conn"
)

// drainEvery is how often a queue is emptied.
const drainEvery = 100 * time.Millisecond

// drain empties a queue as its owner would who has read it: a queue holds so many
// envelopes, and measured is a cluster whose recipients are there.
type drain struct {
	queue conn.Queue
	conn  *conn.Conn
	sent  atomic.Uint64 // the highest number that was given out
	done  uint64
}

// noted keeps the highest number, which was given out at an index that from has seen: the
// node that the owner asks must have come as far.
func (d *drain) noted(seq uint64, from *conn.Conn) {
	d.conn.Observe(from.Seen())
	for {
		old := d.sent.Load()
		if old >= seq || d.sent.CompareAndSwap(old, seq) {
			return
		}
	}
}

// drains are all that run. mu guards failed.
type drains struct {
	cancel context.CancelFunc
	all    sync.WaitGroup
	mu     sync.Mutex
	failed error
}

// start has an account's queues emptied over a connection of its own.
func (d *drains) start(ctx context.Context, list []*drain) {
	if d.cancel == nil {
		ctx, d.cancel = context.WithCancel(ctx)
	}
	for _, one := range list {
		d.all.Go(func() {
			for sleep(ctx, drainEvery) {
				if err := one.empty(ctx); err != nil && ctx.Err() == nil {
					d.mu.Lock()
					d.failed = errors.Join(d.failed, err)
					d.mu.Unlock()
					return
				}
			}
		})
	}
}

func (d *drain) empty(ctx context.Context) error {
	sent := d.sent.Load()
	if sent == d.done {
		return nil
	}
	if _, err := d.conn.Ack(ctx, d.queue, sent); err != nil {
		return err
	}
	d.done = sent
	return nil
}

func (d *drains) stop() {
	if d.cancel != nil {
		d.cancel()
	}
	d.all.Wait()
}

func (d *drains) err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed
}
