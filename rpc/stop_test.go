package rpc

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"

	"quicproquo/cluster"
	"quicproquo/schemas"
)

// pipeStream is a stream over a pipe, whose reads are woken by deadlines.
type pipeStream struct {
	net.Conn
	reset chan quic.StreamErrorCode // of the write side
}

func (s *pipeStream) Context() context.Context           { return context.Background() }
func (s *pipeStream) CancelRead(quic.StreamErrorCode)    {}
func (s *pipeStream) CancelWrite(c quic.StreamErrorCode) { s.reset <- c }
func newPipe() (client net.Conn, server *pipeStream) {
	a, b := net.Pipe()
	return a, &pipeStream{b, make(chan quic.StreamErrorCode, 1)}
}

// A node that stops in order leaves no request without an answer: one that was on its
// way, whole or in part, on a stream that was idle or on a new one, is answered that the
// node is about to stop. A stream that ends without one took no request. On fake time.
func TestStopAnswersWhatIsOnItsWay(t *testing.T) {
	whole := healthFrame(t)
	write := frameOf(t, 7, nil)
	const linger = 250 * time.Millisecond
	for _, c := range []struct {
		name    string
		fresh   bool // a stream that is opened when the node has begun to stop
		before  int  // bytes that come before that
		after   time.Duration
		request []byte
		want    schemas.Code
		none    bool // no answer: the stream ends in peace
	}{
		{"at once, on an idle stream", false, 0, time.Millisecond, write, schemas.Code_unavailable, false},
		{"a little later", false, 0, endGrace - time.Millisecond, write, schemas.Code_unavailable, false},
		{"too late", false, 0, endGrace + time.Millisecond, write, schemas.Code_ok, true},
		{"half a head was there", false, 4, 50 * time.Millisecond, write, schemas.Code_unavailable, false},
		{"half a request was there", false, 16, 200 * time.Millisecond, write, schemas.Code_unavailable, false},
		{"on a new stream", true, 0, 0, write, schemas.Code_unavailable, false},
		{"on a new stream, late", true, 0, 200 * time.Millisecond, write, schemas.Code_unavailable, false},
		{"how the node is", true, 0, time.Millisecond, whole, schemas.Code_ok, false},
		{"nothing, on an idle stream", false, 0, 0, nil, schemas.Code_ok, true},
		{"half a head and no more", false, 4, 0, nil, schemas.Code_ok, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := NewServer(newFakeNode(1), Options{Limits: Limits{Linger: linger, Rates: Off}})
				tab := open
				tab[7] = method{name: "write", maxBytes: smallMethod, timeout: time.Minute, handle: func(*call) error {
					t.Error("a node that is about to stop handles a call")
					return nil
				}}
				server.open = &tab
				conn := newConn(server, quiet())
				client, stream := newPipe()
				if !c.fresh {
					conn.accept(stream)
					_, err := client.Write(whole)
					must(t, err)
					if a, err := readAnswer(t, client); err != nil || a.status != "ok" {
						t.Fatalf("the first call got %+v, %v", a, err)
					}
					if c.before > 0 {
						_, err := client.Write(write[:c.before])
						must(t, err)
					}
				}
				synctest.Wait()
				server.draining.Store(true)
				server.ended.Store(time.Now().UnixNano())
				conn.wake()
				if c.fresh {
					conn.accept(stream)
				}
				var sender sync.WaitGroup
				defer sender.Wait()
				if c.request != nil {
					sender.Go(func() {
						time.Sleep(c.after)
						_, _ = client.Write(c.request[c.before:]) // fails if it comes too late
					})
				}
				a, err := readAnswer(t, client)
				switch {
				case c.none && !errors.Is(err, io.EOF):
					t.Errorf("got %+v, %v; want the stream to end", a, err)
				case !c.none && (err != nil || a.code != c.want):
					t.Errorf("got %+v, %v; want %s", a, err, c.want.ID())
				}
				conn.tasks.Wait()
				if len(stream.reset) > 0 {
					t.Errorf("the stream was reset with code %d", <-stream.reset)
				}
				_ = client.Close()
			})
		})
	}
}

// staleNode is a node that has not applied what the others have.
type staleNode struct {
	*accountNode
	catchUp func(context.Context) error
}

func (n *staleNode) Linearize(ctx context.Context) error { return n.catchUp(ctx) }

// A session that a node has not seen yet is not called unknown: the node asks first what
// it has missed, and says that it is behind if it can't learn that. One that is unknown
// then, or that the node knows, costs no further round.
func TestSessionOnALaggingNode(t *testing.T) {
	w := newWorld(t)
	missed := sha256.Sum256([]byte("missed token of alice")) // as newSession makes them
	token := missed[:]
	opened := func(context.Context) error {
		w.node.newSession(t, w.alice, nil, "missed")
		return nil
	}
	for _, c := range []struct {
		name    string
		token   []byte
		catchUp func(context.Context) error
		want    schemas.Code
		rounds  int
		took    time.Duration
	}{
		{"it can't catch up", token, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, schemas.Code_lagging, 1, seenPatience},
		{"nobody leads", token, func(context.Context) error { return cluster.ErrUnavailable }, schemas.Code_lagging, 1, 0},
		{"there is none", token, func(context.Context) error { return nil }, schemas.Code_tokenInvalid, 1, 0},
		{"it was opened elsewhere", token, opened, schemas.Code_ok, 1, 0},
		{"it is known", w.onPhone, nil, schemas.Code_ok, 0, 0},
	} {
		rounds := 0
		server := NewServer(&staleNode{w.node, func(ctx context.Context) error { rounds++; return c.catchUp(ctx) }}, Options{})
		start := time.Now()
		s := newFakeStream(frameWith(t, 28, nil, schemas.NewWhoamiParams, func(p schemas.WhoamiParams) error {
			auth, err := p.NewAuth()
			must(t, err)
			auth.SetVersion(schemas.AuthVersion)
			return auth.SetAccessToken(c.token)
		}))
		newConn(server, quiet()).serveStream(s)
		r := parseRaw(t, s.out.Bytes())
		if r.failure.code != c.want || rounds != c.rounds || time.Since(start) < c.took {
			t.Errorf("%s: got %s after %d rounds and %v; want %s, %d, %v", c.name,
				named(r.failure.code), rounds, time.Since(start), named(c.want), c.rounds, c.took)
		}
	}
}
