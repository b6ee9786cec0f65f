package mesh

import (
	"context"
	"crypto/x509"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"quicproquo/crypto/tlsid"
)

// judge is a Trust that a test can change.
type judge struct {
	mu      sync.Mutex
	refused map[[32]byte]error
}

func (j *judge) trust(_ tlsid.NodeID, leaf *x509.Certificate) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.refused[tlsid.Fingerprint(leaf)]
}

func (j *judge) refuse(leaf *x509.Certificate, why error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.refused[tlsid.Fingerprint(leaf)] = why
}

// A node whose key is not the member's, or is denied, is refused on every ALPN between nodes
// and in both directions, its connections are closed, and it reads why. Others go on.
func TestUntrustedKeys(t *testing.T) {
	for _, tt := range []struct {
		why  error
		code quic.ApplicationErrorCode
	}{{ErrOtherKey, codeOtherKey}, {ErrDenied, codeDenied}} {
		t.Run(tt.why.Error(), func(t *testing.T) {
			w := newNetwork(t, nil)
			judges := &judge{refused: map[[32]byte]error{}}
			for _, id := range []tlsid.NodeID{"n1", "n2", "n3"} {
				w.setMember(id, true)
				w.change = nil
				if id == "n1" {
					w.change = func(o *Options) { o.Trust = judges.trust }
				}
				w.start(t, id, mustKeys(t)).echo(tlsid.ALPNPeer)
			}
			n1, n2, n3 := w.nodes["n1"], w.nodes["n2"], w.nodes["n3"]
			streams := map[string]*Stream{}
			for name, pair := range map[string][2]*node{"inwards": {n3, n1}, "outwards": {n1, n3}, "others": {n2, n1}} {
				s, err := pair[0].OpenStream(t.Context(), pair[1].id, tlsid.ALPNPeer)
				if err == nil {
					err = call(s, "before")
				}
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				streams[name] = s
			}
			if ids := n1.Distrust(); len(ids) != 0 {
				t.Fatalf("connections with %v were closed, all are trusted", ids)
			}
			judges.refuse(n3.options.Identity.Leaf(), tt.why)
			if ids := n1.Distrust(); !slices.Equal(ids, []tlsid.NodeID{"n3"}) {
				t.Errorf("connections with %v were closed, want n3's", ids)
			}
			for _, name := range []string{"inwards", "outwards"} {
				ended(t, streams[name].Connection())
				if code, ok := closeCode(streams[name].Connection()); !ok || code != tt.code {
					t.Errorf("%s: ended with %v, want code %d", name, context.Cause(streams[name].Connection().Context()), tt.code)
				}
			}
			if err := call(streams["others"], "after"); err != nil {
				t.Errorf("another node's stream: %v", err)
			}
			if why := Refusal(context.Cause(streams["inwards"].Connection().Context())); !errors.Is(why, tt.why) {
				t.Errorf("the node that is refused reads %v, want %v", why, tt.why)
			}
			for _, alpn := range tlsid.NodeALPNs() {
				if _, err := n1.OpenStream(t.Context(), "n3", alpn); !errors.Is(err, tt.why) {
					t.Errorf("dial on %s: %v, want %v", alpn, err, tt.why)
				}
				config, err := tlsid.NodeDialConfig(n3.options.Identity, "n1", alpn, nil)
				if err != nil {
					t.Fatal(err)
				}
				conn, err := dialAs(t, n1, config, nil)
				if err != nil {
					t.Fatal(err)
				}
				ended(t, conn)
				if code, ok := closeCode(conn); !ok || code != tt.code {
					t.Errorf("call on %s: ended with %v, want code %d", alpn, context.Cause(conn.Context()), tt.code)
				}
			}
		})
	}
}

// What was being dialed when a key was denied is closed when it is there.
func TestADialDuringADenialEnds(t *testing.T) {
	w := newNetwork(t, nil)
	judges := &judge{refused: map[[32]byte]error{}}
	w.setMember("n1", true)
	w.setMember("n2", true)
	w.start(t, "n2", mustKeys(t)).echo(tlsid.ALPNPeer)
	var asked atomic.Int32
	var armed atomic.Bool
	w.change = func(o *Options) {
		o.Trust = func(id tlsid.NodeID, leaf *x509.Certificate) error {
			if !armed.Load() {
				return nil
			}
			asked.Add(1)
			err := judges.trust(id, leaf)
			judges.refuse(leaf, ErrDenied) // right behind the handshake's question
			return err
		}
	}
	n1 := w.start(t, "n1", mustKeys(t))
	known, err := n1.OpenStream(t.Context(), "n2", tlsid.ALPNGossip) // so that n2 does not have it dial again
	if err != nil {
		t.Fatal(err)
	}
	defer known.Close()
	armed.Store(true)
	s, err := n1.OpenStream(t.Context(), "n2", tlsid.ALPNPeer)
	if err == nil {
		ended(t, s.Connection())
		s.Close()
	}
	if asked.Load() < 2 || n1.Certificate("n2") != nil {
		t.Errorf("asked %d times, the connection is kept: %v", asked.Load(), n1.Certificate("n2") != nil)
	}
}

// ended awaits that a connection is closed.
func ended(t *testing.T, conn *quic.Conn) {
	t.Helper()
	select {
	case <-conn.Context().Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the connection stays open")
	}
}
