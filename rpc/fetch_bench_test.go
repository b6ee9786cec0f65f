package rpc

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	client "quicproquo/client/conn"
	"quicproquo/fsm"
	"quicproquo/schemas"
)

// peekWorld is a node with one account whose inbox has one envelope of 1 KiB, and
// a peek of it as it goes over the wire.
type peekWorld struct {
	d                 accountDoor
	request, response []byte
}

const benchBody = 1024

func newPeekWorld(b *testing.B) *peekWorld {
	b.Helper()
	node := newAccountNode(b)
	limits := Limits{Rates: Off, OpenCalls: 32}
	w := &peekWorld{d: accountDoor{openDoor(b, NewServer(node, Options{ClusterKey: accountKEK, Limits: limits})), node}}
	ann := w.d.member(b, "ann")
	node.put(b, fsm.QueueID{Owner: ownerOf(ann)}, string(make([]byte, benchBody)))
	token := ann.Session().Token
	w.request = frameWith(b, 14, nil, schemas.NewPeekParams, func(p schemas.PeekParams) error {
		p.SetVersion(schemas.WireVersion)
		p.SetLimit(1)
		auth, err := p.NewAuth()
		must(b, err)
		auth.SetVersion(schemas.AuthVersion)
		return errors.Join(p.SetRecipientKey(ann.key[:]), auth.SetAccessToken(token[:]))
	})
	stream := newFakeStream(w.request)
	newConn(w.d.server, quiet()).serveStream(stream)
	w.response = bytes.Clone(stream.out.Bytes())
	if r := parseRaw(b, w.response); r.failure.code != schemas.Code_ok || len(w.response) < benchBody {
		b.Fatalf("peek answers %s with %d bytes", r.failure.code, len(w.response))
	}
	return w
}

// A peek of one envelope of 1 KiB against the bare echo of its bytes on pooled
// streams, alternating in one run: docs/performance.md has the numbers that must
// hold.
func BenchmarkPeek(b *testing.B) {
	for _, callers := range []int{1, 32} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) { benchPeek(b, callers) })
	}
}

func benchPeek(b *testing.B, callers int) {
	w := newPeekWorld(b)
	sides := [2]struct {
		qc   *quic.Conn
		pool chan *quic.Stream
		took []time.Duration
		busy time.Duration
	}{}
	sides[0].qc, sides[1].qc = w.d.dial(b), echoDoor(b, len(w.request), w.response)
	for i := range sides {
		sides[i].pool = make(chan *quic.Stream, callers)
	}
	const slice = 2000
	for n := 0; n < b.N || n == 0; n += slice {
		for i := range sides {
			s := &sides[i]
			began := time.Now()
			s.took = append(s.took, runCalls(b, callers, slice, func() error {
				return pooledCall(b, s.qc, s.pool, w.request, len(w.response))
			})...)
			s.busy += time.Since(began)
		}
	}
	peek, echo := rateOf(sides[0].took, sides[0].busy), rateOf(sides[1].took, sides[1].busy)
	b.ReportMetric(peek, "peek/s")
	b.ReportMetric(echo, "echo/s")
	b.ReportMetric(100*peek/echo, "%echo")
	b.ReportMetric(float64(median(sides[0].took).Nanoseconds())/1000, "p50-us")
	b.ReportMetric(float64((median(sides[0].took)-median(sides[1].took)).Nanoseconds())/1000, "p50-over-us")
	b.ReportMetric(0, "ns/op")
}

func rateOf(took []time.Duration, busy time.Duration) float64 {
	return float64(len(took)) / busy.Seconds()
}

func median(took []time.Duration) time.Duration {
	slices.Sort(took)
	return took[len(took)/2]
}

// runCalls makes n calls and says what each took.
func runCalls(b *testing.B, callers, n int, call func() error) []time.Duration {
	b.Helper()
	parts, errs := make([][]time.Duration, callers), make(chan error, callers)
	for i := range callers {
		go func() {
			for range n / callers {
				began := time.Now()
				if err := call(); err != nil {
					errs <- err
					return
				}
				parts[i] = append(parts[i], time.Since(began))
			}
			errs <- nil
		}()
	}
	for range callers {
		if err := <-errs; err != nil {
			b.Fatal(err)
		}
	}
	return slices.Concat(parts...)
}

// The door alone: what a peek allocates.
func BenchmarkAnswerPeek(b *testing.B) {
	for _, size := range []int{benchBody, schemas.MaxBody} {
		b.Run(fmt.Sprintf("%d", size), func(b *testing.B) {
			w := newPeekWorld(b)
			if size != benchBody {
				ann := fsm.QueueID{}
				copy(ann.Owner[:], "ann................................")
				w.d.node.mustWrite(b, func(to schemas.Entry_command) error {
					p, err := to.NewAck()
					must(b, err)
					p.SetVersion(schemas.WireVersion)
					p.SetSeq(1)
					return p.SetRecipientKey(ann.Owner[:])
				})
				w.d.node.put(b, ann, string(make([]byte, size)))
			}
			c := newConn(w.d.server, quiet())
			b.ReportAllocs()
			for b.Loop() {
				one := newCall(c, newFakeStream(nil))
				one.frame = append(one.frame[:0], w.request...)
				if frame, err := one.answer(); err != nil || len(frame) < size {
					b.Fatal(len(frame), err)
				}
				one.release()
			}
		})
	}
}

// From the write of an envelope to the answer of a fetchWait or the push of a
// subscription that waited for it, on one node without a log to wait for.
func BenchmarkDelivery(b *testing.B) {
	node := newAccountNode(b)
	d := accountDoor{openDoor(b, NewServer(node, Options{ClusterKey: accountKEK, Limits: Limits{Rates: Off}})), node}
	ann := d.member(b, "ann")
	s := subscriberB(b, ann)
	for b.Loop() {
		node.put(b, fsm.QueueID{Owner: ownerOf(ann)}, "x")
		<-s
	}
}

func subscriberB(b *testing.B, m member) chan client.Envelope {
	b.Helper()
	next := make(chan client.Envelope, 16)
	go func() {
		for e, err := range m.Subscribe(b.Context(), client.Subscription{}) {
			if err != nil {
				return
			}
			next <- e
		}
	}()
	return next
}
