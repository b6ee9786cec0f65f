package chaos

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"quicproquo/client/conn"
	"quicproquo/cluster"
	"quicproquo/schemas"
)

// world is what the workloads share. mu guards what follows it.
type world struct {
	options Options
	target  target
	began   time.Time

	ops, acked, unknown, unauthorized, faults, flips, detected, unattacked atomic.Int64
	timeline                                                               timeline
	stalling                                                               stalling

	mu         sync.Mutex
	conns      []*conn.Conn
	lastWrite  time.Duration // since began; 0: none yet
	longestGap time.Duration
	gaps       []gap
	harmed     []harmed
	leaders    []string
	violations []Violation
}

func newWorld(o Options, t target) *world { return &world{options: o, target: t, began: time.Now()} }

// Violation is something that must not be.
type Violation struct {
	At       time.Duration `json:"at"` // from the beginning of the run
	Workload string        `json:"workload"`
	What     string        `json:"what"`
}

// maxViolations bounds the list: one is enough to fail.
const maxViolations = 100

func (w *world) violation(workload, format string, args ...any) {
	v := Violation{time.Since(w.began), workload, fmt.Sprintf(format, args...)}
	w.tell("VIOLATION in %s: %s", workload, v.What)
	w.timeline.violated(v)
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.violations) < maxViolations {
		w.violations = append(w.violations, v)
	}
}

func (w *world) tell(format string, args ...any) {
	if w.options.Tell != nil {
		w.options.Tell(time.Since(w.began), fmt.Sprintf(format, args...))
	}
}

// wrote notes that a write was acknowledged now.
func (w *world) wrote() {
	w.acked.Add(1)
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Since(w.began)
	if last := w.lastWrite; last > 0 {
		w.longestGap = max(w.longestGap, now-last)
		if now-last > notedGap {
			w.gaps = append(w.gaps, gap{last, now})
		}
	}
	w.lastWrite = now
}

// watch counts who leads one after another, and sees nodes stop because their state
// differs from the others'.
func (w *world) watch(ctx context.Context) {
	told := map[string]bool{}
	for {
		for _, node := range w.target.stopped() {
			if strings.Contains(node, cluster.ErrDiverged.Error()) && !told[node] {
				told[node] = true
				w.violation("cluster", "%s", node)
			}
		}
		if w.options.Beat != nil {
			w.options.Beat()
		}
		short, cancel := context.WithTimeout(ctx, time.Second)
		i, err := w.target.leader(short)
		cancel()
		if err == nil {
			w.mu.Lock()
			if name := w.target.name(i); len(w.leaders) == 0 || w.leaders[len(w.leaders)-1] != name {
				w.leaders = append(w.leaders, name)
			}
			w.mu.Unlock()
		}
		if !sleep(ctx, 500*time.Millisecond) {
			return
		}
	}
}

// account is somebody who calls, with a connection that begins at each node.
type account struct {
	name  string
	key   ed25519.PrivateKey
	conns []*conn.Conn
}

func (a *account) id() conn.AccountKey {
	return conn.AccountKey(a.key.Public().(ed25519.PublicKey))
}

// conn is the connection that begins at a node, as fresh as all the account's others.
func (a *account) conn(node int) *conn.Conn {
	c := a.conns[node%len(a.conns)]
	for _, other := range a.conns {
		c.Observe(other.Seen())
	}
	return c
}

var password = []byte("right")

// enroll makes an account with a session on connections to every node.
func (w *world) enroll(ctx context.Context, name string) (*account, error) {
	return w.enrollOn(ctx, name, w.target.nodes())
}

// enrollOn is enroll with connections that begin at some nodes only.
func (w *world) enrollOn(ctx context.Context, name string, nodes int) (*account, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	a := &account{name: name, key: key}
	for i := range nodes {
		c, err := w.connect(i)
		if err != nil {
			return nil, err
		}
		a.conns = append(a.conns, c)
	}
	if err := a.enter(ctx); err != nil {
		w.disconnect(a)
		return nil, err
	}
	return a, nil
}

// enter registers the account and gives all its connections a session.
func (a *account) enter(ctx context.Context) error {
	first := a.conns[0]
	if _, err := first.Register(ctx, a.name, append([]byte(nil), password...), a.key); err != nil {
		return fmt.Errorf("register %s: %w", a.name, err)
	}
	who := conn.Credentials{Username: a.name, Password: append([]byte(nil), password...), Account: a.id(), Key: a.key}
	session, _, err := first.Login(ctx, who)
	if err != nil {
		return fmt.Errorf("log in as %s: %w", a.name, err)
	}
	for _, c := range a.conns[1:] {
		c.Observe(first.Seen())
		c.SetSession(session)
	}
	return nil
}

// connect opens a client that tries one node first, then the others.
func (w *world) connect(first int) (*conn.Conn, error) {
	options, err := w.target.options(append([]int{first}, w.others(first)...)...)
	if err != nil {
		return nil, err
	}
	options.InOrder = true
	options.KeepSeen = true // an index that the cluster has lost is what we look for
	c, err := conn.Dial(options)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns = append(w.conns, c)
	return c, nil
}

// disconnect closes an account's connections.
func (w *world) disconnect(a *account) {
	for _, c := range a.conns {
		_ = c.Close() // nothing is on its way
		w.mu.Lock()
		w.conns = slices.DeleteFunc(w.conns, func(other *conn.Conn) bool { return other == c })
		w.mu.Unlock()
	}
}

func (w *world) close() (err error) {
	for _, c := range w.conns {
		err = errors.Join(err, c.Close())
	}
	return err
}

// callTime bounds one logical call: beyond it the outcome may be unknown.
const callTime = 5 * time.Second

// write makes a write until it is known to be applied, or ctx ends. id is nil for
// the first attempt and the request id while the outcome of the last is unknown: then
// the same call is repeated, as docs/protocol.md tells clients to.
func (w *world) write(ctx context.Context, call func(ctx context.Context, requestID []byte) error) error {
	var id []byte
	for {
		short, cancel := context.WithTimeout(ctx, callTime)
		err := call(short, id)
		cancel()
		w.ops.Add(1)
		var e *conn.Error
		switch {
		case err == nil:
			w.wrote()
			return nil
		case errors.As(err, &e) && e.Code == schemas.Code_unknownOutcome:
			w.unknown.Add(1)
			id = e.RequestID
		case errors.As(err, &e) && e.Code.Doc().Retry == 0 && e.Code != schemas.Code_deadlineExceeded:
			return err // it will be refused again
		case id == nil: // not applied, for sure
		}
		if !sleep(ctx, 50*time.Millisecond) {
			return err
		}
	}
}
