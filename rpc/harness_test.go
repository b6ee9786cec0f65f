package rpc

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"capnproto.org/go/capnp/v3"
	"github.com/quic-go/quic-go"
	"go.uber.org/goleak"

	client "quicproquo/client/conn"
	"quicproquo/crypto/tlsid"
	"quicproquo/fsm"
	"quicproquo/schemas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeNode is a node whose index moves when the test says so, which a real one
// does not do on command. mu guards index and changed.
type fakeNode struct {
	linearize func(context.Context) error // nil: at once

	mu      sync.Mutex
	index   uint64
	changed chan struct{}
}

func newFakeNode(index uint64) *fakeNode {
	return &fakeNode{index: index, changed: make(chan struct{})}
}

func (n *fakeNode) Index() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.index
}

func (n *fakeNode) apply(index uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.index = index
	close(n.changed)
	n.changed = make(chan struct{})
}

func (n *fakeNode) WaitSeen(ctx context.Context, index uint64) error {
	for {
		n.mu.Lock()
		have, changed := n.index, n.changed
		n.mu.Unlock()
		if have >= index {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (n *fakeNode) Linearize(ctx context.Context) error {
	if n.linearize == nil {
		return nil
	}
	return n.linearize(ctx)
}

// A fake node has no store.
func (n *fakeNode) View() (*fsm.View, error)     { return nil, fsm.ErrClosed }
func (n *fakeNode) Watch(fsm.QueueID) *fsm.Watch { panic("a fake node has no queues") }
func (n *fakeNode) WatchDevice(fsm.AccountKey, fsm.DeviceID) *fsm.Watch {
	panic("a fake node has no queues")
}

func (n *fakeNode) Propose(context.Context, []byte) (uint64, fsm.Result, error) {
	return 0, fsm.Result{}, fsm.ErrClosed
}

func (n *fakeNode) Health() Health {
	return Health{NodeID: "n1", State: StateOK, Leader: true, FeatureLevel: schemas.FeatureLevel}
}

// authority is a cluster of one test.
type authority struct {
	identity *tlsid.Identity
}

func newAuthority(tb testing.TB) authority {
	tb.Helper()
	now := time.Now()
	ca, err := tlsid.NewAuthority(tlsid.NewClusterID(), now)
	if err != nil {
		tb.Fatal(err)
	}
	identity, err := tlsid.NewIdentity(ca, "n1", []string{"127.0.0.1"}, now)
	if err != nil {
		tb.Fatal(err)
	}
	return authority{identity}
}

// door is a server behind a real QUIC endpoint on loopback.
type door struct {
	authority
	server  *Server // nil for an echo
	address string
	once    sync.Once
	tasks   sync.WaitGroup
}

func openDoor(tb testing.TB, server *Server) *door {
	tb.Helper()
	d := listen(tb, func(qc *quic.Conn) { server.Serve(qc, tlsid.PeerID{}) })
	d.server = server
	tb.Cleanup(func() { d.close(tb, time.Second) })
	return d
}

// openEcho serves streams without the door.
func openEcho(tb testing.TB, serve func(*quic.Stream)) *quic.Conn {
	tb.Helper()
	var streams sync.WaitGroup
	return listen(tb, func(qc *quic.Conn) {
		defer streams.Wait()
		for {
			s, err := qc.AcceptStream(qc.Context())
			if err != nil {
				return
			}
			streams.Go(func() { serve(s) })
		}
	}).dial(tb)
}

// listen hands the connections of a QUIC endpoint to serve.
func listen(tb testing.TB, serve func(*quic.Conn)) *door {
	tb.Helper()
	a := newAuthority(tb)
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	transport := &quic.Transport{Conn: conn}
	listener, err := transport.Listen(tlsid.ServerConfig(a.identity, tlsid.ServerOptions{}), &quic.Config{
		MaxIncomingStreams: 4096, InitialStreamReceiveWindow: 64 << 10, MaxStreamReceiveWindow: 1 << 20,
		InitialConnectionReceiveWindow: 128 << 10, MaxConnectionReceiveWindow: 2 << 20,
	})
	if err != nil {
		tb.Fatal(err)
	}
	d := &door{authority: a, address: conn.LocalAddr().String()}
	d.tasks.Go(func() {
		for {
			qc, err := listener.Accept(context.Background())
			if err != nil {
				return
			}
			d.tasks.Go(func() { serve(qc) })
		}
	})
	tb.Cleanup(func() {
		if err := errors.Join(listener.Close(), transport.Close(), conn.Close()); err != nil {
			tb.Errorf("close endpoint: %v", err)
		}
		d.tasks.Wait()
	})
	return d
}

// close drains the server as a node that stops does.
func (d *door) close(tb testing.TB, patience time.Duration) {
	tb.Helper()
	d.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := d.server.Close(ctx); err != nil {
			tb.Errorf("close server: %v", err)
		}
	})
}

// dial opens a bare QUIC connection, for clients that do not follow the rules.
func (d *door) dial(tb testing.TB) *quic.Conn {
	tb.Helper()
	config, err := tlsid.ClientDialConfig(d.identity.AuthoritiesPEM(), nil)
	if err != nil {
		tb.Fatal(err)
	}
	qc, err := quic.DialAddr(tb.Context(), d.address, config, &quic.Config{KeepAlivePeriod: 5 * time.Second})
	if err != nil {
		tb.Fatalf("dial: %v", err)
	}
	tb.Cleanup(func() { _ = qc.CloseWithError(0, "") })
	return qc
}

// client opens the real client library.
func (d *door) client(tb testing.TB) *client.Conn {
	tb.Helper()
	config, err := tlsid.ClientDialConfig(d.identity.AuthoritiesPEM(), nil)
	if err != nil {
		tb.Fatal(err)
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	c, err := client.Dial(client.Options{Endpoints: []string{d.address}, TLS: config, PacketConn: conn})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := c.Close(); err != nil {
			tb.Errorf("close client: %v", err)
		}
	})
	return c
}

// frameOf returns a framed request; edit may be nil.
func frameOf(tb testing.TB, method uint16, edit func(schemas.Request)) []byte {
	tb.Helper()
	msg, seg := schemas.NewMessage()
	request, err := schemas.NewRootRequest(seg)
	if err != nil {
		tb.Fatal(err)
	}
	request.SetMethod(method)
	if edit != nil {
		edit(request)
	}
	frame, err := msg.Marshal()
	if err != nil {
		tb.Fatal(err)
	}
	return frame
}

// answer is a response in plain Go.
type answer struct {
	index   uint64
	code    schemas.Code
	message string
	value   uint64
	after   uint32
	status  string // of health
}

func readAnswer(tb testing.TB, r io.Reader) (answer, error) {
	tb.Helper()
	frame, err := schemas.ReadFrame(r, schemas.MaxResponse, nil)
	if err != nil {
		return answer{}, err
	}
	return parseAnswer(tb, frame), nil
}

func parseAnswer(tb testing.TB, frame []byte) answer {
	tb.Helper()
	msg, err := schemas.Unmarshal(frame)
	if err != nil {
		tb.Fatalf("response: %v", err)
	}
	response, err := schemas.ReadRootResponse(msg)
	if err != nil {
		tb.Fatalf("response: %v", err)
	}
	a := answer{index: response.Index()}
	if response.Which() == schemas.Response_Which_error {
		failure, err := response.Error()
		if err != nil {
			tb.Fatalf("failure: %v", err)
		}
		a.code, a.value, a.after = failure.Code(), failure.Value(), failure.RetryAfterMs()
		if a.message, err = failure.Message_(); err != nil {
			tb.Fatalf("failure: %v", err)
		}
		return a
	}
	ptr, err := response.Results()
	if err != nil {
		tb.Fatalf("results: %v", err)
	}
	if a.status, err = schemas.HealthResults(ptr.Struct()).Status(); err != nil {
		tb.Fatalf("results: %v", err)
	}
	return a
}

// openStream opens a stream and sends bytes.
func openStream(tb testing.TB, qc *quic.Conn, send []byte) *quic.Stream {
	tb.Helper()
	s, err := qc.OpenStreamSync(tb.Context())
	if err != nil {
		tb.Fatalf("open stream: %v", err)
	}
	if err := s.SetDeadline(time.Now().Add(testPatience)); err != nil {
		tb.Fatal(err)
	}
	if _, err := s.Write(send); err != nil {
		tb.Fatalf("write: %v", err)
	}
	return s
}

// callOn makes one call on a stream of its own.
func callOn(tb testing.TB, qc *quic.Conn, request []byte) answer {
	tb.Helper()
	s := openStream(tb, qc, request)
	if err := s.Close(); err != nil {
		tb.Fatal(err)
	}
	a, err := readAnswer(tb, s)
	if err != nil {
		tb.Fatalf("read response: %v", err)
	}
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		tb.Errorf("after the last response: got %v, want the end of the stream", err)
	}
	return a
}

// testPatience fails a test that would hang.
const testPatience = 20 * time.Second

// head returns the first word of a frame of one segment of so many bytes.
func head(size int) []byte {
	return binary.LittleEndian.AppendUint32(make([]byte, 4, 8), uint32(size/8))
}

const healthMethod = 5

func healthFrame(tb testing.TB) []byte { tb.Helper(); return frameOf(tb, healthMethod, nil) }

func paramsOf(tb testing.TB, r schemas.Request, data []byte) {
	tb.Helper()
	list, err := capnp.NewData(r.Segment(), data)
	if err != nil {
		tb.Fatal(err)
	}
	if err := r.SetParams(list.ToPtr()); err != nil {
		tb.Fatal(err)
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
