package scripted

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/quic-go/quic-go/testutils/simnet"
)

// latency is one way between any two sockets of a test's network.
const latency = 5 * time.Millisecond

// Network is a UDP network on fake time in which nodes can fall silent. Mu
// guards Dark.
type Network struct {
	simnet.PerfectRouter
	Mu      sync.Mutex
	Dark    map[string]bool
	Largest int // larger datagrams are lost, in bytes; 0: none is
	// moved are clients that are behind a translator, or have moved: where the nodes see
	// them. What is sent to where they were is lost.
	moved map[string]*net.UDPAddr
}

// Move has the nodes see a client at another address from now on.
func (n *Network) Move(client string, to *net.UDPAddr) {
	n.Mu.Lock()
	defer n.Mu.Unlock()
	if n.moved == nil {
		n.moved = map[string]*net.UDPAddr{}
	}
	n.moved[client] = to
}

// translate does to a packet's addresses what translators do; the caller holds Mu.
func (n *Network) translate(p *simnet.Packet) (lost bool) {
	if at := n.moved[p.From.String()]; at != nil {
		p.From = at
		return false
	}
	for client, at := range n.moved {
		if p.To.String() == client {
			return true
		}
		if p.To.String() == at.String() {
			to := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(client))
			p.To = &net.UDPAddr{IP: to.IP.To16(), Port: to.Port} // as the router has it
			return false
		}
	}
	return false
}

// SendPacket delivers a packet after the latency, unless it is lost.
func (n *Network) SendPacket(p simnet.Packet) error {
	n.Mu.Lock()
	lost := n.Dark[p.To.String()] || n.Dark[p.From.String()] || n.Largest > 0 && len(p.Data) > n.Largest || n.translate(&p)
	n.Mu.Unlock()
	if !lost {
		time.AfterFunc(latency, func() { _ = n.PerfectRouter.SendPacket(p) })
	}
	return nil
}

// Silence makes an address neither send nor receive.
func (n *Network) Silence(address string) {
	n.Mu.Lock()
	defer n.Mu.Unlock()
	n.Dark[address] = true
}
