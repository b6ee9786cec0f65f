package senders

import (
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
)

func socket(t *testing.T) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// buffered is a connection such as tests put between quic-go and a socket.
type buffered struct {
	net.PacketConn
	udp *net.UDPConn
}

func (b buffered) SyscallConn() (syscall.RawConn, error) { return b.udp.SyscallConn() }
func (b buffered) SetReadBuffer(n int) error             { return b.udp.SetReadBuffer(n) }
func (b buffered) SetWriteBuffer(n int) error            { return b.udp.SetWriteBuffer(n) }

// Who waits for an address is told of its packets, however the socket is read, and of
// nobody else's; after stop of none. quic-go finds in the connection what it looks for.
func TestSenders(t *testing.T) {
	for name, wrap := range map[string]func(*net.UDPConn) net.PacketConn{
		"a socket":          func(c *net.UDPConn) net.PacketConn { return c },
		"one with a layer":  func(c *net.UDPConn) net.PacketConn { return buffered{c, c} },
		"one without calls": func(c *net.UDPConn) net.PacketConn { return struct{ net.PacketConn }{c} },
	} {
		t.Run(name, func(t *testing.T) {
			here := socket(t)
			conn, senders := Watch(wrap(here))
			_, hasCalls := conn.(raw)
			_, reads := conn.(interface {
				ReadBatch(messages []ipv4.Message, flags int) (int, error)
			})
			if hasCalls != (name != "one without calls") || reads != (name == "a socket") {
				t.Errorf("the connection is %T: it has system calls: %t, reads batches: %t", conn, hasCalls, reads)
			}
			one, other := socket(t), socket(t)
			var told, toldOther atomic.Int32
			stop := senders.Tell(one.LocalAddr(), func() { told.Add(1) })
			defer senders.Tell(&net.UDPAddr{IP: net.IPv4(127, 0, 0, 1).To16(), Port: 9}, func() { toldOther.Add(1) })()
			pass := func(from *net.UDPConn) {
				t.Helper()
				if _, err := from.WriteTo([]byte("packet"), here.LocalAddr()); err != nil {
					t.Fatal(err)
				}
				if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
					t.Fatal(err)
				}
				if batches, ok := conn.(*udp); ok {
					if n, err := batches.ReadBatch([]ipv4.Message{{Buffers: [][]byte{make([]byte, 100)}}}, 0); n != 1 || err != nil {
						t.Fatalf("read %d packets: %v", n, err)
					}
					return
				}
				if _, _, err := conn.ReadFrom(make([]byte, 100)); err != nil {
					t.Fatal(err)
				}
			}
			pass(other)
			pass(one)
			pass(one)
			stop()
			stop()
			pass(one)
			if told.Load() != 2 || toldOther.Load() != 0 {
				t.Errorf("told %d times of two packets, %d times of none", told.Load(), toldOther.Load())
			}
			if senders.asked.Load() != 1 {
				t.Errorf("%d wait, want 1", senders.asked.Load())
			}
		})
	}
}
