package mesh

import (
	"context"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"quicproquo/crypto/tlsid"
)

// deafConn hears nothing but, perhaps, Retry packets: a client behind it sends
// its hello again and again and never goes on. One that hears no Retry either is
// as one with a forged address.
type deafConn struct {
	net.PacketConn
	hearsRetry bool
}

func (c deafConn) ReadFrom(buf []byte) (int, net.Addr, error) {
	for {
		n, from, err := c.PacketConn.ReadFrom(buf)
		// Long header, type Retry, of version 1 (RFC 9000 §17.2.5).
		if err != nil || c.hearsRetry && n > 0 && buf[0]&0xf0 == 0xf0 {
			return n, from, err
		}
	}
}

// stallHandshakes begins handshakes from an address that never end, and returns
// how to give them up.
func stallHandshakes(t *testing.T, to net.Addr, address string, count int, hearsRetry bool) (stop func()) {
	t.Helper()
	w := newNetwork(t, nil)
	config := clientConfig(t, w)
	ctx, cancel := context.WithCancel(t.Context())
	var dials sync.WaitGroup
	for range count {
		socket := listenUDP(t, address+":0")
		transport := &quic.Transport{Conn: deafConn{socket, hearsRetry}}
		dials.Go(func() {
			if _, err := transport.Dial(ctx, to, config, &quic.Config{HandshakeIdleTimeout: time.Minute}); err == nil {
				t.Error("a deaf client finished its handshake")
			}
			_ = transport.Close()
			_ = socket.Close()
		})
	}
	return sync.OnceFunc(func() { cancel(); dials.Wait() })
}

// Clients that begin a handshake and never end it hold a bounded number of
// places: with forged addresses a quarter, from one true address its share. Others
// get in all the time, and the places come back.
func TestStalledHandshakesAreBounded(t *testing.T) {
	const most, perAddress = 64, 24
	for _, c := range []struct {
		name       string
		addresses  []string
		hearsRetry bool
		want       int
	}{
		{"forged address", []string{"127.0.0.2"}, false, proofAfter},
		{"forged addresses", []string{"127.0.0.2", "127.0.0.3", "127.0.0.4"}, false, most / proofShare},
		{"true address", []string{"127.0.0.2"}, true, perAddress},
		{"true addresses", []string{"127.0.0.2", "127.0.0.3", "127.0.0.4"}, true, most},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newNetwork(t, nil)
			w.change = func(o *Options) { o.MaxHandshakes, o.MaxHandshakesPerAddress = most, perAddress }
			w.setMember("n1", true)
			n1 := w.start(t, "n1", mustKeys(t))
			n1.echo(tlsid.ALPNClient)
			comesIn := func() {
				t.Helper()
				if _, err := dialAs(t, n1, clientConfig(t, w), nil); err != nil {
					t.Errorf("an honest client is kept out: %v", err)
				}
			}
			before := heap()
			var stops []func()
			for _, address := range c.addresses {
				stops = append(stops, stallHandshakes(t, n1.Addr(), address, 40, c.hearsRetry))
			}
			waitFor(t, func() bool { return n1.Stats().Handshakes >= c.want-1 && (!c.hearsRetry || n1.Stats().Refused > 0) },
				func() string { return "the handshakes do not pile up: the test proves nothing" })
			if s := n1.Stats(); s.Handshakes > c.want {
				t.Errorf("%d handshakes are under way, want at most %d: %+v", s.Handshakes, c.want, s)
			}
			t.Logf("%d handshakes under way hold about %d KiB on both sides", n1.Stats().Handshakes, (heap()-before)>>10)
			full := c.want == most
			if !full {
				comesIn()
			}
			for _, stop := range stops {
				stop()
			}
			if full { // which takes the handshake's time-out
				waitFor(t, func() bool { return n1.Stats().Handshakes == 0 }, func() string { return "the places do not come back" })
				comesIn()
			}
			if s := n1.Stats(); s.Retried == 0 || s.Clients > c.want+1 {
				t.Errorf("what is counted does not fit: %+v", s)
			}
		})
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// When many guests are there, a further one pins less.
func TestCrowdGetsSmallWindows(t *testing.T) {
	w := newNetwork(t, nil)
	w.change = func(o *Options) { o.MaxClients = crowdShare }
	w.setMember("n1", true)
	n1 := w.start(t, "n1", mustKeys(t))
	n1.Serve(tlsid.ALPNClient, func(conn *quic.Conn, _ tlsid.PeerID) { <-conn.Context().Done() })
	for i, want := range []int{guestConnectionWindow, crowdConnectionWindow} {
		conn, err := dialAs(t, n1, clientConfig(t, w), nil)
		if err != nil {
			t.Fatal(err)
		}
		sent := 0
		for range 8 {
			s, err := conn.OpenStream()
			if err != nil {
				t.Fatal(err)
			}
			if err := s.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			n, _ := s.Write(make([]byte, 2*guestStreamWindow)) // times out
			sent += n
		}
		// quic-go's Write counts up to a packet per stream that waits to be sent.
		if sent < want || sent > want+8*1500 {
			t.Errorf("client %d sent %d bytes that nobody reads, want %d", i, sent, want)
		}
	}
}
