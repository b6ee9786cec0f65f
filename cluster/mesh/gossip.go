package mesh

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/quic-go/quic-go"

	"quicproquo/crypto/tlsid"
)

const (
	// GossipPacket is what memberlist's UDPBufferSize shall be, in bytes: it
	// fits a QUIC datagram on any path that QUIC runs on (1,200 bytes of UDP
	// payload, RFC 9000 §14). Larger packets take a one-way stream.
	GossipPacket = 1150
	// gossipInbox is how many packets and streams wait for memberlist.
	gossipInbox = 256
	// maxGossipPacket limits a packet that comes as a stream, in bytes.
	maxGossipPacket = 64 << 10
	// gossipReaders is how many such packets of one node are read at once.
	gossipReaders = 8
	// packetTimeout limits reading or sending such a packet.
	packetTimeout = 2 * time.Second
)

// GossipAddress is every node's address towards memberlist, which insists on
// one: nodes are reached by name, so one that comes back elsewhere is no
// conflict, and nobody is sent anywhere by a false claim.
const GossipAddress = "127.0.0.1:1"

// gossipTransport is memberlist's view of the mesh.
type gossipTransport struct {
	endpoint *Endpoint
	packets  chan *memberlist.Packet
	streams  chan net.Conn
	closed   context.Context
	close    context.CancelFunc
	tasks    sync.WaitGroup

	mu      sync.Mutex // guards senders
	senders map[tlsid.NodeID]*gossipSender
}

var _ memberlist.NodeAwareTransport = (*gossipTransport)(nil)

func newGossipTransport(e *Endpoint) *gossipTransport {
	closed, cancel := context.WithCancel(e.ctx)
	return &gossipTransport{
		endpoint: e,
		packets:  make(chan *memberlist.Packet, gossipInbox),
		streams:  make(chan net.Conn, gossipInbox),
		closed:   closed,
		close:    cancel,
		senders:  make(map[tlsid.NodeID]*gossipSender),
	}
}

// GossipTransport returns what memberlist runs on. Members are joined as
// "<node id>/" + GossipAddress. Its Shutdown leaves the rest of the mesh open.
func (e *Endpoint) GossipTransport() memberlist.NodeAwareTransport { return e.gossip }

// FinalAdvertiseAddr implements memberlist.Transport: it is GossipAddress.
func (*gossipTransport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return net.IPv4(127, 0, 0, 1), 1, nil
}

// WriteTo implements memberlist.Transport; memberlist prefers WriteToAddress.
func (*gossipTransport) WriteTo(_ []byte, addr string) (time.Time, error) {
	return time.Time{}, errNameless(addr)
}

// DialTimeout implements memberlist.Transport; memberlist prefers DialAddressTimeout.
func (*gossipTransport) DialTimeout(addr string, _ time.Duration) (net.Conn, error) {
	return nil, errNameless(addr)
}

func errNameless(addr string) error {
	return fmt.Errorf("gossip to %s: a node is reached by its name, join it as <node id>/%s", addr, GossipAddress)
}

// PacketCh implements memberlist.Transport.
func (g *gossipTransport) PacketCh() <-chan *memberlist.Packet { return g.packets }

// StreamCh implements memberlist.Transport.
func (g *gossipTransport) StreamCh() <-chan net.Conn { return g.streams }

// WriteToAddress implements memberlist.NodeAwareTransport: it queues a copy of
// the packet and returns at once.
func (g *gossipTransport) WriteToAddress(packet []byte, to memberlist.Address) (time.Time, error) {
	if to.Name == "" {
		return time.Time{}, errNameless(to.Addr)
	}
	sender, err := g.sender(tlsid.NodeID(to.Name))
	if err != nil {
		return time.Time{}, err
	}
	sender.push(packet)
	return time.Now(), nil
}

// DialAddressTimeout implements memberlist.NodeAwareTransport.
func (g *gossipTransport) DialAddressTimeout(to memberlist.Address, timeout time.Duration) (net.Conn, error) {
	if to.Name == "" {
		return nil, errNameless(to.Addr)
	}
	ctx, cancel := context.WithTimeout(g.closed, timeout)
	defer cancel()
	return g.endpoint.OpenStream(ctx, tlsid.NodeID(to.Name), tlsid.ALPNGossip)
}

// Shutdown implements memberlist.Transport: it joins the senders and closes
// what memberlist has not taken.
func (g *gossipTransport) Shutdown() error {
	g.mu.Lock()
	g.close() // under the lock: no sender starts after this
	g.mu.Unlock()
	g.tasks.Wait()
	for {
		select {
		case stream := <-g.streams:
			_ = stream.Close() // nobody was to read it
		default:
			return nil
		}
	}
}

// serve takes one node's packets and streams until the connection ends.
func (g *gossipTransport) serve(conn *quic.Conn, peer tlsid.PeerID) {
	var parts sync.WaitGroup
	defer parts.Wait()
	parts.Go(func() { g.receiveDatagrams(conn, peer) })
	for range gossipReaders {
		parts.Go(func() { g.receiveLarge(conn, peer) })
	}
	g.receiveStreams(conn, peer)
	_ = conn.CloseWithError(codeDone, "") // ends the others
}

func (g *gossipTransport) receiveStreams(conn *quic.Conn, peer tlsid.PeerID) {
	for {
		stream, err := AcceptStream(g.closed, conn)
		if err != nil {
			return
		}
		stream.remote = nodeAddr(peer.Node)
		select {
		case g.streams <- stream:
		default: // memberlist is far behind: its peer tries again
			stream.Abort()
		}
	}
}

// receiveDatagrams drains quic-go's queue, which drops in silence. A node that
// got the guests' limits sends streams instead.
func (g *gossipTransport) receiveDatagrams(conn *quic.Conn, peer tlsid.PeerID) {
	for {
		packet, err := conn.ReceiveDatagram(g.closed)
		if err != nil {
			return
		}
		g.deliver(packet, peer)
	}
}

// receiveLarge takes packets that came as one-way streams.
func (g *gossipTransport) receiveLarge(conn *quic.Conn, peer tlsid.PeerID) {
	for {
		stream, err := conn.AcceptUniStream(g.closed)
		if err != nil {
			return
		}
		_ = stream.SetReadDeadline(time.Now().Add(packetTimeout)) // always nil
		packet, err := io.ReadAll(io.LimitReader(stream, maxGossipPacket+1))
		stream.CancelRead(streamAborted)
		if err == nil && len(packet) <= maxGossipPacket {
			g.deliver(packet, peer)
		}
	}
}

func (g *gossipTransport) deliver(packet []byte, peer tlsid.PeerID) {
	select {
	case g.packets <- &memberlist.Packet{Buf: packet, From: nodeAddr(peer.Node), Timestamp: time.Now()}:
	default: // memberlist is behind: a lost packet is what gossip expects
	}
}
