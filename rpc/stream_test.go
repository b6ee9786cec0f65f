package rpc

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"

	"quicproquo/schemas"
)

// A stream answers calls in turn until its client ends it.
func TestCallsInTurn(t *testing.T) {
	s := newFakeStream(bytes.Repeat(healthFrame(t), 3))
	newConn(NewServer(newFakeNode(5), Options{}), quiet()).serveStream(s)
	got := s.answers(t)
	if len(got) != 3 || got[2].status != "ok" || got[2].index != 5 {
		t.Errorf("got %+v, want three answers", got)
	}
	if !s.closed || s.resetWrite != nil {
		t.Errorf("closed %v, reset with %v; want a clean end", s.closed, s.resetWrite)
	}
}

// A stream that is silent between calls ends politely after its idle time; one
// that stops in a request, and one that takes no answer, is reset when the time
// for that is over. On fake time.
func TestSlowStreamsAreCut(t *testing.T) {
	whole := healthFrame(t)
	limits := DefaultLimits()
	for _, c := range []struct {
		name  string
		in    []byte
		slow  bool
		after time.Duration
		reset bool
	}{
		{"nothing", nil, false, limits.Idle, false},
		{"after a call", whole, false, limits.Idle, false},
		{"in a head", whole[:5], false, limits.Idle, true},
		{"in a request", whole[:20], false, limits.Read, true},
		{"in an answer", whole, true, limits.Write, true},
		{"in an answer of 3 MiB", frameOf(t, 7, nil), true, 4 * limits.Write, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFakeStream(c.in)
				s.stall, s.slow = true, c.slow
				server := NewServer(newFakeNode(1), Options{})
				tab := open
				tab[7] = method{name: "large", maxBytes: smallMethod, timeout: time.Minute, handle: func(c *call) error { return fillResponse(c, 3<<20) }}
				server.open = &tab
				conn := newConn(server, quiet())
				start := time.Now()
				conn.serveStream(s)
				if d := time.Since(start); d != c.after {
					t.Errorf("cut after %v, want %v", d, c.after)
				}
				want := []quic.StreamErrorCode(nil)
				if c.reset {
					want = []quic.StreamErrorCode{StreamTimeout}
				}
				if fmt.Sprint(s.resetWrite) != fmt.Sprint(want) || s.closed == c.reset || len(s.resetRead) != 1 {
					t.Errorf("reset %v, closed %v, read reset %v; want reset %v and the read side always ended", s.resetWrite, s.closed, s.resetRead, want)
				}
				if len(conn.turns) != limits.OpenCalls {
					t.Errorf("%d turns are free, want all %d", len(conn.turns), limits.OpenCalls)
				}
			})
		})
	}
}

// A handler that panics or fails is a fault of its call: the client gets
// INTERNAL and an id, the log gets the reason, the stream goes on.
func TestFaultsStayInside(t *testing.T) {
	for name, handle := range map[string]handler{
		"panic":            func(*call) error { panic("secret detail") },
		"error":            func(*call) error { return errors.New("secret detail") },
		"panic half done":  func(c *call) error { c.index = 3; _, _ = c.response.NewError(); panic("secret detail") },
		"response too big": func(c *call) error { return fillResponse(c, schemas.MaxResponse) },
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			server := NewServer(newFakeNode(7), Options{})
			tab := open
			tab[healthMethod].handle = handle
			server.open = &tab
			s := newFakeStream(append(healthFrame(t), frameOf(t, 999, nil)...))
			newConn(server, slog.New(slog.NewTextHandler(&log, nil))).serveStream(s)
			got := s.answers(t)
			if len(got) != 2 || got[0].code != schemas.Code_internal || got[0].index != 7 || got[1].code != schemas.Code_unknownMethod {
				t.Fatalf("got %+v, want INTERNAL at index 7, then UNKNOWN_METHOD", got)
			}
			if strings.Contains(got[0].message, "secret") {
				t.Errorf("the client reads %q", got[0].message)
			}
			_, id, _ := strings.Cut(got[0].message, "Fault ")
			id = strings.TrimSuffix(id, ".")
			if len(id) != 10 || !strings.Contains(log.String(), "fault="+id) {
				t.Errorf("the client's id %q is not in the log: %s", id, log.String())
			}
		})
	}
}

func fillResponse(c *call, size int) error {
	failure, err := c.response.NewError()
	if err != nil {
		return err
	}
	return failure.SetMessage_(strings.Repeat("x", size))
}

// A request that finds the server's memory for requests used up is told to come
// back; what it held of it is given back at the end of every call.
func TestRequestMemoryIsBounded(t *testing.T) {
	server := NewServer(newFakeNode(1), Options{})
	tab := open
	tab[healthMethod].maxBytes = schemas.MaxRequestOpen
	server.open = &tab
	large := frameOf(t, healthMethod, func(r schemas.Request) { must(t, r.SetRequestId(make([]byte, 16<<10))) })
	for _, c := range []struct {
		used int64
		want schemas.Code
	}{
		{0, schemas.Code_requestIdLength},
		{server.limits.RequestMemory - int64(len(large)), schemas.Code_requestIdLength},
		{server.limits.RequestMemory - int64(len(large)) + 1, schemas.Code_rateLimited},
	} {
		server.memory.Store(c.used)
		s := newFakeStream(large)
		newConn(server, quiet()).serveStream(s)
		got := s.answers(t)
		if len(got) != 1 || got[0].code != c.want || (got[0].after > 0) != (c.want == schemas.Code_rateLimited) {
			t.Errorf("with %d bytes in use: got %+v, want %s", c.used, got, c.want.ID())
		}
		if server.memory.Load() != c.used {
			t.Errorf("%d bytes were in use, now %d", c.used, server.memory.Load())
		}
	}
}

// A large answer of any read is paid from the server's memory for answers, or
// refused with a time to come back; that of a write counts and is sent, for what
// it tells has happened. All is given back.
func TestAnswerMemoryIsBounded(t *testing.T) {
	server := NewServer(newFakeNode(1), Options{})
	tab := open
	server.open = &tab
	const size = 64 << 10
	for _, c := range []struct {
		name  string
		used  int64
		wrote bool
		want  schemas.Code
	}{
		{"room for all", 0, false, schemas.Code_ok},
		{"no room", server.limits.AnswerMemory - 2*size, false, schemas.Code_rateLimited},
		{"no room, a write", server.limits.AnswerMemory, true, schemas.Code_ok},
	} {
		held := int64(0)
		tab[healthMethod].handle = func(call *call) error {
			call.wrote = c.wrote
			results, err := schemas.NewHealthResults(call.response.Segment())
			must(t, err)
			must(t, results.SetStatus(strings.Repeat("x", size)))
			return call.response.SetResults(results.ToPtr())
		}
		server.answers.Store(c.used)
		s := newFakeStream(healthFrame(t))
		s.wrote = func() { held = server.answers.Load() - c.used }
		newConn(server, quiet()).serveStream(s)
		got := s.answers(t)
		if len(got) != 1 || got[0].code != c.want || (got[0].after > 0) != (c.want == schemas.Code_rateLimited) {
			t.Errorf("%s: got %+v, want %s", c.name, got, c.want.ID())
		}
		if (held >= 2*size) != (c.want == schemas.Code_ok) || server.answers.Load() != c.used {
			t.Errorf("%s: %d bytes were held while it was sent, %d after", c.name, held, server.answers.Load()-c.used)
		}
	}
}

// Whatever bytes a stream brings, the node answers or ends it, and everything it
// took is given back.
func FuzzStream(f *testing.F) {
	f.Add(healthFrame(f))
	f.Add(append(healthFrame(f), healthFrame(f)...))
	f.Add(frameOf(f, healthMethod, func(r schemas.Request) { must(f, r.SetRequestId(make([]byte, 16))) }))
	f.Add(frameOf(f, 2, func(r schemas.Request) { paramsOf(f, r, []byte("x")) }))
	f.Add(farLoop())
	f.Add(loopParams(f))
	f.Add([]byte{15, 0, 0, 0})
	server := NewServer(newFakeNode(1), Options{})
	f.Fuzz(func(t *testing.T, input []byte) {
		s := newFakeStream(input)
		conn := newConn(server, quiet())
		conn.serveStream(s)
		for _, a := range s.answers(t) {
			if a.code == schemas.Code_internal {
				t.Errorf("answered INTERNAL: %s", a.message)
			}
		}
		if len(s.resetRead) != 1 || s.closed == (len(s.resetWrite) > 0) {
			t.Errorf("closed %v, reset %v and %v: both sides must be ended once", s.closed, s.resetRead, s.resetWrite)
		}
		if server.memory.Load() != 0 || server.running.Load() != 0 || len(conn.turns) != cap(conn.turns)-server.limits.BoundCalls+server.limits.OpenCalls {
			t.Errorf("left over: %d bytes, %d calls, %d turns", server.memory.Load(), server.running.Load(), len(conn.turns))
		}
	})
}
