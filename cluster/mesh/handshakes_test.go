package mesh

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"

	"quicproquo/crypto/tlsid"
)

// A few handshakes are worked on at a time. On a busy node each place rests for three times
// as long as the handshake took; on one with nothing else to do it does not.
func TestHandshakesGiveWay(t *testing.T) {
	for name, tt := range map[string]struct {
		busy bool
		want time.Duration // for 8 handshakes of 10 ms at 2 places
	}{
		"nothing else to do": {false, 40 * time.Millisecond},
		"busy":               {true, 3*40*time.Millisecond + 10*time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				line := &handshakeLine{places: make(chan struct{}, 2), busy: func() bool { return tt.busy }}
				began := time.Now()
				var all sync.WaitGroup
				for range 8 {
					all.Go(func() {
						ctx, cancel := context.WithCancel(t.Context())
						defer cancel()
						done, err := line.enter(ctx)
						if err != nil {
							t.Error(err)
							return
						}
						time.Sleep(10 * time.Millisecond)
						done()
						done()
					})
				}
				all.Wait()
				if took := time.Since(began); took != tt.want {
					t.Errorf("8 handshakes of 10 ms at 2 places took %v, want %v", took, tt.want)
				}
				time.Sleep(time.Second)
				synctest.Wait()
				if n := len(line.places); n != 0 {
					t.Errorf("%d places are taken in the end", n)
				}
			})
		})
	}
}

// Who has no turn in time is refused; who leaves meanwhile waits no longer; a handshake
// that stops gives its place back.
func TestHandshakesWaitTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		line := &handshakeLine{places: make(chan struct{}, 1), busy: func() bool { return false }}
		first, end := context.WithCancel(t.Context())
		if _, err := line.enter(first); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := line.enter(t.Context()); !errors.Is(err, errNoTurn) || time.Since(began) != maxHandshakeWait {
			t.Errorf("who has no turn: %v after %v, want %v after %v", err, time.Since(began), errNoTurn, maxHandshakeWait)
		}
		gone, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		if _, err := line.enter(gone); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who has gone: %v", err)
		}
		end()
		synctest.Wait()
		if done, err := line.enter(t.Context()); err != nil {
			t.Errorf("after the handshake before has ended: %v", err)
		} else {
			done()
		}
	})
}

// Clients wait in line, with tickets and without; a node does not.
func TestWhoStandsInLine(t *testing.T) {
	w := newNetwork(t, nil, "n1", "n2")
	n1, n2 := w.nodes["n1"], w.nodes["n2"]
	n1.Serve(tlsid.ALPNClient, func(conn *quic.Conn, _ tlsid.PeerID) { <-conn.Context().Done() })
	n1.echo(tlsid.ALPNPeer)
	for range cap(n1.line.places) {
		n1.line.places <- struct{}{}
	}
	if err := callOnce(t.Context(), n2, "n1", tlsid.ALPNPeer); err != nil {
		t.Errorf("a node waits in line: %v", err)
	}
	came := make(chan error, 1)
	go func() {
		conn, err := dialAs(t, n1, clientConfig(t, w), nil)
		if err == nil {
			defer func() { _ = conn.CloseWithError(0, "") }()
		}
		came <- err
	}()
	select {
	case err := <-came:
		t.Errorf("a client does not wait in line (%v)", err)
	case <-time.After(300 * time.Millisecond):
	}
	for range cap(n1.line.places) {
		n1.line.leave()
	}
	if err := <-came; err != nil {
		t.Errorf("a client whose turn has come: %v", err)
	}
}

// A node is busy when its own goroutines wait for a processor.
func TestBusy(t *testing.T) {
	var over atomic.Bool
	var all sync.WaitGroup
	for range 20 * handshakeBusy * runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for !over.Load() {
			}
		})
	}
	waitFor(t, isBusy, func() string { return "goroutines wait for a processor, and the node is not busy" })
	over.Store(true)
	all.Wait()
	waitFor(t, func() bool { return !isBusy() }, func() string { return "nothing is left to do, and the node is busy" })
}
