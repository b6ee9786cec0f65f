package rpc

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"quicproquo/schemas"
)

// renewals moves the expiry of sessions that are used. It gathers them and writes
// an entry for many; one that gets lost is gathered again at the session's next
// call. Its goroutine runs while something waits, and close ends it.
//
// mu guards waiting, running and closed.
type renewals struct {
	node  Node
	log   *slog.Logger
	ctx   context.Context // ends when close has no more patience
	stop  context.CancelFunc
	hurry chan struct{} // closed when no more is gathered
	tasks sync.WaitGroup

	mu      sync.Mutex
	waiting map[tokenHash]struct{}
	running bool
	closed  bool
}

func (r *renewals) open(node Node, log *slog.Logger) {
	r.node, r.log = node, log
	r.ctx, r.stop = context.WithCancel(context.Background())
	r.hurry = make(chan struct{})
	r.waiting = map[tokenHash]struct{}{}
}

// note renews a session soon that was used and not renewed for a while.
func (r *renewals) note(token tokenHash, renewedMs uint64) {
	if time.Since(time.UnixMilli(int64(renewedMs))) < renewAfter {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || len(r.waiting) >= renewWaiting {
		return
	}
	r.waiting[token] = struct{}{}
	if !r.running {
		r.running = true
		r.tasks.Go(r.run)
	}
}

// run writes what waits, every renewEvery, until nothing does.
func (r *renewals) run() {
	timer := time.NewTimer(renewEvery)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-r.hurry:
		}
		batch := r.take()
		if len(batch) == 0 {
			return
		}
		r.write(batch)
		timer.Reset(renewEvery)
	}
}

// take empties waiting. When there is nothing it ends the run.
func (r *renewals) take() []tokenHash {
	r.mu.Lock()
	defer r.mu.Unlock()
	batch := make([]tokenHash, 0, len(r.waiting))
	for token := range r.waiting {
		batch = append(batch, token)
	}
	clear(r.waiting)
	r.running = len(batch) > 0
	return batch
}

func (r *renewals) write(batch []tokenHash) {
	ctx, cancel := context.WithTimeout(r.ctx, renewTimeout)
	defer cancel()
	for len(batch) > 0 && ctx.Err() == nil {
		n := min(len(batch), schemas.MaxRenewals)
		if err := r.propose(ctx, batch[:n]); err != nil {
			r.log.Warn("renew sessions", slog.Int("sessions", n), slog.Any("error", err))
		}
		batch = batch[n:]
	}
}

func (r *renewals) propose(ctx context.Context, batch []tokenHash) error {
	entry, err := schemas.BuildEntry(nil, schemas.Caller{Kind: schemas.Actor_Kind_node}, func(to schemas.Entry_command) error {
		p, err := to.NewRenewSessions()
		if err != nil {
			return err
		}
		hashes, err := p.NewTokenHashes(int32(len(batch)))
		if err != nil {
			return err
		}
		for i := range batch {
			if err := hashes.Set(i, batch[i][:]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	_, result, err := r.node.Propose(ctx, entry)
	if err != nil {
		return err
	}
	return refusalIn(result)
}

// close writes what waits, as long as ctx lets it, and ends the goroutine.
func (r *renewals) close(ctx context.Context) {
	r.mu.Lock()
	if !r.closed {
		r.closed = true
		close(r.hurry)
	}
	r.mu.Unlock()
	defer context.AfterFunc(ctx, r.stop)()
	r.tasks.Wait()
	r.stop()
}
