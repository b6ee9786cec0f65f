package mesh

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"quicproquo/crypto/tlsid"
)

// Three nodes, a client and a joining node talk on every ALPN.
func TestEveryALPN(t *testing.T) {
	ids := []tlsid.NodeID{"n1", "n2", "n3"}
	w := newNetwork(t, nil, ids...)
	for _, n := range w.nodes {
		for _, alpn := range []string{tlsid.ALPNPeer, tlsid.ALPNClient, tlsid.ALPNJoin} {
			n.echo(alpn)
		}
	}
	for _, from := range ids {
		for _, to := range ids {
			if from == to {
				continue
			}
			if err := callOnce(t.Context(), w.nodes[from], to, tlsid.ALPNPeer); err != nil {
				t.Errorf("%s calls %s: %v", from, to, err)
			}
			raftExchange(t, w.nodes[from], w.nodes[to])
			gossipExchange(t, w.nodes[from], w.nodes[to])
		}
	}
	for name, config := range map[string]*tls.Config{
		"client":  clientConfig(t, w),
		"joining": tlsid.JoinDialConfig(w.authority.Fingerprint(), nil),
	} {
		conn, err := dialAs(t, w.nodes["n1"], config, nil)
		if err != nil {
			t.Fatalf("%s dials: %v", name, err)
		}
		s, err := conn.OpenStream()
		if err != nil {
			t.Fatal(err)
		}
		if err := call(NewStream(conn, s), name); err != nil {
			t.Errorf("%s calls: %v", name, err)
		}
	}
}

func raftExchange(t *testing.T, from, to *node) {
	t.Helper()
	if got := from.RaftLayer().Addr().String(); got != string(from.id) {
		t.Fatalf("raft address of %s is %q, expected its id", from.id, got)
	}
	dialed, err := from.RaftLayer().Dial(raftAddress(to.id), 5*time.Second)
	if err != nil {
		t.Fatalf("%s dials raft of %s: %v", from.id, to.id, err)
	}
	defer dialed.Close()
	if _, err := io.WriteString(dialed, "raft"); err != nil {
		t.Fatal(err)
	}
	accepted, err := to.RaftLayer().Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	if got := accepted.RemoteAddr().String(); got != string(from.id) {
		t.Fatalf("raft stream is from %q, expected %s", got, from.id)
	}
	message := make([]byte, 4)
	if _, err := io.ReadFull(accepted, message); err != nil || string(message) != "raft" {
		t.Fatalf("raft stream carries %q (%v)", message, err)
	}
}

// A small packet goes as a datagram, one that does not fit as a stream; a
// stream for push and pull is a stream.
func gossipExchange(t *testing.T, from, to *node) {
	t.Helper()
	sender, receiver := from.GossipTransport(), to.GossipTransport()
	address := gossipName(to.id)
	for _, size := range []int{10, GossipPacket, 4 * GossipPacket, maxGossipPacket} {
		packet := make([]byte, size)
		packet[size-1] = 7
		if _, err := sender.WriteToAddress(packet, address); err != nil {
			t.Fatal(err)
		}
		packet[size-1] = 0 // the transport keeps a copy
		select {
		case got := <-receiver.PacketCh():
			if len(got.Buf) != size || got.Buf[size-1] != 7 || got.From.String() != string(from.id) {
				t.Fatalf("packet of %d bytes ending in %d from %v, expected %d bytes ending in 7 from %s",
					len(got.Buf), got.Buf[len(got.Buf)-1], got.From, size, from.id)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("packet of %d bytes from %s did not reach %s", size, from.id, to.id)
		}
	}
	stream, err := sender.DialAddressTimeout(address, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if _, err := io.WriteString(stream, "push"); err != nil {
		t.Fatal(err)
	}
	accepted := <-receiver.StreamCh()
	defer accepted.Close()
	message := make([]byte, 4)
	if _, err := io.ReadFull(accepted, message); err != nil || string(message) != "push" {
		t.Fatalf("gossip stream carries %q (%v)", message, err)
	}
}

// A node that nobody knew gets the guests' limits once, and a node's after it
// proved itself: datagrams tell the two apart.
func TestNodeGetsItsOwnLimits(t *testing.T) {
	w := newNetwork(t, nil, "n1", "n2")
	w.nodes["n1"].echo(tlsid.ALPNPeer)
	s, err := w.nodes["n2"].OpenStream(t.Context(), "n1", tlsid.ALPNPeer)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if !supportsDatagrams(s.Connection()) {
		t.Error("first stream runs on a guest's connection, expected a second dial")
	}
	if err := call(s, "hello"); err != nil {
		t.Error(err)
	}
}

// A node whose address changes with every dial keeps the guests' limits, and
// everything works: gossip packets come as streams.
func TestNodeBehindTranslator(t *testing.T) {
	w := newNetwork(t, nil, "n1", "n2")
	n1 := w.nodes["n1"]
	for range dialAgainLimit {
		if !n1.admission.shouldDialAgain("n2", time.Now()) {
			t.Fatal("told to dial again too seldom")
		}
	}
	if err := callGossip(t, w.nodes["n2"], n1); err != nil {
		t.Fatal(err)
	}
	conn, err := w.nodes["n2"].connection(t.Context(), "n1", tlsid.ALPNGossip)
	if err != nil {
		t.Fatal(err)
	}
	if supportsDatagrams(conn) {
		t.Error("connection has a node's limits, the test means one with a guest's")
	}
}

func callGossip(t *testing.T, from, to *node) error {
	t.Helper()
	if _, err := from.GossipTransport().WriteToAddress([]byte("news"), gossipName(to.id)); err != nil {
		return err
	}
	select {
	case <-to.GossipTransport().PacketCh():
		return nil
	case <-time.After(10 * time.Second):
		return errors.New("packet did not arrive")
	}
}

// Close lets a call in progress end, refuses new ones, and joins everything.
func TestCloseDrains(t *testing.T) {
	w := newNetwork(t, nil, "n1", "n2")
	n1, n2 := w.nodes["n1"], w.nodes["n2"]
	answer := slices.Repeat([]byte("answer"), 100_000)
	got, proceed := make(chan struct{}), make(chan struct{})
	n1.Serve(tlsid.ALPNPeer, func(conn *quic.Conn, _ tlsid.PeerID) {
		s, err := AcceptStream(context.Background(), conn)
		if err != nil {
			t.Error(err)
			return
		}
		close(got)
		<-n1.Closing()
		<-proceed
		if _, err := s.Write(answer); err != nil {
			t.Error(err)
		}
		_ = s.Close()
	})
	s, err := n2.OpenStream(t.Context(), "n1", tlsid.ALPNPeer)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Write([]byte("call")); err != nil {
		t.Fatal(err)
	}
	<-got
	closed := make(chan error)
	go func() { closed <- n1.Close(context.Background()) }()
	<-n1.Closing()
	if _, err := n1.OpenStream(t.Context(), "n2", tlsid.ALPNPeer); !errors.Is(err, ErrClosed) {
		t.Errorf("stream on a closing endpoint: %v, expected ErrClosed", err)
	}
	close(proceed)
	if all, err := io.ReadAll(s); err != nil || len(all) != len(answer) {
		t.Errorf("answer has %d bytes (%v), expected %d", len(all), err, len(answer))
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if err := n1.Close(t.Context()); err != nil {
		t.Errorf("second close: %v", err)
	}
}

// Options that cannot work are refused with the field's name.
func TestOptions(t *testing.T) {
	w := newNetwork(t, nil, "n1")
	conn := listenUDP(t, "127.0.0.1:0")
	defer conn.Close()
	good := Options{Conn: conn, Identity: w.identity(t, "n9"), Keys: mustKeys(t), Member: w.isMember, Resolve: w.resolve}
	for name, change := range map[string]func(*Options){
		"no connection": func(o *Options) { o.Conn = nil },
		"no identity":   func(o *Options) { o.Identity = nil },
		"no keys":       func(o *Options) { o.Keys = Keys{} },
		"no member":     func(o *Options) { o.Member = nil },
		"no resolve":    func(o *Options) { o.Resolve = nil },
		"negative":      func(o *Options) { o.MaxClients = -1 },
	} {
		bad := good
		change(&bad)
		if e, err := Open(bad); err == nil {
			t.Errorf("%s: opened", name)
			_ = e.Close(t.Context())
		}
	}
	if _, err := w.nodes["n1"].OpenStream(t.Context(), "n2", tlsid.ALPNPeer); !errors.Is(err, ErrNotMember) {
		t.Errorf("stream to a stranger: %v, expected ErrNotMember", err)
	}
	w.setMember("n2", true)
	if _, err := w.nodes["n1"].OpenStream(t.Context(), "n2", tlsid.ALPNPeer); !errors.Is(err, ErrUnknownNode) {
		t.Errorf("stream to a node without address: %v, expected ErrUnknownNode", err)
	}
}
