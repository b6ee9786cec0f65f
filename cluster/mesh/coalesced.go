//go:build linux

package mesh

import (
	"encoding/binary"
	"net"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// coalesced is a socket from which the kernel hands out the packets of one sender
// that arrived together in one piece (UDP_GRO, Linux 5.0). quic-go sends so, and
// reads packet by packet: over loopback bytes from node to node then cost a quarter
// less processor time (BenchmarkBulk). ReadBatch, which quic-go looks for, takes the
// pieces apart again. One goroutine reads: quic-go's.
type coalesced struct {
	*net.UDPConn

	reader *ipv4.PacketConn // despite its name also for IPv6: it reads any socket
	pieces []ipv4.Message   // read, from the first on
	rest   []byte           // of the first piece
	size   int              // of a packet in it
	room   []ipv4.Message
}

const (
	// piecesAtOnce is how many pieces one system call reads.
	piecesAtOnce = 8
	// pieceBytes is the largest piece: that of an IP packet.
	pieceBytes = 64 << 10
	// pieceControl is the room for what the kernel says about a piece: its ECN bits,
	// the address it came to and the size of a packet, in bytes.
	pieceControl = 128
)

// coalesce has the kernel hand out packets in pieces, if it can and conn is a UDP
// socket.
func coalesce(conn net.PacketConn) net.PacketConn {
	udp, ok := conn.(*net.UDPConn)
	if !ok {
		return conn
	}
	raw, err := udp.SyscallConn()
	if err != nil {
		return conn
	}
	var refused error
	err = raw.Control(func(fd uintptr) {
		refused = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1)
	})
	if err != nil || refused != nil {
		return conn
	}
	c := &coalesced{UDPConn: udp, reader: ipv4.NewPacketConn(udp), room: make([]ipv4.Message, piecesAtOnce)}
	for i := range c.room {
		c.room[i].Buffers = [][]byte{make([]byte, pieceBytes)}
		c.room[i].OOB = make([]byte, pieceControl)
	}
	return c
}

// ReadBatch reads packets into messages, one or more, and says how many.
func (c *coalesced) ReadBatch(messages []ipv4.Message, flags int) (int, error) {
	if len(c.pieces) == 0 {
		if err := c.read(flags); err != nil {
			return 0, err
		}
	}
	n := 0
	for n < len(messages) && len(c.pieces) > 0 {
		piece, m := &c.pieces[0], &messages[n]
		packet := c.rest[:min(c.size, len(c.rest))]
		c.rest = c.rest[len(packet):]
		m.N = copy(m.Buffers[0], packet)
		m.NN = copy(m.OOB, piece.OOB[:piece.NN])
		m.Addr, m.Flags = piece.Addr, piece.Flags
		n++
		if len(c.rest) == 0 {
			c.next(c.pieces[1:])
		}
	}
	return n, nil
}

func (c *coalesced) read(flags int) error {
	n, err := c.reader.ReadBatch(c.room, flags)
	if err != nil {
		return err
	}
	c.next(c.room[:n])
	return nil
}

// next goes on with the first of some pieces.
func (c *coalesced) next(pieces []ipv4.Message) {
	c.pieces = pieces
	if len(pieces) == 0 {
		return
	}
	c.rest = pieces[0].Buffers[0][:pieces[0].N]
	c.size = packetSize(pieces[0].OOB[:pieces[0].NN], len(c.rest))
}

// packetSize is the size of the packets in a piece, the last of which may be
// smaller: what the kernel says, or that of the piece.
func packetSize(control []byte, piece int) int {
	for len(control) > 0 {
		head, body, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			break
		}
		if head.Level == unix.IPPROTO_UDP && head.Type == unix.UDP_GRO && len(body) >= 4 {
			if size := int(int32(binary.NativeEndian.Uint32(body))); size > 0 {
				return size
			}
		}
		control = rest
	}
	return piece
}
