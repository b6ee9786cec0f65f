package conn

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"quicproquo/client/internal/scripted"
	"quicproquo/schemas"
)

// Every code of the table is treated as its Retry column says: what is not to
// be repeated is reported after one attempt, what may be repeated is.
func TestEveryCodeIsTreatedAsTheTableSays(t *testing.T) {
	for _, doc := range schemas.Codes() {
		if doc.Code == schemas.Code_ok {
			continue
		}
		for kind, call := range map[string]func(context.Context, *Conn) error{"read": read, "write": write} {
			t.Run(doc.Name+"/"+kind, func(t *testing.T) {
				run(t, 2, first(scripted.Reply{Code: doc.Code, Value: 77}), func(c *cluster) {
					t := c.T
					err := call(within(t, 10*time.Second), c.open(t))
					got := c.Requests()
					if doc.Retry == schemas.Retry_never {
						want := &Error{Code: doc.Code}
						if !errors.Is(err, want) || !Is(err, doc.Code) || len(got) != 1 {
							t.Fatalf("got %v after %d attempts, want %v after 1", err, len(got), want)
						}
						if e, _ := errors.AsType[*Error](err); e.Value != 77 || e.Hint() == "" {
							t.Errorf("got %+v, want the server's value 77 and a hint", e)
						}
						return
					}
					if err != nil || len(got) != 2 {
						t.Fatalf("got %v after %d attempts, want success after 2", err, len(got))
					}
					elsewhere := doc.Retry != schemas.Retry_later
					if (got[0].Node != got[1].Node) != elsewhere {
						t.Errorf("went from %s to %s with %s", got[0].Node, got[1].Node, doc.Retry)
					}
					// A refusal is the outcome of its id: what was certainly refused gets
					// another one, what may have been applied keeps its own.
					renewed := kind == "write" && doc.Retry == schemas.Retry_later
					if same := string(got[0].ID) == string(got[1].ID); same == renewed || len(got[1].ID) != map[string]int{"read": 0, "write": 16}[kind] {
						t.Errorf("request ids %x and %x", got[0].ID, got[1].ID)
					}
				})
			})
		}
	}
}

// A pause that the server asks for is kept; a refusal that keeps coming is
// reported, and at once when the call has no time for the pause.
func TestRetryLater(t *testing.T) {
	busy := scripted.Reply{Code: schemas.Code_rateLimited, After: 2 * time.Second}
	for _, c := range []struct {
		name     string
		script   func(scripted.Request) scripted.Reply
		time     time.Duration
		attempts int
		ok       bool
		after    time.Duration // at least
	}{
		{"once", first(busy), 10 * time.Second, 2, true, 2 * time.Second},
		{"for ever", always(busy), time.Minute, 1 + maxLater, false, maxLater * 2 * time.Second},
		{"no time", always(busy), time.Second, 1, false, 0},
		{"without a pause", always(scripted.Reply{Code: schemas.Code_queueFull}), time.Minute, 1 + maxLater, false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			run(t, 1, c.script, func(cl *cluster) {
				t := cl.T
				conn := cl.open(t)
				start := time.Now()
				err := write(within(t, c.time), conn)
				if (err == nil) != c.ok || len(cl.Requests()) != c.attempts {
					t.Errorf("got %v after %d attempts, want success %v after %d", err, len(cl.Requests()), c.ok, c.attempts)
				}
				if d := time.Since(start); d < c.after || d > c.after+time.Second/2 {
					t.Errorf("took %v, want %v and a little", d, c.after)
				}
			})
		})
	}
}

// A write whose outcome is open is repeated with the same request id until a
// node knows; if none does, the outcome is reported as unknown: never as a
// failure. What was certainly not applied is never reported as unknown.
func TestOutcomesAreNeverMixedUp(t *testing.T) {
	unknown := scripted.Reply{Code: schemas.Code_unknownOutcome}
	for _, c := range []struct {
		name   string
		script func(scripted.Request) scripted.Reply
		call   func(context.Context, *Conn) error
		want   schemas.Code
	}{
		{"unknown, then known", first(unknown), write, schemas.Code_ok},
		{"unknown for ever", always(unknown), write, schemas.Code_unknownOutcome},
		{"unavailable for ever", always(scripted.Reply{Code: schemas.Code_unavailable}), write, schemas.Code_unavailable},
		{"lost, then known", first(scripted.Reply{HangUp: true}), write, schemas.Code_ok},
		{"reset, then known", first(scripted.Reply{Reset: true}), write, schemas.Code_ok},
		{"garbage, then known", first(scripted.Reply{Raw: []byte("HTTP/1.1 400 Bad Request\r\n\r\n")}), write, schemas.Code_ok},
		{"lost for ever", always(scripted.Reply{HangUp: true}), write, schemas.Code_unknownOutcome},
		{"lost, then unavailable for ever", thenAlways(scripted.Reply{HangUp: true}, scripted.Reply{Code: schemas.Code_unavailable}), write, schemas.Code_unknownOutcome},
		{"unknown, then refused", first(unknown, scripted.Reply{Code: schemas.Code_tokenExpired}), write, schemas.Code_unknownOutcome},
		{"unknown, then too busy", thenAlways(unknown, scripted.Reply{Code: schemas.Code_queueFull}), write, schemas.Code_unknownOutcome},
		{"no answer in time", always(scripted.Reply{Endless: true}), write, schemas.Code_unknownOutcome},
		{"refused for now, for ever", always(scripted.Reply{Code: schemas.Code_queueFull}), write, schemas.Code_queueFull},

		{"read: lost, then known", first(scripted.Reply{HangUp: true}), read, schemas.Code_ok},
		{"read: lost for ever", always(scripted.Reply{HangUp: true}), read, schemas.Code_unavailable},
		{"read: no answer in time", always(scripted.Reply{Endless: true}), read, schemas.Code_deadlineExceeded},
		{"read: unknown makes no sense and is repeated", first(unknown), read, schemas.Code_ok},
		{"read: lagging for ever", always(scripted.Reply{Code: schemas.Code_lagging}), read, schemas.Code_lagging},
	} {
		t.Run(c.name, func(t *testing.T) {
			run(t, 3, c.script, func(cl *cluster) {
				t := cl.T
				err := c.call(within(t, 5*time.Second), cl.open(t))
				if CodeOf(err) != c.want {
					t.Errorf("got %v, want %s", err, c.want.ID())
				}
				requests := cl.Requests()
				// What may have been applied keeps its id; what was refused for now
				// gets another one each time.
				renewed := c.want == schemas.Code_queueFull
				for _, r := range requests[1:] {
					if same := string(r.ID) == string(requests[0].ID); same == renewed {
						t.Errorf("repeated with id %x after %x", r.ID, requests[0].ID)
					}
				}
				e, is := errors.AsType[*Error](err)
				if is && e.Code == schemas.Code_unknownOutcome {
					if string(e.RequestID) != string(requests[0].ID) || !errors.Is(err, ErrUnknownOutcome) {
						t.Errorf("the error has request id %x, want %x", e.RequestID, requests[0].ID)
					}
					if errors.Is(err, ErrUnavailable) || Is(err, schemas.Code_tokenExpired) {
						t.Error("an unknown outcome must not look like a refusal")
					}
				}
			})
		})
	}
}

func thenAlways(one, other scripted.Reply) func(scripted.Request) scripted.Reply {
	done := false
	return func(scripted.Request) scripted.Reply {
		if !done {
			done = true
			return one
		}
		return other
	}
}

// A program that comes back to a write with an open outcome gives the id again.
func TestRepeatWithTheSameRequestID(t *testing.T) {
	run(t, 1, always(scripted.Reply{}), func(cl *cluster) {
		t := cl.T
		conn := cl.open(t)
		id := []byte("0123456789abcdef")
		again := func(id []byte) error {
			return Call(t.Context(), conn, Request{Method: 2, Write: true, ID: id},
				schemas.NewEnqueueParams, nil, func(schemas.EnqueueResults) error { return nil })
		}
		if err := again(id); err != nil || string(cl.Requests()[0].ID) != string(id) {
			t.Errorf("got %v, id %x; want id %x", err, cl.Requests()[0].ID, id)
		}
		if err := again(id[:5]); err == nil || len(cl.Requests()) != 1 {
			t.Errorf("a request id of 5 bytes was sent (%v)", err)
		}
	})
}

// A request over the limit is refused before it is sent.
func TestTooLargeIsNotSent(t *testing.T) {
	run(t, 1, always(scripted.Reply{}), func(cl *cluster) {
		t := cl.T
		err := Call(t.Context(), cl.open(t), Request{Method: 2, Write: true}, schemas.NewEnqueueParams,
			func(p schemas.EnqueueParams) error { return p.SetPayload(make([]byte, schemas.MaxRequest)) },
			func(schemas.EnqueueResults) error { return nil })
		if !Is(err, schemas.Code_messageTooLarge) || len(cl.Requests()) != 0 {
			t.Errorf("got %v after %d attempts, want E034 after none", err, len(cl.Requests()))
		}
	})
}

// What a callback of the program returns comes back as it is and ends the call.
func TestCallbacksErrors(t *testing.T) {
	run(t, 1, always(scripted.Reply{}), func(cl *cluster) {
		t := cl.T
		conn := cl.open(t)
		mine := errors.New("mine")
		for i, err := range []error{
			Call(t.Context(), conn, Request{}, schemas.NewHealthParams,
				func(schemas.HealthParams) error { return mine }, func(schemas.HealthResults) error { return nil }),
			Call(t.Context(), conn, Request{}, schemas.NewHealthParams, nil,
				func(schemas.HealthResults) error { return mine }),
		} {
			if !errors.Is(err, mine) {
				t.Errorf("callback %d: got %v, want its error", i, err)
			}
		}
	})
}

// Errors say their code, what happened and why.
func TestErrorText(t *testing.T) {
	e := &Error{Code: schemas.Code_queueFull, Message: "It is full.", cause: context.Canceled}
	if want := "E012 QUEUE_FULL: It is full. (context canceled)"; e.Error() != want {
		t.Errorf("got %q, want %q", e, want)
	}
	if CodeOf(nil) != schemas.Code_ok || CodeOf(errors.New("x")) != schemas.Code_internal || !Is(fmt.Errorf("send: %w", e), schemas.Code_queueFull) {
		t.Error("codes of nil, of a foreign and of a wrapped error")
	}
}

// A write that may have been applied stays unknown, whatever later attempts run into: a
// connection that is refused, a node that says later, one that knows no such account.
func TestAnUnknownOutcomeStaysUnknown(t *testing.T) {
	lost := outcome{err: errors.New("the stream was reset"), sent: true}
	refusal := func(code schemas.Code) outcome { return outcome{err: &Error{Code: code}, sent: true} }
	for what, next := range map[string]outcome{
		"another connection is refused": {err: errors.New("connection refused")},
		"the next node says later":      refusal(schemas.Code_rateLimited),
		"the next node refuses":         refusal(schemas.Code_accountNotFound),
	} {
		h := &history{request: &Request{Write: true, ID: []byte("id")}}
		h.judge(lost, time.Minute)
		h.judge(next, time.Minute)
		if err := h.verdict(t.Context()); !Is(err, schemas.Code_unknownOutcome) {
			t.Errorf("a write without an answer, then %s: %v, want an unknown outcome", what, err)
		}
	}
	h := &history{request: &Request{Write: true}}
	h.judge(outcome{err: errors.New("connection refused")}, time.Minute)
	if err := h.verdict(t.Context()); Is(err, schemas.Code_unknownOutcome) {
		t.Errorf("a write that was never sent: %v, want a known outcome", err)
	}
}
