package conform

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"capnproto.org/go/capnp/v3"

	"quicproquo/cmd/qpqconform/internal/wire"
	"quicproquo/schemas"
)

// Options say which cluster is tried.
type Options struct {
	Servers []string // HOST:PORT, one at least: the others are learned
	Pin     [sha256.Size]byte
	Invite  []byte // for registrations; empty: none
}

// World is a run's view of a cluster. It belongs to one goroutine.
type World struct {
	options   Options
	nodes     []string
	turn      int // whose turn it is to be called
	seen      uint64
	mark      string // in the names of this run's accounts
	strangers map[int]*wire.Link
	people    map[string]*person
	answered  map[string]bool // methods, since the check began
}

// Open finds the cluster's nodes.
func Open(ctx context.Context, o Options) (*World, error) {
	w := &World{
		options: o, nodes: o.Servers, strangers: map[int]*wire.Link{}, people: map[string]*person{},
		mark: strings.ToLower(base32.StdEncoding.EncodeToString(random(5))), answered: map[string]bool{},
	}
	a, err := w.call(ctx, nil, health(), schemas.Code_ok)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ask for the cluster's nodes: %w", err), w.Close(ctx))
	}
	members, err := list(results[schemas.HealthResults](a).Members())
	if err != nil {
		return nil, err
	}
	for _, at := range members {
		if !slices.Contains(w.nodes, at) {
			w.nodes = append(slices.Clip(w.nodes), at)
		}
	}
	return w, nil
}

// Nodes are the addresses that are tried.
func (w *World) Nodes() []string { return w.nodes }

// Close deletes the accounts that the run has made and ends its connections.
func (w *World) Close(ctx context.Context) error {
	var errs []error
	for _, p := range w.people {
		errs = append(errs, p.leave(ctx))
	}
	for _, l := range w.strangers {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// forget begins a check.
func (w *World) forget() { clear(w.answered) }

// answeredAll demands that methods were answered with results since then.
func (w *World) answeredAll(methods []string) error {
	for _, m := range methods {
		if !w.answered[m] {
			return differs(m, "no results", "its documented success")
		}
	}
	return nil
}

// spec is a call: a method and its parameters.
type spec struct {
	method string
	fill   func(schemas.Request) error // nil: no parameters
	node   int                         // 1 and up: that node; 0: the next one
	id     []byte
	seen   *uint64 // nil: the highest that the run has seen
	time   time.Duration
	exact  bool // linearizable
	first  bool
}

// of makes a spec.
func of[P ~capnp.StructKind](method string, newParams func(*capnp.Segment) (P, error), fill func(P) error) spec {
	return spec{method: method, fill: func(r schemas.Request) error {
		p, err := newParams(r.Segment())
		if err != nil {
			return err
		}
		if fill != nil {
			if err := fill(p); err != nil {
				return err
			}
		}
		return r.SetParams(capnp.Struct(p).ToPtr())
	}}
}

// results reads an answer's results.
func results[R ~capnp.StructKind](a wire.Answer) R {
	if !a.Response.IsValid() || a.Response.Which() != schemas.Response_Which_results {
		return R{}
	}
	ptr, err := a.Response.Results()
	if err != nil {
		return R{}
	}
	return R(ptr.Struct())
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// frame writes a request. The same spec with the same id gives the same bytes.
func (w *World) frame(s *spec) ([]byte, error) {
	ordinal, known := ordinals()[s.method]
	if !known {
		return nil, fmt.Errorf("there is no method %s", s.method)
	}
	msg, seg := schemas.NewMessage()
	r, err := schemas.NewRootRequest(seg)
	if err != nil {
		return nil, err
	}
	r.SetMethod(ordinal)
	r.SetSeen(w.seen)
	if s.seen != nil {
		r.SetSeen(*s.seen)
	}
	r.SetTimeoutMs(uint32(s.time.Milliseconds()))
	r.SetLinearizable(s.exact)
	r.SetFirst(s.first)
	if s.fill != nil {
		if err := s.fill(r); err != nil {
			return nil, err
		}
	}
	if err := r.SetRequestId(s.id); err != nil {
		return nil, err
	}
	return msg.Marshal()
}

// patience bounds how long a call is repeated.
const patience = 90 * time.Second

// call makes a call as somebody (nil: a stranger), repeats it as docs/errors.md says, and
// demands that it ends with a code.
func (w *World) call(ctx context.Context, p *person, s spec, want schemas.Code) (wire.Answer, error) {
	a, err := w.settle(ctx, p, &s, want)
	if err == nil && a.Code != want {
		err = differs(s.method, said(a), code(want))
	}
	return a, err
}

// settle is call that takes any code that is no reason to repeat.
func (w *World) settle(ctx context.Context, p *person, s *spec, want schemas.Code) (wire.Answer, error) {
	if len(s.id) == 0 && writes()[s.method] {
		s.id = random(schemas.RequestIDSize)
	}
	deadline := time.Now().Add(patience)
	for pause := 25 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		a, err := w.once(ctx, p, s)
		if err != nil || a.Code == want || !again(a) || time.Now().After(deadline) {
			return a, err
		}
		select {
		case <-time.After(max(a.RetryAfter, pause)):
		case <-ctx.Done():
			return a, fmt.Errorf("%s: it is said again and again: %s", s.method, said(a))
		}
	}
}

// again tells whether the documents say to repeat a call.
func again(a wire.Answer) bool {
	switch a.Code.Doc().Retry {
	case schemas.Retry_elsewhere, schemas.Retry_sameRequestId:
		return true
	default:
		return a.Code == schemas.Code_rateLimited || a.Code == schemas.Code_featureLevel
	}
}

// once makes a call once.
func (w *World) once(ctx context.Context, p *person, s *spec) (wire.Answer, error) {
	node := s.node - 1
	if node < 0 {
		w.turn++
		node = w.turn % len(w.nodes)
	}
	l, err := w.link(ctx, p, node)
	if err != nil {
		return wire.Answer{}, err
	}
	return w.on(ctx, l, s)
}

// on makes a call on a connection.
func (w *World) on(ctx context.Context, l *wire.Link, s *spec) (wire.Answer, error) {
	frame, err := w.frame(s)
	if err != nil {
		return wire.Answer{}, err
	}
	a, err := l.Exchange(ctx, frame)
	if err != nil {
		return a, fmt.Errorf("%s at %s: %w", s.method, l.Address, err)
	}
	w.note(s.method, a)
	return a, nil
}

// note remembers what an answer tells.
func (w *World) note(method string, a wire.Answer) {
	if a.Code == schemas.Code_ok {
		w.answered[method] = true
	}
	if a.Index < 1<<63 {
		w.seen = max(w.seen, a.Index)
	}
}

// link is somebody's connection to a node.
func (w *World) link(ctx context.Context, p *person, node int) (*wire.Link, error) {
	if p != nil {
		return p.link(ctx, node)
	}
	if l := w.strangers[node]; l != nil && !over(l) {
		return l, nil
	}
	l, err := w.dial(ctx, node)
	if err == nil {
		w.strangers[node] = l
	}
	return l, err
}

func over(l *wire.Link) bool {
	select {
	case <-l.Ended():
		return true
	default:
		return false
	}
}

func (w *World) dial(ctx context.Context, node int) (*wire.Link, error) {
	return wire.Dial(ctx, w.nodes[node], wire.Options{Pin: w.options.Pin})
}

// said is an answer for people.
func said(a wire.Answer) string {
	if a.Code == schemas.Code_ok {
		return "success"
	}
	text := code(a.Code)
	if a.Message != "" {
		text += " (" + a.Message + ")"
	}
	return text
}

func code(c schemas.Code) string {
	if c == schemas.Code_ok {
		return "success"
	}
	return c.ID() + " " + c.Doc().Name
}

// list copies a list of a message.
func list[T any, L interface {
	Len() int
	At(i int) (T, error)
}](from L, err error) (to []T, _ error) {
	if err != nil {
		return nil, err
	}
	for i := range from.Len() {
		one, err := from.At(i)
		if err != nil {
			return to, err
		}
		to = append(to, one)
	}
	return to, nil
}

func health() spec { return of("health", schemas.NewHealthParams, nil) }
