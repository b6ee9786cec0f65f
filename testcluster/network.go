package testcluster

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// Network gives each node a packet connection. Both kinds obey the same faults.
type Network interface {
	// Listen opens the connection of a node. address is the one that the node
	// had before, or empty.
	Listen(address string) (net.PacketConn, error)
	// Faults is where links are cut, slowed and made lossy.
	Faults() *Faults
}

// Faults says what happens to packets between two addresses, for each direction
// by itself. mu guards all fields but the last two.
type Faults struct {
	mu    sync.Mutex
	links map[link]LinkFault
	names map[string]string // address → name of the node that has it
	rng   *rand.Rand
	// largest packet of every path, in bytes of UDP payload, faults or not; 0: any.
	largest int

	telling sync.Mutex
	told    func([]Link) // nil: nobody
}

type link struct{ from, to string }

// LinkFault is what one direction of one link suffers.
type LinkFault struct {
	Cut       bool          `json:"cut,omitempty"`
	Loss      float64       `json:"loss,omitempty"`      // share of packets, 0 to 1
	Duplicate float64       `json:"duplicate,omitempty"` // share of packets
	Corrupt   float64       `json:"corrupt,omitempty"`   // share of packets that arrive with a bit changed
	Largest   int           `json:"largest,omitempty"`   // larger packets are lost, in bytes; 0: none is
	Delay     time.Duration `json:"delay,omitempty"`
	Jitter    time.Duration `json:"jitter,omitempty"` // up to this much more, per packet: reorders
}

// NewFaults is a network without faults. Losses and jitter follow seed.
func NewFaults(seed uint64) *Faults {
	return &Faults{
		links: map[link]LinkFault{},
		names: map[string]string{},
		rng:   rand.New(rand.NewPCG(seed, seed)),
	}
}

// Narrow makes every path lose packets of more than so many bytes of UDP payload: from
// the first packet on where it is called before anything is sent. Heal does not undo it.
func (f *Faults) Narrow(largest int) {
	f.mu.Lock()
	f.largest = largest
	f.mu.Unlock()
	f.tell()
}

// Narrowest is what Narrow has set.
func (f *Faults) Narrowest() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.largest
}

// Clients is the name of everybody who is no node: all who dial through
// Cluster.ClientOptions.
const Clients = "clients"

// Name says which node is at an address.
func (f *Faults) Name(address, node string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.names[address] = node
}

// Set gives one direction its fault; the zero LinkFault heals it.
func (f *Faults) Set(from, to string, fault LinkFault) {
	defer f.tell()
	f.mu.Lock()
	defer f.mu.Unlock()
	if fault == (LinkFault{}) {
		delete(f.links, link{from, to})
		return
	}
	f.links[link{from, to}] = fault
}

// Partition cuts every link between nodes of different groups. Who is in no group,
// Clients too, keeps his links.
func (f *Faults) Partition(groups ...[]string) {
	defer f.tell()
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, a := range groups {
		for j, b := range groups {
			if i == j {
				continue
			}
			for _, from := range a {
				for _, to := range b {
					f.links[link{from, to}] = LinkFault{Cut: true}
				}
			}
		}
	}
}

// Heal removes every fault.
func (f *Faults) Heal() { f.SetLinks(nil) }

// fate is what happens to one packet.
type fate struct {
	copies int // that arrive, 0 to 2
	delay  time.Duration
	flip   int // the bit that changes on the way, -1: none
}

// whole is the fate of a packet on a link without faults.
var whole = fate{copies: 1, flip: -1} //nolint:gochecknoglobals // a constant

// fate decides over one packet of so many bytes.
func (f *Faults) fate(from, to string, size int) fate {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.links) == 0 && f.largest == 0 {
		return whole
	}
	return f.decide(f.name(from), f.name(to), size)
}

// between is fate for those whose names are known.
func (f *Faults) between(from, to string, size int) fate {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.decide(from, to, size)
}

// decide is fate by names. Callers hold mu.
func (f *Faults) decide(from, to string, size int) fate {
	if f.largest > 0 && size > f.largest {
		return fate{}
	}
	fault, ok := f.links[link{from, to}]
	if !ok {
		return whole
	}
	if fault.Cut || fault.Largest > 0 && size > fault.Largest || f.rng.Float64() < fault.Loss {
		return fate{}
	}
	got := fate{copies: 1, delay: fault.Delay, flip: -1}
	if fault.Jitter > 0 {
		got.delay += time.Duration(f.rng.Int64N(int64(fault.Jitter)))
	}
	if f.rng.Float64() < fault.Duplicate {
		got.copies = 2
	}
	if size > 0 && f.rng.Float64() < fault.Corrupt {
		got.flip = f.rng.IntN(8 * size)
	}
	return got
}

// apply returns what arrives of a packet, in memory of its own.
func (f fate) apply(packet []byte) []byte {
	held := append([]byte(nil), packet...)
	if f.flip >= 0 {
		held[f.flip/8] ^= 1 << (f.flip % 8)
	}
	return held
}

// nameOr is the name of who is at an address, or another for strangers.
func (f *Faults) nameOr(address, stranger string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if name, ok := f.names[address]; ok {
		return name
	}
	return stranger
}

// name of the node at an address; an address without a name stands for itself.
func (f *Faults) name(address string) string {
	if name, ok := f.names[address]; ok {
		return name
	}
	return address
}

// deliver sends what arrives of a packet, when it does.
func (f fate) deliver(packet []byte, send func([]byte)) {
	for range f.copies {
		held := f.apply(packet)
		if f.delay == 0 {
			send(held)
			continue
		}
		time.AfterFunc(f.delay, func() { send(held) })
	}
}

// loopback is UDP on 127.0.0.1.
type loopback struct {
	faults *Faults
	direct bool
}

// Loopback is a network of real UDP sockets on this machine, with faults.
func Loopback(faults *Faults) Network { return loopback{faults: faults} }

// Direct is Loopback without faults: QUIC gets the bare sockets and all that the
// kernel offers for them. For benchmarks and for running a cluster for real.
func Direct() Network { return loopback{faults: NewFaults(0), direct: true} }

func (l loopback) Faults() *Faults { return l.faults }

func (l loopback) Listen(address string) (net.PacketConn, error) {
	if address == "" {
		address = "127.0.0.1:0"
	}
	at, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	conn, err := net.ListenUDP("udp", at)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if l.direct {
		return conn, nil
	}
	return &faultyConn{PacketConn: conn, udp: conn, faults: l.faults}, nil
}

// faultyConn applies the faults to what a node sends.
type faultyConn struct {
	net.PacketConn
	udp    *net.UDPConn
	faults *Faults
	node   string // its name where it is given, not looked up by its address
}

// SetReadBuffer lets quic-go choose its buffer.
func (c *faultyConn) SetReadBuffer(bytes int) error { return c.udp.SetReadBuffer(bytes) }

// SetWriteBuffer lets quic-go choose its buffer.
func (c *faultyConn) SetWriteBuffer(bytes int) error { return c.udp.SetWriteBuffer(bytes) }

// SyscallConn lets quic-go see what buffer it got.
func (c *faultyConn) SyscallConn() (syscall.RawConn, error) { return c.udp.SyscallConn() }

func (c *faultyConn) WriteTo(packet []byte, to net.Addr) (int, error) {
	f := c.fate(to.String(), len(packet))
	if f == whole {
		return c.PacketConn.WriteTo(packet, to)
	}
	f.deliver(packet, func(held []byte) { _, _ = c.PacketConn.WriteTo(held, to) })
	return len(packet), nil
}

func (c *faultyConn) fate(to string, size int) fate {
	if c.node != "" {
		return c.faults.between(c.node, c.faults.nameOr(to, Clients), size)
	}
	return c.faults.fate(c.LocalAddr().String(), to, size)
}

// Memory is a network in this process: it works on the fake time of a
// testing/synctest bubble. mu guards conns and next.
type Memory struct {
	faults *Faults

	mu    sync.Mutex
	conns map[netip.AddrPort]*memoryConn
	next  uint16
}

// NewMemory is an empty in-memory network.
func NewMemory(faults *Faults) *Memory {
	return &Memory{faults: faults, conns: map[netip.AddrPort]*memoryConn{}, next: 1}
}

// Faults returns the network's faults.
func (m *Memory) Faults() *Faults { return m.faults }

// Listen opens a connection at an address of the network's own.
func (m *Memory) Listen(address string) (net.PacketConn, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var at netip.AddrPort
	if address == "" {
		at = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, byte(m.next >> 8), byte(m.next)}), 4433)
		m.next++
	} else {
		var err error
		if at, err = netip.ParseAddrPort(address); err != nil {
			return nil, fmt.Errorf("listen on %s: %w", address, err)
		}
	}
	if _, taken := m.conns[at]; taken {
		return nil, fmt.Errorf("listen on %s: address in use", at)
	}
	conn := newMemoryConn(m, at)
	m.conns[at] = conn
	return conn, nil
}

// send delivers one packet according to the faults.
func (m *Memory) send(from, to netip.AddrPort, packet []byte) {
	f := m.faults.fate(from.String(), to.String(), len(packet))
	f.deliver(packet, func(held []byte) { m.deliver(from, to, held) })
}

func (m *Memory) deliver(from, to netip.AddrPort, packet []byte) {
	m.mu.Lock()
	conn := m.conns[to]
	m.mu.Unlock()
	if conn == nil {
		return
	}
	select {
	case conn.inbox <- datagram{from, packet}:
	default: // a full socket buffer drops, as UDP does
	}
}

func (m *Memory) remove(at netip.AddrPort) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.conns, at)
}
