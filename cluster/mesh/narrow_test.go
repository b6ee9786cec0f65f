package mesh

import (
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"quicproquo/crypto/tlsid"
)

// narrowSocket is a real socket on a path that loses longer datagrams without a word.
type narrowSocket struct {
	net.PacketConn
	udp     *net.UDPConn
	largest int          // that passes, in bytes
	longest atomic.Int64 // that was sent and passed, in bytes
}

func (s *narrowSocket) WriteTo(p []byte, to net.Addr) (int, error) {
	if len(p) > s.largest {
		return len(p), nil
	}
	for have := s.longest.Load(); int64(len(p)) > have && !s.longest.CompareAndSwap(have, int64(len(p))); {
		have = s.longest.Load()
	}
	return s.PacketConn.WriteTo(p, to)
}

// SyscallConn lets quic-go forbid fragments, without which it does not look for more room.
func (s *narrowSocket) SyscallConn() (syscall.RawConn, error) { return s.udp.SyscallConn() }

// Nodes reach each other on every ALPN, and clients a node, over paths of 1,280 bytes of
// IP (1,252 of UDP payload over IPv4) that are so from the first packet on. Where a path
// takes more, packets grow.
func TestNarrowPaths(t *testing.T) {
	for _, path := range []struct {
		name    string
		largest int
		grows   int64 // the longest packet is longer than that, in bytes
	}{
		{"1,280 bytes of IP", 1280 - 20 - 8, tlsid.InitialPacketSize - 1},
		{"no more than QUIC needs", tlsid.InitialPacketSize, tlsid.InitialPacketSize - 1},
		{"Ethernet", 1500 - 20 - 8, 1400},
	} {
		t.Run(path.name, func(t *testing.T) {
			var sockets []*narrowSocket
			w := newNetwork(t, func(tlsid.NodeID) net.PacketConn {
				udp, ok := listenUDP(t, "127.0.0.1:0").(*net.UDPConn)
				if !ok {
					t.Fatal("a UDP socket is no *net.UDPConn")
				}
				s := &narrowSocket{PacketConn: udp, udp: udp, largest: path.largest}
				sockets = append(sockets, s)
				return s
			}, "n1", "n2")
			n1, n2 := w.nodes["n1"], w.nodes["n2"]
			n2.echo(tlsid.ALPNPeer)
			n2.echo(tlsid.ALPNClient)
			raftExchange(t, n1, n2)
			gossipExchange(t, n1, n2)
			conn, err := dialAs(t, n2, clientConfig(t, w), dialConfig())
			if err != nil {
				t.Fatalf("a client dials: %v", err)
			}
			s, err := openOn(t.Context(), conn)
			if err != nil {
				t.Fatal(err)
			}
			if err := call(s, strings.Repeat("client", 10_000)); err != nil {
				t.Errorf("a client calls: %v", err)
			}
			for end := time.Now().Add(20 * time.Second); ; {
				s, err := n1.OpenStream(t.Context(), "n2", tlsid.ALPNPeer)
				if err != nil {
					t.Fatal(err)
				}
				err = call(s, strings.Repeat("node", 50_000))
				_ = s.Close()
				if err != nil {
					t.Fatalf("n1 calls n2: %v", err)
				}
				if sockets[0].longest.Load() > path.grows && sockets[1].longest.Load() > path.grows {
					return
				}
				if time.Now().After(end) {
					t.Fatalf("the nodes' longest packets have %d and %d bytes, want more than %d",
						sockets[0].longest.Load(), sockets[1].longest.Load(), path.grows)
				}
			}
		})
	}
}
