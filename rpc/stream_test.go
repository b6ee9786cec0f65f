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
		{"in an answer of 3 MiB", frameOf(t, 7, nil), true, limits.Write, true},
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

// fill takes memory of a pool on nobody's account.
func fill(tb testing.TB, p *pool, n int64) {
	tb.Helper()
	h := &hold{owners: [ownerKinds]owner{{kind: ownAll}}, count: 1}
	p.mu.Lock()
	p.charge(h, n)
	p.mu.Unlock()
	tb.Cleanup(func() { p.give(h) })
}

// A request that finds the server's memory for requests used up waits for some, and is
// then told to come back; what it held of it is given back at the end of every call, and
// a small one has an eighth of it that no large one takes. On fake time.
func TestRequestMemoryIsBounded(t *testing.T) {
	tab := open
	tab[healthMethod].maxBytes = schemas.MaxRequest
	frame := func(size int) []byte {
		return frameOf(t, healthMethod, func(r schemas.Request) { must(t, r.SetRequestId(make([]byte, size))) })
	}
	whole := DefaultLimits().OpenMemory
	for _, c := range []struct {
		used int64
		size int
		want schemas.Code
		wait time.Duration
	}{
		{0, 16 << 10, schemas.Code_requestIdLength, 0},
		{0, 1 << 20, schemas.Code_requestIdLength, 0},
		{whole - whole/8, 16 << 10, schemas.Code_requestIdLength, 0},
		{whole - 16<<10, 32 << 10, schemas.Code_rateLimited, roomPatience},
		{whole - whole/8, 1 << 20, schemas.Code_rateLimited, roomPatience},
		{whole, 4 << 10, schemas.Code_rateLimited, roomPatience},
		{whole, 1 << 10, schemas.Code_requestIdLength, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			server := NewServer(newFakeNode(1), Options{})
			server.open = &tab
			fill(t, server.strange, c.used)
			s, start := newFakeStream(frame(c.size)), time.Now()
			newConn(server, quiet()).serveStream(s)
			got := s.answers(t)
			if len(got) != 1 || got[0].code != c.want || (got[0].after > 0) != (c.want == schemas.Code_rateLimited) {
				t.Errorf("%d bytes with %d in use: got %+v, want %s", c.size, c.used, got, c.want.ID())
			}
			if waited := time.Since(start); waited != c.wait {
				t.Errorf("%d bytes with %d in use: waited %v, want %v", c.size, c.used, waited, c.wait)
			}
			if used := server.strange.used(); used != c.used {
				t.Errorf("%d bytes were in use, now %d", c.used, used)
			}
		})
	}
}

// A large answer of any read is paid from the server's memory for answers, or
// refused with a time to come back; that of a write counts and is sent, for what
// it tells has happened. All is given back. What is small has a part that is kept for it.
func TestAnswerMemoryIsBounded(t *testing.T) {
	const size = 256 << 10
	whole := DefaultLimits().AnswerMemory
	for _, c := range []struct {
		name  string
		used  int64
		size  int
		wrote bool
		want  schemas.Code
	}{
		{"room for all", 0, size, false, schemas.Code_ok},
		{"no room", whole - whole/8 - 2*size, size, false, schemas.Code_rateLimited},
		{"room for what is small", whole - whole/8, size / 8, false, schemas.Code_ok},
		{"no room even for that", whole - size/4, size / 8, false, schemas.Code_rateLimited},
		{"no room, a write", whole, size, true, schemas.Code_ok},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := NewServer(newFakeNode(1), Options{})
			tab := open
			server.open = &tab
			held := int64(0)
			tab[healthMethod].handle = func(call *call) error {
				call.wrote = c.wrote
				results, err := schemas.NewHealthResults(call.response.Segment())
				must(t, err)
				must(t, results.SetStatus(strings.Repeat("x", c.size)))
				return call.response.SetResults(results.ToPtr())
			}
			fill(t, server.answers, c.used)
			s := newFakeStream(healthFrame(t))
			s.wrote = func() { held = server.answers.used() - c.used }
			newConn(server, quiet()).serveStream(s)
			got := s.answers(t)
			if len(got) != 1 || got[0].code != c.want || (got[0].after > 0) != (c.want == schemas.Code_rateLimited) {
				t.Errorf("got %+v, want %s", got, c.want.ID())
			}
			if (held >= int64(2*c.size)) != (c.want == schemas.Code_ok) || server.answers.used() != c.used {
				t.Errorf("%d bytes were held while it was sent, %d after", held, server.answers.used()-c.used)
			}
		})
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
		if server.strange.used() != 0 || server.running.Load() != 0 || len(conn.turns) != cap(conn.turns)-server.limits.BoundCalls+server.limits.OpenCalls {
			t.Errorf("left over: %d bytes, %d calls, %d turns", server.strange.used(), server.running.Load(), len(conn.turns))
		}
	})
}
