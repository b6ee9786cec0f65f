// Package senders tells from whom packets come to a socket: that a node has begun to
// answer a handshake, which quic-go keeps to itself until the handshake is done.
//
// While nobody asks it costs an atomic read a batch of packets. It must never look into
// packets: who sends is not proved.
package senders

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/net/ipv4"
)

// Senders are those from whom somebody waits for a packet. mu guards waiting.
type Senders struct {
	asked atomic.Int32 // how many wait

	mu      sync.Mutex
	waiting map[netip.AddrPort]map[*func()]struct{}
}

// Watch returns a connection that does what conn does, for quic-go with all of its
// optimisations, and whom its packets come from.
func Watch(conn net.PacketConn) (net.PacketConn, *Senders) {
	s := &Senders{waiting: map[netip.AddrPort]map[*func()]struct{}{}}
	watched := plain{conn, s}
	switch c := conn.(type) {
	case *net.UDPConn:
		return &udp{c, ipv4.NewPacketConn(c), s}, s
	case raw:
		return struct {
			plain
			raw
		}{watched, c}, s
	}
	return watched, s
}

// Tell calls told at each packet from an address, until stop is called. told runs on
// the goroutine that reads the socket.
func (s *Senders) Tell(from net.Addr, told func()) (stop func()) {
	key, ok := addrPort(from)
	if !ok {
		return func() {}
	}
	s.asked.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting[key] == nil {
		s.waiting[key] = map[*func()]struct{}{}
	}
	s.waiting[key][&told] = struct{}{}
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asked.Add(-1)
		if delete(s.waiting[key], &told); len(s.waiting[key]) == 0 {
			delete(s.waiting, key)
		}
	})
}

// came notes a packet.
func (s *Senders) came(from net.Addr) {
	if s.asked.Load() == 0 {
		return
	}
	key, ok := addrPort(from)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for told := range s.waiting[key] {
		(*told)()
	}
}

// addrPort is an address as a key: an IPv4 address has one form only.
func addrPort(address net.Addr) (netip.AddrPort, bool) {
	at, ok := address.(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}, false
	}
	ap := at.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port()), ap.IsValid()
}

// plain is any connection, watched.
type plain struct {
	net.PacketConn
	senders *Senders
}

// ReadFrom reads a packet.
func (p plain) ReadFrom(buf []byte) (int, net.Addr, error) {
	n, from, err := p.PacketConn.ReadFrom(buf)
	if err == nil {
		p.senders.came(from)
	}
	return n, from, err
}

// raw is what quic-go looks for in sockets that are no *net.UDPConn.
type raw interface {
	SyscallConn() (syscall.RawConn, error)
	SetReadBuffer(bytes int) error
	SetWriteBuffer(bytes int) error
}

// udp is a socket, watched.
type udp struct {
	*net.UDPConn
	reader  *ipv4.PacketConn // despite its name also for IPv6: it reads any socket
	senders *Senders
}

// ReadBatch is how quic-go reads where it can.
func (u *udp) ReadBatch(messages []ipv4.Message, flags int) (int, error) {
	n, err := u.reader.ReadBatch(messages, flags)
	for i := range max(n, 0) {
		u.senders.came(messages[i].Addr)
	}
	return n, err
}

// ReadFrom is how quic-go reads elsewhere.
func (u *udp) ReadFrom(buf []byte) (int, net.Addr, error) {
	n, from, err := u.UDPConn.ReadFrom(buf)
	if err == nil {
		u.senders.came(from)
	}
	return n, from, err
}
