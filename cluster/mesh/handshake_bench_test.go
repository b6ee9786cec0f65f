package mesh

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"quicproquo/crypto/tlsid"
)

// BenchmarkHandshakes compares the handshakes a second of clients with a node's endpoint
// and with bare quic-go that has the same certificates, key exchange and tickets, in turns.
// ratio is ours over the bare one's. whole: each client is new; resumed: each comes back.
func BenchmarkHandshakes(b *testing.B) {
	for name, resumed := range map[string]bool{"whole": false, "resumed": true} {
		b.Run(name, func(b *testing.B) {
			w := newNetwork(b, nil, "n1")
			n := w.nodes["n1"]
			n.Serve(tlsid.ALPNClient, func(conn *quic.Conn, _ tlsid.PeerID) { <-conn.Context().Done() })
			var spent [2]time.Duration
			targets := [2]net.Addr{n.Addr(), bareListener(b, n)}
			for round := 0; b.Loop(); round++ {
				for i := range targets {
					side := (i + round) % 2
					spent[side] += manyHandshakes(b, w, targets[side], resumed)
				}
			}
			b.ReportMetric(float64(b.N*handshakesInTurn)/spent[0].Seconds(), "handshakes/s")
			b.ReportMetric(spent[1].Seconds()/spent[0].Seconds(), "ratio")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// handshakesInTurn is how many handshakes one side makes before the other has its turn.
const handshakesInTurn = 256

// bareListener accepts connections as quic-go does by itself, with a node's certificates.
func bareListener(b *testing.B, n *node) net.Addr {
	b.Helper()
	shown, err := tlsid.ServerConfig(n.options.Identity, tlsid.ServerOptions{}).
		GetConfigForClient(&tls.ClientHelloInfo{SupportedProtos: []string{tlsid.ALPNClient}})
	if err != nil {
		b.Fatal(err)
	}
	certificate, err := shown.GetCertificate(&tls.ClientHelloInfo{})
	if err != nil {
		b.Fatal(err)
	}
	socket := listenUDP(b, "127.0.0.1:0")
	transport := &quic.Transport{Conn: socket, ConnectionIDLength: connectionIDLen}
	listener, err := transport.Listen(&tls.Config{
		Certificates: []tls.Certificate{*certificate}, NextProtos: []string{tlsid.ALPNClient},
		MinVersion: tls.VersionTLS13, CurvePreferences: shown.CurvePreferences,
	}, &quic.Config{MaxIdleTimeout: guestIdleTimeout})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = listener.Close()
		_ = transport.Close()
		_ = socket.Close()
	})
	go func() {
		for {
			if _, err := listener.Accept(context.Background()); err != nil {
				return
			}
		}
	}()
	return socket.LocalAddr()
}

// manyHandshakes is how long a turn takes, 32 clients at a time.
func manyHandshakes(b *testing.B, w *network, to net.Addr, resumed bool) time.Duration {
	b.Helper()
	var dialers sync.WaitGroup
	transports := make([]*quic.Transport, 32)
	configs := make([]*tls.Config, len(transports))
	for i := range transports {
		transports[i] = &quic.Transport{Conn: listenUDP(b, "127.0.0.1:0")}
		configs[i] = clientConfig(b, w)
		if resumed {
			configs[i].ClientSessionCache = tls.NewLRUClientSessionCache(1)
			oneHandshake(b, transports[i], configs[i], to)
		}
	}
	began := time.Now()
	for i, transport := range transports {
		dialers.Go(func() {
			for range handshakesInTurn / len(transports) {
				oneHandshake(b, transport, configs[i], to)
			}
		})
	}
	dialers.Wait()
	took := time.Since(began)
	for _, transport := range transports {
		_ = transport.Close()
		_ = transport.Conn.Close()
	}
	return took
}

// oneHandshake connects, waits for the node's ticket if there is to be one, and leaves.
func oneHandshake(b *testing.B, transport *quic.Transport, config *tls.Config, to net.Addr) {
	conn, err := transport.Dial(b.Context(), to, config, &quic.Config{HandshakeIdleTimeout: 10 * time.Second})
	if err != nil {
		b.Error(err)
		return
	}
	if config.ClientSessionCache != nil {
		<-conn.HandshakeComplete()
		for range 100 {
			if ticket, ok := config.ClientSessionCache.Get(config.ServerName); ok && ticket != nil {
				break
			}
			time.Sleep(time.Millisecond / 10)
		}
	}
	_ = conn.CloseWithError(0, "")
}
