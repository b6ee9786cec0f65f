package mesh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"quicproquo/crypto/tlsid"
)

const (
	// gossipQueue is how many packets wait for one node.
	gossipQueue = 64
	// maxGossipPeers limits the senders: a cluster has 3 to 9 nodes.
	maxGossipPeers = 64
)

// gossipSender is the queue to one node, emptied by one goroutine: sending a
// datagram blocks when quic-go has 32 waiting, and memberlist must not.
type gossipSender struct {
	stop  context.CancelFunc
	ready chan struct{} // capacity 1: the queue is not empty

	mu    sync.Mutex // guards queue
	queue [][]byte   // oldest first, at most gossipQueue
}

// sender returns the queue to a node.
func (g *gossipTransport) sender(node tlsid.NodeID) (*gossipSender, error) {
	if !g.endpoint.options.Member(node) {
		return nil, fmt.Errorf("gossip to %s: %w", node, ErrNotMember)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if s := g.senders[node]; s != nil {
		return s, nil
	}
	if g.closed.Err() != nil {
		return nil, fmt.Errorf("gossip to %s: %w", node, net.ErrClosed)
	}
	if len(g.senders) >= maxGossipPeers {
		return nil, fmt.Errorf("gossip to %s: more than %d nodes", node, maxGossipPeers)
	}
	ctx, cancel := context.WithCancel(g.closed)
	s := &gossipSender{stop: cancel, ready: make(chan struct{}, 1)}
	g.senders[node] = s
	g.tasks.Go(func() { g.send(ctx, node, s) })
	return s, nil
}

// drop ends the queue to a node that left.
func (g *gossipTransport) drop(node tlsid.NodeID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s := g.senders[node]; s != nil {
		s.stop()
		delete(g.senders, node)
	}
}

// push copies a packet into the queue. A full queue loses its oldest packet:
// gossip repeats itself, and the news are in the youngest.
func (s *gossipSender) push(packet []byte) {
	s.mu.Lock()
	if len(s.queue) == gossipQueue {
		s.queue[0] = nil
		s.queue = s.queue[1:]
	}
	s.queue = append(s.queue, bytes.Clone(packet))
	s.mu.Unlock()
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// pop takes everything that waits.
func (s *gossipSender) pop() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	queue := s.queue
	s.queue = nil
	return queue
}

// send empties a node's queue. What can't be sent is lost, as UDP would lose it.
func (g *gossipTransport) send(ctx context.Context, node tlsid.NodeID, s *gossipSender) {
	defer s.stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.ready:
		}
		conn, err := g.endpoint.connection(ctx, node, tlsid.ALPNGossip)
		if err != nil {
			s.pop() // old news by the time of the next attempt
			continue
		}
		for _, packet := range s.pop() {
			sendPacket(ctx, conn, packet)
		}
	}
}

// sendPacket sends a datagram, or a one-way stream if it does not fit one or
// the other side takes none.
func sendPacket(ctx context.Context, conn *quic.Conn, packet []byte) {
	var tooLarge *quic.DatagramTooLargeError
	if supportsDatagrams(conn) {
		if err := conn.SendDatagram(packet); !errors.As(err, &tooLarge) {
			return
		}
	}
	ctx, cancel := context.WithTimeout(ctx, packetTimeout)
	defer cancel()
	stream, err := conn.OpenUniStreamSync(ctx)
	if err != nil {
		return
	}
	_ = stream.SetWriteDeadline(time.Now().Add(packetTimeout)) // always nil
	if _, err := stream.Write(packet); err != nil {
		stream.CancelWrite(streamAborted)
		return
	}
	_ = stream.Close() // the packet is lost then
}
