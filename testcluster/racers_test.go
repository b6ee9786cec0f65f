package testcluster_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"quicproquo/client/conn"
	"quicproquo/schemas"
	"quicproquo/testcluster"
)

// racer is one of many who want the same thing: a connection to one node, with the
// session of an account. Racer i calls node i mod 3 and acts for account i mod n.
type racer struct {
	id   int
	who  person
	conn *conn.Conn
}

// newRacers registers accounts and gives each as many connections as it takes.
func newRacers(ctx context.Context, t *testing.T, c *testcluster.Cluster, name string, accounts, count int) []racer {
	t.Helper()
	all := make([]racer, count)
	for i := range all {
		caller := connect(t, c, c.Nodes()[i%len(c.Nodes())])
		if i >= accounts {
			first := all[i%accounts]
			caller.Observe(first.conn.Seen())
			caller.SetSession(first.conn.Session())
			all[i] = racer{i, first.who, caller}
			continue
		}
		all[i] = racer{i, newPerson(t, fmt.Sprint(name, i)), caller}
		register(t, caller, all[i].who)
		if _, _, err := caller.Login(ctx, all[i].who.credentials()); err != nil {
			t.Fatalf("log in: %v", err)
		}
	}
	return all
}

// record is what was asked and answered, for porcupine. mu guards operations.
type record struct {
	started    time.Time
	mu         sync.Mutex
	operations []porcupine.Operation
}

func (r *record) now() int64 { return time.Since(r.started).Nanoseconds() }

// note adds a call that began at from and is over now; one whose outcome nobody
// knows may still take effect, at any later time.
func (r *record) note(who int, from int64, input, output any, unknown bool) {
	op := porcupine.Operation{ClientId: who, Input: input, Call: from, Output: output, Return: r.now()}
	if unknown {
		op.Return = from + time.Hour.Nanoseconds()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.operations = append(r.operations, op)
}

// check fails the test unless the history is one of the model.
func (r *record) check(t *testing.T, model porcupine.Model) {
	t.Helper()
	switch result := porcupine.CheckOperationsTimeout(model, r.operations, time.Minute); result {
	case porcupine.Ok:
	default:
		t.Errorf("porcupine says %v of a history of %d calls", result, len(r.operations))
	}
}

// retryUnknown makes a write and repeats it, with the same request id, while
// nobody can say what became of it: the way to know that docs/protocol.md shows.
func retryUnknown(ctx context.Context, write func(requestID []byte) error) error {
	var id []byte
	for {
		err := write(id)
		e, ok := errors.AsType[*conn.Error](err)
		if !ok || e.Code != schemas.Code_unknownOutcome || ctx.Err() != nil {
			return err
		}
		id = e.RequestID
	}
}
