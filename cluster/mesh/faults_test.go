package mesh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/quic-go/quic-go"

	"quicproquo/crypto/tlsid"
)

// generation is one process's use of a simulated socket that outlives it.
type generation struct {
	net.PacketConn
	over atomic.Bool
}

func (g *generation) Close() error {
	g.over.Store(true)
	return g.SetReadDeadline(time.Now())
}

func (g *generation) ReadFrom(p []byte) (int, net.Addr, error) {
	n, from, err := g.PacketConn.ReadFrom(p)
	if g.over.Load() {
		return 0, nil, net.ErrClosed
	}
	return n, from, err
}

func (g *generation) WriteTo(p []byte, to net.Addr) (int, error) {
	if g.over.Load() {
		return 0, net.ErrClosed
	}
	return g.PacketConn.WriteTo(p, to)
}

// A node that crashed and came back under the same address with the same keys
// tells its peers by stateless reset that their connections are gone, and is
// reached again within a second. With other keys its resets are not believed:
// peers wait for their idle timeout. The clock is fake.
func TestRestartedNode(t *testing.T) {
	for _, tt := range []struct {
		name     string
		sameKeys bool
		within   time.Duration
		notIn    time.Duration
	}{
		{name: "same keys", sameKeys: true, within: time.Second},
		{name: "other keys", within: 2 * peerIdleTimeout, notIn: peerIdleTimeout / 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sockets := simulated(t, "n1", "n2")
				w := newNetwork(t, func(id tlsid.NodeID) net.PacketConn {
					socket := sockets(id)
					if err := socket.SetReadDeadline(time.Time{}); err != nil {
						t.Fatal(err)
					}
					return &generation{PacketConn: socket}
				}, "n1", "n2")
				n1, n2 := w.nodes["n1"], w.nodes["n2"]
				n2.echo(tlsid.ALPNPeer)
				if err := callOnce(t.Context(), n1, "n2", tlsid.ALPNPeer); err != nil {
					t.Fatal(err)
				}
				n2.crash()
				synctest.Wait()
				keys := n2.keys
				if !tt.sameKeys {
					keys = mustKeys(t)
				}
				w.start(t, "n2", keys).echo(tlsid.ALPNPeer)
				began := time.Now()
				for callOnce(t.Context(), n1, "n2", tlsid.ALPNPeer) != nil {
					if time.Since(began) > time.Minute {
						t.Fatal("restarted node not reached within a minute")
					}
				}
				if took := time.Since(began); took > tt.within || took < tt.notIn {
					t.Errorf("restarted node reached after %v, expected between %v and %v", took, tt.notIn, tt.within)
				}
			})
		})
	}
}

// Random and truncated bytes on every ALPN end their own stream at most: no
// panic, and the connection's other streams go on. Raft and memberlist are the
// real ones.
func TestGarbageOnEveryALPN(t *testing.T) {
	w := newNetwork(t, nil, "n1", "n2")
	n1, n2 := w.nodes["n1"], w.nodes["n2"]
	for _, alpn := range []string{tlsid.ALPNPeer, tlsid.ALPNClient, tlsid.ALPNJoin} {
		n1.echo(alpn)
	}
	rafts := startRaft(t, w, []tlsid.NodeID{"n1"})
	defer rafts["n1"].shutdown(t)
	leaderOf(t, rafts)
	list := startGossip(t, n1)
	defer func() {
		if err := list.Shutdown(); err != nil {
			t.Error(err)
		}
	}()
	client, err := dialAs(t, n1, clientConfig(t, w), nil)
	if err != nil {
		t.Fatal(err)
	}
	joining, err := dialAs(t, n1, tlsid.JoinDialConfig(w.authority.Fingerprint(), nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	open := map[string]func() (*Stream, error){
		tlsid.ALPNClient: func() (*Stream, error) { return openOn(t.Context(), client) },
		tlsid.ALPNJoin:   func() (*Stream, error) { return openOn(t.Context(), joining) },
	}
	for _, alpn := range tlsid.NodeALPNs() {
		open[alpn] = func() (*Stream, error) { return n2.OpenStream(t.Context(), "n1", alpn) }
	}
	kept := make(map[string]*Stream)
	for alpn, open := range open {
		if kept[alpn], err = open(); err != nil {
			t.Fatal(err)
		}
		defer kept[alpn].Close()
	}
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // test data
	for i := range 100 {
		for alpn, open := range open {
			s, err := open()
			if err != nil {
				t.Fatalf("stream %d on %s after garbage: %v", i, alpn, err)
			}
			sendGarbage(t, s, garbage(random, i, 1+random.IntN(4000)))
		}
		for _, size := range []int{1, 2, 100, GossipPacket, 3 * GossipPacket} {
			if _, err := n2.GossipTransport().WriteToAddress(garbage(random, i, size), gossipName("n1")); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, alpn := range []string{tlsid.ALPNPeer, tlsid.ALPNClient, tlsid.ALPNJoin} {
		if err := call(kept[alpn], "still here"); err != nil {
			t.Errorf("stream on %s opened before the garbage: %v", alpn, err)
		}
	}
	for _, alpn := range []string{tlsid.ALPNRaft, tlsid.ALPNGossip} {
		if err := context.Cause(kept[alpn].Connection().Context()); err != nil {
			t.Errorf("connection on %s ended: %v", alpn, err)
		}
	}
	if err := rafts["n1"].Raft.Apply(one(), 5*time.Second).Error(); err != nil {
		t.Errorf("raft after garbage: %v", err)
	}
}

func openOn(ctx context.Context, conn *quic.Conn) (*Stream, error) {
	s, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	return NewStream(conn, s), nil
}

// garbage is random bytes behind a first byte that may be a message type.
func garbage(random *rand.Rand, i, size int) []byte {
	data := make([]byte, size)
	for j := range data {
		data[j] = byte(random.Uint32())
	}
	data[0] = byte(i % 8)
	return data
}

func sendGarbage(t *testing.T, s *Stream, data []byte) {
	t.Helper()
	if err := s.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	// The reader may have given up in the middle: that is its right.
	_, _ = s.Write(data)
	_ = s.CloseWrite()
	_, _ = io.Copy(io.Discard, s)
	_ = s.Close()
}

// Streams that end in every possible way are forgotten by both sides: more of
// them than one connection may hold at once go through one connection.
func TestManyStreams(t *testing.T) {
	streams := 100_000
	if testing.Short() {
		streams = 5_000 // still more than peerStreams
	}
	w := newNetwork(t, nil, "n1", "n2")
	n1, n2 := w.nodes["n1"], w.nodes["n2"]
	n1.echo(tlsid.ALPNPeer)
	first, err := n2.OpenStream(t.Context(), "n1", tlsid.ALPNPeer)
	if err != nil {
		t.Fatal(err)
	}
	ends := []func(*Stream) error{
		func(s *Stream) error { return errors.Join(call(s, "read to the end"), s.Close()) },
		func(s *Stream) error { _, err := s.Write([]byte("never read")); return errors.Join(err, s.Close()) },
		func(s *Stream) error { return s.Close() }, // never written: the peer may never see it
		func(s *Stream) error { _, err := s.Write([]byte("aborted")); s.Abort(); return err },
		func(s *Stream) error { return errors.Join(s.CloseWrite(), s.Close()) },
	}
	var workers sync.WaitGroup
	for worker := range 8 {
		workers.Go(func() {
			for i := worker; i < streams; i += 8 {
				s, err := n2.OpenStream(t.Context(), "n1", tlsid.ALPNPeer)
				if err == nil {
					err = ends[i%len(ends)](s)
				}
				if err != nil {
					t.Errorf("stream %d: %v", i, err)
					return
				}
				if s.Connection() != first.Connection() {
					t.Errorf("stream %d runs on another connection", i)
					return
				}
			}
		})
	}
	workers.Wait()
	if err := errors.Join(call(first, "still here"), first.Close()); err != nil {
		t.Error(err)
	}
	n2.mu.Lock()
	defer n2.mu.Unlock()
	if n2.active != 0 {
		t.Errorf("%d streams are counted as open, expected none", n2.active)
	}
}

// A Close during a blocked Write ends the Write, and the peer sees a reset, not
// an end: half a message is never taken for a whole one.
func TestCloseDuringWrite(t *testing.T) {
	w := newNetwork(t, nil, "n1", "n2")
	got := make(chan error, 1)
	release := make(chan struct{})
	w.nodes["n1"].Serve(tlsid.ALPNPeer, func(conn *quic.Conn, _ tlsid.PeerID) {
		s, err := AcceptStream(context.Background(), conn)
		if err != nil {
			got <- err
			return
		}
		defer s.Close()
		<-release // the window is full by now
		_, err = io.Copy(io.Discard, s)
		got <- err
	})
	s, err := w.nodes["n2"].OpenStream(t.Context(), "n1", tlsid.ALPNPeer)
	if err != nil {
		t.Fatal(err)
	}
	wrote := make(chan error, 1)
	go func() {
		_, err := s.Write(make([]byte, 2*peerConnectionWindowMax))
		wrote <- err
	}()
	for s.writing.TryLock() { // until the Write holds it
		s.writing.Unlock()
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-wrote; err == nil {
		t.Error("write went through on a closed stream")
	}
	close(release)
	var reset *quic.StreamError
	if err := <-got; !errors.As(err, &reset) || reset.ErrorCode != streamAborted {
		t.Errorf("reader's stream ended with %v, expected a reset", err)
	}
}

// Closing the raft layer ends raft's streams on both sides and nothing else.
func TestRaftLayerClose(t *testing.T) {
	w := newNetwork(t, nil, "n1", "n2")
	n1, n2 := w.nodes["n1"], w.nodes["n2"]
	n1.echo(tlsid.ALPNPeer)
	dialed, err := n2.RaftLayer().Dial("n1", 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dialed.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	accepted, err := n1.RaftLayer().Accept()
	if err != nil {
		t.Fatal(err)
	}
	if err := n1.RaftLayer().Close(); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]net.Conn{"accepted": accepted, "dialed": dialed} {
		if _, err := io.Copy(io.Discard, s); name == "accepted" && err == nil {
			t.Errorf("%s stream ended without error", name)
		}
	}
	if _, err := n1.RaftLayer().Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept on a closed layer: %v, expected net.ErrClosed", err)
	}
	if _, err := n1.RaftLayer().Dial("n2", time.Second); err == nil {
		t.Error("dial on a closed layer went through")
	}
	if err := callOnce(t.Context(), n2, "n1", tlsid.ALPNPeer); err != nil {
		t.Errorf("other ALPN: %v", err)
	}
}

// WriteToAddress never waits: with nobody there it queues, and drops the oldest.
func TestGossipNeverBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork(t, simulated(t, "n1"), "n1")
		w.setMember("n2", true)
		w.address["n2"] = "10.0.0.2:4433" // nobody is there
		transport := w.nodes["n1"].GossipTransport()
		began := time.Now()
		for i := range 10 * gossipQueue {
			if _, err := transport.WriteToAddress(fmt.Appendf(nil, "%d", i), gossipName("n2")); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("writing took %v of fake time, expected none", took)
		}
		sender := w.nodes["n1"].gossip.senders["n2"]
		queue := sender.pop()
		if len(queue) > gossipQueue || !bytes.Equal(queue[len(queue)-1], fmt.Appendf(nil, "%d", 10*gossipQueue-1)) {
			t.Errorf("queue holds %d packets up to %q, expected at most %d up to the youngest", len(queue), queue[len(queue)-1], gossipQueue)
		}
		if err := transport.Shutdown(); err != nil {
			t.Error(err)
		}
		if _, err := transport.WriteToAddress(nil, gossipName("n3")); err == nil {
			t.Error("gossip goes on after Shutdown")
		}
	})
}

// The wrapper of raft's transport keeps what raft looks for in it.
var (
	_ raft.Transport   = slowHeartbeat{}
	_ raft.WithPreVote = slowHeartbeat{}
	_ raft.WithClose   = slowHeartbeat{}
)
