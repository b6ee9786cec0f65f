package testcluster

import (
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// memoryInbox is how many packets one connection buffers.
const memoryInbox = 4096

type datagram struct {
	from   netip.AddrPort
	packet []byte
}

// memoryConn is a net.PacketConn of a Memory network. mu guards deadline and
// its change signal.
type memoryConn struct {
	network *Memory
	at      netip.AddrPort
	inbox   chan datagram
	closed  chan struct{}
	once    sync.Once

	mu       sync.Mutex
	deadline time.Time
	changed  chan struct{}
}

var _ net.PacketConn = (*memoryConn)(nil)

func newMemoryConn(network *Memory, at netip.AddrPort) *memoryConn {
	return &memoryConn{
		network: network, at: at,
		inbox:  make(chan datagram, memoryInbox),
		closed: make(chan struct{}), changed: make(chan struct{}),
	}
}

// ReadFrom waits for a packet, the read deadline or Close.
func (c *memoryConn) ReadFrom(buf []byte) (int, net.Addr, error) {
	for {
		c.mu.Lock()
		deadline, changed := c.deadline, c.changed
		c.mu.Unlock()
		var expired <-chan time.Time
		var timer *time.Timer
		if !deadline.IsZero() {
			left := time.Until(deadline)
			if left <= 0 {
				return 0, nil, os.ErrDeadlineExceeded
			}
			timer = time.NewTimer(left)
			expired = timer.C
		}
		select {
		case d := <-c.inbox:
			stop(timer)
			return copy(buf, d.packet), net.UDPAddrFromAddrPort(d.from), nil
		case <-c.closed:
			stop(timer)
			return 0, nil, net.ErrClosed
		case <-expired:
			return 0, nil, os.ErrDeadlineExceeded
		case <-changed:
			stop(timer)
		}
	}
}

func stop(timer *time.Timer) {
	if timer != nil {
		timer.Stop()
	}
}

// WriteTo never blocks.
func (c *memoryConn) WriteTo(packet []byte, to net.Addr) (int, error) {
	select {
	case <-c.closed:
		return 0, net.ErrClosed
	default:
	}
	address, err := netip.ParseAddrPort(to.String())
	if err != nil {
		return 0, &net.AddrError{Err: "no address of this network", Addr: to.String()}
	}
	c.network.send(c.at, address, packet)
	return len(packet), nil
}

// Close frees the address.
func (c *memoryConn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.network.remove(c.at)
	})
	return nil
}

// LocalAddr returns a *net.UDPAddr.
func (c *memoryConn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(c.at) }

// SetDeadline sets the read deadline; writes never wait.
func (c *memoryConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline wakes a waiting ReadFrom.
func (c *memoryConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	close(c.changed)
	c.changed = make(chan struct{})
	return nil
}

// SetWriteDeadline does nothing: writes never wait.
func (c *memoryConn) SetWriteDeadline(time.Time) error { return nil }
