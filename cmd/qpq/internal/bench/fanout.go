package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"quicproquo/client/conn"
)

// devicesEach is how many devices an account gets that receives: as many as it may have.
const devicesEach = 10

// target is a queue that a batch fills.
type target struct {
	to    conn.Recipient
	drain *drain
	owner *account
}

// targets makes as many queues as a call has recipients: devices of accounts of their own.
func (w *world) targets(ctx context.Context) ([]target, error) {
	if err := w.enroll(ctx); err != nil {
		return nil, err
	}
	senders := slices.Clone(w.accounts)
	var list []target
	for len(list) < w.options.Recipients {
		a, err := w.newAccount(ctx)
		if err != nil {
			return nil, err
		}
		caller, err := w.as(a)
		if err != nil {
			return nil, err
		}
		w.closers = append(w.closers, caller.Close)
		for range min(devicesEach, w.options.Recipients-len(list)) {
			var id conn.DeviceID
			_, _ = rand.Read(id[:]) // never fails
			if _, err := caller.RegisterDevice(ctx, conn.Device{ID: id, Name: "bench"}, nil); err != nil {
				return nil, fmt.Errorf("register a device: %w", err)
			}
			a.devices = append(a.devices, id)
			list = append(list, target{
				conn.Recipient{Account: a.id, Device: id},
				&drain{queue: conn.Queue{Device: id}, conn: caller}, a,
			})
		}
	}
	if err := w.acquaint(ctx, senders); err != nil {
		return nil, fmt.Errorf("make contacts: %w", err)
	}
	w.accounts = senders // who calls
	return list, nil
}

// sendTo sends a batch to all targets and returns how many got it.
func (w *world) sendTo(ctx context.Context, worker int, list []target, payload []byte) (int, error) {
	b := conn.Batch{Payload: payload, Recipients: make([]conn.Recipient, len(list))}
	for i := range list {
		b.Recipients[i] = list[i].to
	}
	outcomes, err := w.conn(worker).BatchEnqueue(ctx, b)
	if err != nil {
		return 0, err
	}
	for i := range outcomes {
		if outcomes[i].Err != nil {
			return 0, fmt.Errorf("recipient %d: %w", i, outcomes[i].Err)
		}
		list[i].drain.noted(outcomes[i].Seq, w.conn(worker))
	}
	return len(outcomes), nil
}

func prepareBatch(ctx context.Context, w *world) (operation, error) {
	list, err := w.targets(ctx)
	if err != nil {
		return nil, err
	}
	drains := make([]*drain, len(list))
	for i := range list {
		drains[i] = list[i].drain
	}
	w.drains.start(ctx, drains)
	payload := w.payload()
	return func(ctx context.Context, worker int) (int, error) { return w.sendTo(ctx, worker, list, payload) }, nil
}

// prepareFanout has each device read what comes for it; a call is done when all have read
// what it sent.
func prepareFanout(ctx context.Context, w *world) (operation, error) {
	list, err := w.targets(ctx)
	if err != nil {
		return nil, err
	}
	r := &readers{waiting: map[string]*arrival{}}
	drains := make([]*drain, len(list))
	for i := range list {
		drains[i] = list[i].drain
		if err := w.subscribe(ctx, list[i].owner, conn.Subscription{Device: list[i].to.Device}, r.got); err != nil {
			return nil, err
		}
	}
	w.drains.start(ctx, drains)
	return func(ctx context.Context, worker int) (int, error) {
		return r.await(ctx, w.payload(), len(list), func(payload []byte) error {
			_, err := w.sendTo(ctx, worker, list, payload)
			return err
		})
	}, nil
}

// prepareSubscribe sends to an account that is subscribed and waits until it has it.
func prepareSubscribe(ctx context.Context, w *world) (operation, error) {
	if err := w.enroll(ctx); err != nil {
		return nil, err
	}
	inboxes, err := w.inboxes(ctx)
	if err != nil {
		return nil, err
	}
	r := &readers{waiting: map[string]*arrival{}}
	for _, a := range w.accounts {
		if err := w.subscribe(ctx, a, conn.Subscription{Account: true}, r.got); err != nil {
			return nil, err
		}
	}
	return func(ctx context.Context, worker int) (int, error) {
		to := w.peer(worker)
		return r.await(ctx, w.payload(), 1, func(payload []byte) error {
			seq, err := w.conn(worker).Enqueue(ctx, conn.Message{To: to.id, Payload: payload})
			if err == nil {
				inboxes[to].noted(seq, w.conn(worker))
			}
			return err
		})
	}, nil
}

// subscribe opens a subscription over a connection of its own, and returns when it is
// caught up.
func (w *world) subscribe(ctx context.Context, a *account, what conn.Subscription, got func([]byte)) error {
	caller, err := w.as(a)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	caughtUp, ended := make(chan struct{}), make(chan error, 1)
	what.CaughtUp = sync.OnceFunc(func() { close(caughtUp) })
	go func() {
		for e, err := range caller.Subscribe(ctx, what) {
			if err != nil {
				ended <- err
				return
			}
			got(e.Data)
		}
		ended <- nil
	}()
	w.closers = append(w.closers, func() error {
		cancel()
		<-ended //nolint:errcheck // it was ended here
		return caller.Close()
	})
	select {
	case <-caughtUp:
		return nil
	case err := <-ended:
		ended <- nil
		return errors.Join(errors.New("a subscription ended at once"), err)
	}
}

// readers know which payloads are under way. mu guards waiting.
type readers struct {
	mu      sync.Mutex
	waiting map[string]*arrival
}

// arrival is a payload's: how many have yet to get it.
type arrival struct {
	left atomic.Int64
	all  chan struct{}
}

// keySize is how many bytes of a payload tell it from all others.
const keySize = 16

// await sends a payload and waits until so many have it.
func (r *readers) await(ctx context.Context, payload []byte, by int, send func([]byte) error) (int, error) {
	key := string(payload[:min(len(payload), keySize)])
	a := &arrival{all: make(chan struct{})}
	a.left.Store(int64(by))
	r.mu.Lock()
	r.waiting[key] = a
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.waiting, key)
		r.mu.Unlock()
	}()
	if err := send(payload); err != nil {
		return 0, err
	}
	select {
	case <-a.all:
		return by, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (r *readers) got(payload []byte) {
	r.mu.Lock()
	a := r.waiting[string(payload[:min(len(payload), keySize)])]
	r.mu.Unlock()
	if a != nil && a.left.Add(-1) == 0 {
		close(a.all)
	}
}
