package rpc

import (
	"flag"
	"io"
	"runtime"
	"sync"
	"testing"

	"github.com/quic-go/quic-go"

	"quicproquo/schemas"
)

var soakCalls = flag.Int("soak", 20_000, "how many calls TestSoak makes; a million takes some minutes: go test ./rpc -run Soak -soak 1000000 -timeout 1h")

// Any number of calls leaves nothing behind: no goroutine, no stream, no memory
// of requests, no view of the store. Most calls go over pooled streams; of the
// rest each has a stream of its own, and some end it in the middle.
func TestSoak(t *testing.T) {
	const pooled = 8
	node := newAccountNode(t)
	p := node.newCitizen(t, "alice")
	server := NewServer(node, Options{Limits: Limits{Rates: Off}})
	d := openDoor(t, server)
	whoami := frameOf(t, whoamiMethod, func(r schemas.Request) {
		params, err := schemas.NewWhoamiParams(r.Segment())
		must(t, err)
		must(t, r.SetParams(params.ToPtr()))
		setAuth(t, params.NewAuth, p.token, nil)
	})
	health := healthFrame(t)
	if got := callOn(t, d.dial(t), whoami); got.code != schemas.Code_ok {
		t.Fatalf("got %s", got.code.ID())
	}
	qc := d.dial(t)
	callOn(t, qc, health)
	goroutines, before := runtime.NumGoroutine(), liveBytes()
	var workers sync.WaitGroup
	for i := range pooled {
		workers.Go(func() { soak(t, qc, [][]byte{health, whoami}, *soakCalls/pooled, i) })
	}
	workers.Wait()
	eventually(t, "all streams are gone", func() bool { s := server.Stats(); return s.Streams == 0 && s.OpenStreams == 0 && s.Running == 0 })
	eventually(t, "all goroutines of streams are gone", func() bool { return runtime.NumGoroutine() <= goroutines })
	s := server.Stats()
	done := uint64(0)
	for _, c := range s.Calls {
		done += c.Count
	}
	grown := liveBytes() - before
	t.Logf("%d calls, %d streams reset in the middle; %d KiB more than before, both ends", done, *soakCalls/100, grown>>10)
	if s.RequestMemory != 0 || done < uint64(*soakCalls) {
		t.Errorf("%d bytes of request memory are reserved after %d calls", s.RequestMemory, done)
	}
	if grown > 8<<20 {
		t.Errorf("%d bytes are held after the calls", grown)
	}
}

// soak makes n calls on one pooled stream, and beside every hundredth one on a
// stream of its own and a half one.
func soak(t *testing.T, qc *quic.Conn, frames [][]byte, n, seed int) {
	pooled, err := qc.OpenStreamSync(t.Context())
	if err != nil {
		t.Error(err)
		return
	}
	var buf []byte
	for i := range n {
		frame := frames[(seed+i)%len(frames)]
		if i%100 == 0 {
			callOn(t, qc, frame)
			half := openStream(t, qc, frame[:len(frame)/2])
			half.CancelRead(9)
			half.CancelWrite(9)
		}
		if _, err := pooled.Write(frame); err != nil {
			t.Error(err)
			return
		}
		if buf, err = schemas.ReadFrame(pooled, schemas.MaxResponse, buf); err != nil {
			t.Error(err)
			return
		}
	}
	if err := pooled.Close(); err != nil {
		t.Error(err)
	}
	if _, err := io.Copy(io.Discard, pooled); err != nil {
		t.Error(err)
	}
}
