package testcluster

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

// relay stands between a node and all who call it, as the network does between
// machines: who sends to the node's public address reaches it, and is answered, by way
// of the relay, which does to each packet what the faults say. mu guards paths.
type relay struct {
	faults *Faults
	node   string         // its name
	public *net.UDPConn   // where everybody believes the node to be
	local  netip.AddrPort // where it is
	// clientsOnly: the node has moved away, and other nodes don't reach it here.
	clientsOnly atomic.Bool

	mu    sync.Mutex
	paths map[netip.AddrPort]*net.UDPConn // by who sends: the socket that the node sees
	tasks sync.WaitGroup
}

// maxPacket is the largest UDP payload.
const maxPacket = 64 << 10

// newRelay opens a relay on a free port of the loopback.
func newRelay(faults *Faults, node string, local netip.AddrPort) (*relay, error) {
	public, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		return nil, fmt.Errorf("open a relay: %w", err)
	}
	_ = public.SetReadBuffer(relayBuffer) // as much as the system gives
	r := &relay{faults: faults, node: node, public: public, local: local, paths: map[netip.AddrPort]*net.UDPConn{}}
	r.tasks.Go(r.inward)
	return r, nil
}

// relayBuffer is what the system may hold for a relay's socket, in bytes.
const relayBuffer = 4 << 20

func (r *relay) address() string { return r.public.LocalAddr().String() }

// inward carries packets to the node until the relay closes.
func (r *relay) inward() {
	buf := make([]byte, maxPacket)
	for {
		n, from, err := r.public.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP answer to an earlier packet
		}
		sender := r.faults.nameOr(from.String(), Clients)
		if sender != Clients && r.clientsOnly.Load() {
			continue
		}
		path, err := r.path(from)
		if err != nil {
			continue // lost, as packets are
		}
		r.pass(sender, r.node, buf[:n], func(packet []byte) {
			_, _ = path.WriteToUDPAddrPort(packet, r.local) // lost, as packets are
		})
	}
}

// path is the socket by which the node sees a sender.
func (r *relay) path(from netip.AddrPort) (*net.UDPConn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if path := r.paths[from]; path != nil {
		return path, nil
	}
	path, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		return nil, err
	}
	_ = path.SetReadBuffer(relayBuffer)
	r.paths[from] = path
	// What the node sends to the path comes from the node, whoever it is for.
	r.tasks.Go(func() { r.outward(path, from) })
	return path, nil
}

// outward carries the node's answers to whom a path is for.
func (r *relay) outward(path *net.UDPConn, to netip.AddrPort) {
	buf := make([]byte, maxPacket)
	for {
		n, _, err := path.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // the node is down
		}
		r.pass(r.node, r.faults.nameOr(to.String(), Clients), buf[:n], func(packet []byte) {
			_, _ = r.public.WriteToUDPAddrPort(packet, to)
		})
	}
}

// pass does to a packet what the faults say.
func (r *relay) pass(from, to string, packet []byte, send func([]byte)) {
	f := r.faults.between(from, to, len(packet))
	if f == whole {
		send(packet)
		return
	}
	f.deliver(packet, send)
}

// rebind has the node see everybody at other ports from now on, and loses what it sends to
// those of before: a translator of addresses does so that was started anew (RFC 9000 §9).
func (r *relay) rebind() (err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for from, path := range r.paths {
		err = errors.Join(err, path.Close())
		delete(r.paths, from)
	}
	return err
}

func (r *relay) close() error {
	err := r.public.Close()
	r.mu.Lock()
	for _, path := range r.paths {
		err = errors.Join(err, path.Close())
	}
	r.mu.Unlock()
	r.tasks.Wait()
	return err
}
