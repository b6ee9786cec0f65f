//go:build linux

package mesh

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

func controlMessage(level, kind int32, body []byte) []byte {
	control := make([]byte, unix.CmsgSpace(len(body)))
	head := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
	head.Level, head.Type = level, kind
	head.SetLen(unix.CmsgLen(len(body)))
	copy(control[unix.CmsgLen(0):], body)
	return control
}

// sendPieces sends packets of size bytes in one system call, as quic-go does.
func sendPieces(t *testing.T, from *net.UDPConn, to net.Addr, data []byte, size int) {
	t.Helper()
	control := controlMessage(unix.IPPROTO_UDP, unix.UDP_SEGMENT, binary.NativeEndian.AppendUint16(nil, uint16(size)))
	if _, _, err := from.WriteMsgUDP(data, control, to.(*net.UDPAddr)); err != nil {
		t.Fatal(err)
	}
}

// What the kernel hands out in one piece is taken apart into the packets that were
// sent, each with its sender, whatever their size and however few are asked for at
// once; single packets pass between them.
func TestCoalescedPacketsAreTakenApart(t *testing.T) {
	for _, network := range []string{"127.0.0.1:0", "[::1]:0"} {
		for _, atOnce := range []int{1, 3, 8, 100} {
			t.Run(fmt.Sprintf("%s, %d at once", network, atOnce), func(t *testing.T) {
				testTakenApart(t, network, atOnce)
			})
		}
	}
}

func testTakenApart(t *testing.T, address string, atOnce int) {
	receiver := listenUDP(t, address).(*net.UDPConn)
	defer receiver.Close()
	conn, ok := coalesce(receiver).(*coalesced)
	if !ok {
		t.Fatal("this kernel does not coalesce packets: Linux 5.0 and newer does")
	}
	senders := []*net.UDPConn{listenUDP(t, address).(*net.UDPConn), listenUDP(t, address).(*net.UDPConn)}
	want := map[string][][]byte{}
	sent := 0
	packets := func(from *net.UDPConn, size, count, last int) {
		data := make([]byte, size*(count-1)+last)
		for i := range data {
			data[i] = byte(sent + i/size)
		}
		sendPieces(t, from, receiver.LocalAddr(), data, size)
		for len(data) > 0 {
			n := min(size, len(data))
			want[from.LocalAddr().String()] = append(want[from.LocalAddr().String()], data[:n])
			data = data[n:]
			sent++
		}
	}
	for _, from := range senders {
		defer from.Close()
		packets(from, 1200, 20, 1200)
		packets(from, 1200, 3, 7)
		packets(from, 500, 1, 500)
		packets(from, 64, 9, 1)
	}

	if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	messages := make([]ipv4.Message, atOnce)
	for i := range messages {
		messages[i] = ipv4.Message{Buffers: [][]byte{make([]byte, 1452)}, OOB: make([]byte, 128)}
	}
	reads, got := 0, map[string][][]byte{}
	for received := 0; received < sent; {
		n, err := conn.ReadBatch(messages, 0)
		if err != nil || n == 0 {
			t.Fatalf("after %d of %d packets: %d more, %v", received, sent, n, err)
		}
		for _, m := range messages[:n] {
			got[m.Addr.String()] = append(got[m.Addr.String()], bytes.Clone(m.Buffers[0][:m.N]))
		}
		received += n
		reads++
	}
	for from, packets := range want {
		if len(got[from]) != len(packets) {
			t.Fatalf("%d packets from %s, want %d", len(got[from]), from, len(packets))
		}
		for i := range packets {
			if !bytes.Equal(got[from][i], packets[i]) {
				t.Errorf("packet %d from %s has %d bytes that differ from the %d sent", i, from, len(got[from][i]), len(packets[i]))
			}
		}
	}
	if len(conn.pieces) != 0 {
		t.Errorf("%d pieces are left", len(conn.pieces))
	}
	if atOnce == 100 && reads > 8 {
		t.Errorf("%d packets took %d reads: nothing was handed out in pieces", sent, reads)
	}
}

// An endpoint reads so from a socket of the kernel's.
func TestEndpointCoalesces(t *testing.T) {
	w := newNetwork(t, nil, "n1")
	if _, ok := w.nodes["n1"].transport.Conn.(*coalesced); !ok {
		t.Error("the endpoint reads every packet on its own")
	}
}

// Sizes that the kernel would not name are not believed: a packet is never empty or
// larger than its piece.
func TestPacketSize(t *testing.T) {
	control := func(level, kind, size int32) []byte {
		return controlMessage(level, kind, binary.NativeEndian.AppendUint32(nil, uint32(size)))
	}
	ecn := control(unix.IPPROTO_IP, unix.IP_TOS, 2)
	for _, c := range []struct {
		name    string
		control []byte
		want    int
	}{
		{"nothing said", nil, 3000},
		{"something else said", ecn, 3000},
		{"the size", control(unix.IPPROTO_UDP, unix.UDP_GRO, 1200), 1200},
		{"the size behind something else", append(ecn[:len(ecn):len(ecn)], control(unix.IPPROTO_UDP, unix.UDP_GRO, 1200)...), 1200},
		{"zero", control(unix.IPPROTO_UDP, unix.UDP_GRO, 0), 3000},
		{"less than zero", control(unix.IPPROTO_UDP, unix.UDP_GRO, -5), 3000},
		{"cut", control(unix.IPPROTO_UDP, unix.UDP_GRO, 1200)[:18], 3000},
	} {
		if got := packetSize(c.control, 3000); got != c.want {
			t.Errorf("%s: packets of %d bytes in a piece of 3,000, want %d", c.name, got, c.want)
		}
	}
}
