package bench

import (
	"context"
	"crypto/rand"
	"fmt"

	"quicproquo/client/conn"
)

// workload is a kind of call.
type workload struct {
	Name, About string
	unit        string
	batch       bool // the number of recipients counts
	few         int  // how many workers there may be; 0: any number
	prepare     func(context.Context, *world) (operation, error)
}

// workloads, each with its row. "one call" is what is in flight.
var workloads = []workload{
	{Name: "enqueue", unit: "envelopes", About: "one payload into one queue: the write", prepare: prepareEnqueue},
	{Name: "batch", unit: "deliveries", batch: true, About: "one payload into many queues (--recipients): the cluster stores it once", prepare: prepareBatch},
	{Name: "fetch", unit: "reads", About: "a linearizable read of one's own queue", prepare: prepareRead(true)},
	{Name: "peek", unit: "reads", About: "a read of one's own queue on the node that answers, no older than what one has seen", prepare: prepareRead(false)},
	{Name: "mixed", unit: "calls", About: "one write for each three reads, as a chat", prepare: prepareMixed},
	{Name: "fanout", unit: "deliveries", batch: true, About: "as batch, and each delivery read again by its recipients' subscriptions", prepare: prepareFanout},
	{Name: "login", unit: "logins", About: "OPAQUE from the password to the session", prepare: prepareLogin},
	{Name: "connect", unit: "connections", About: "a new connection, one call over it, and its end", prepare: prepareConnect},
	{Name: "subscribe", unit: "notifications", few: 256, About: "from the call that sends to the recipient, who is subscribed, having it", prepare: prepareSubscribe},
	{Name: "e2e", unit: "messages", few: 32, About: "from Send to the recipient's program having the text: MLS, vaults on disk, two clients a worker", prepare: prepareTalk},
}

func (w *world) payload() []byte {
	p := make([]byte, w.options.Size)
	_, _ = rand.Read(p) // never fails
	return p
}

// inboxes has the accounts' own queues emptied, and returns the drain of each account.
func (w *world) inboxes(ctx context.Context) (map[*account]*drain, error) {
	if err := w.acquaint(ctx, w.accounts); err != nil {
		return nil, fmt.Errorf("make contacts: %w", err)
	}
	list, by := make([]*drain, 0, len(w.accounts)), map[*account]*drain{}
	for _, a := range w.accounts {
		caller, err := w.as(a)
		if err != nil {
			return nil, err
		}
		w.closers = append(w.closers, caller.Close)
		by[a] = &drain{queue: conn.Queue{Account: true}, conn: caller}
		list = append(list, by[a])
	}
	w.drains.start(ctx, list)
	return by, nil
}

func prepareEnqueue(ctx context.Context, w *world) (operation, error) {
	if err := w.enroll(ctx); err != nil {
		return nil, err
	}
	inboxes, err := w.inboxes(ctx)
	if err != nil {
		return nil, err
	}
	payload := w.payload()
	return func(ctx context.Context, worker int) (int, error) {
		to := w.peer(worker)
		seq, err := w.conn(worker).Enqueue(ctx, conn.Message{To: to.id, Payload: payload})
		if err != nil {
			return 0, err
		}
		inboxes[to].noted(seq, w.conn(worker))
		return 1, nil
	}, nil
}

// prepareRead puts a few envelopes into each account's queue and reads them.
func prepareRead(linearizable bool) func(context.Context, *world) (operation, error) {
	return func(ctx context.Context, w *world) (operation, error) {
		if err := w.enroll(ctx); err != nil {
			return nil, err
		}
		payload := w.payload()
		for i, a := range w.accounts {
			if _, err := w.conn(i).Enqueue(ctx, conn.Message{To: a.id, Payload: payload}); err != nil {
				return nil, err
			}
		}
		return func(ctx context.Context, worker int) (int, error) {
			_, err := w.read(ctx, worker, linearizable)
			return 1, err
		}, nil
	}
}

func (w *world) read(ctx context.Context, worker int, linearizable bool) ([]conn.Envelope, error) {
	list, _, err := w.conn(worker).Peek(ctx, conn.Read{Queue: conn.Queue{Account: true}, Limit: 1, Linearizable: linearizable})
	return list, err
}

func prepareMixed(ctx context.Context, w *world) (operation, error) {
	write, err := prepareEnqueue(ctx, w)
	if err != nil {
		return nil, err
	}
	turns := make([]int, w.options.InFlight) // a worker's own
	return func(ctx context.Context, worker int) (int, error) {
		turns[worker]++
		if turns[worker]%4 == 0 {
			return write(ctx, worker)
		}
		_, err := w.read(ctx, worker, false)
		return 1, err
	}, nil
}

// prepareLogin gives each worker a connection: a login is the connection's. What it opens
// ends when the account has more sessions than it may have.
func prepareLogin(ctx context.Context, w *world) (operation, error) {
	if err := w.enroll(ctx); err != nil {
		return nil, err
	}
	conns := make([]*conn.Conn, w.options.InFlight)
	for i := range conns {
		caller, err := w.as(w.caller(i))
		if err != nil {
			return nil, err
		}
		w.closers = append(w.closers, caller.Close)
		conns[i] = caller
	}
	return func(ctx context.Context, worker int) (int, error) {
		_, err := w.caller(worker).login(ctx, conns[worker])
		return 1, err
	}, nil
}

func prepareConnect(ctx context.Context, w *world) (operation, error) {
	if err := w.enroll(ctx); err != nil {
		return nil, err
	}
	return func(ctx context.Context, worker int) (_ int, err error) {
		caller, err := w.as(w.caller(worker))
		if err != nil {
			return 0, err
		}
		_, err = caller.Whoami(ctx)
		if closed := caller.Close(); err == nil {
			err = closed
		}
		return 1, err
	}, nil
}
