package mesh

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"github.com/quic-go/quic-go"

	"quicproquo/crypto/tlsid"
)

// raftInbox is how many accepted streams wait for raft.
const raftInbox = 64

// raftLayer is raft's view of the mesh: a stream is a connection, an address is
// a node id. Closing it closes every stream: raft's transport forgets those it
// keeps for later and those it reads from.
type raftLayer struct {
	endpoint *Endpoint
	inbox    chan net.Conn
	closed   context.Context
	close    context.CancelFunc

	mu      sync.Mutex // guards streams
	streams map[*Stream]struct{}
}

var _ raft.StreamLayer = (*raftLayer)(nil)

func newRaftLayer(e *Endpoint) *raftLayer {
	closed, cancel := context.WithCancel(e.ctx)
	return &raftLayer{
		endpoint: e,
		inbox:    make(chan net.Conn, raftInbox),
		closed:   closed,
		close:    cancel,
		streams:  make(map[*Stream]struct{}),
	}
}

// RaftLayer returns what raft's network transport runs on. Addresses given to
// Dial are node ids. Closing it ends raft's part of the mesh only, for good.
func (e *Endpoint) RaftLayer() raft.StreamLayer { return e.raft }

// Dial implements raft.StreamLayer.
func (l *raftLayer) Dial(node raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(l.closed, timeout)
	defer cancel()
	stream, err := l.endpoint.OpenStream(ctx, tlsid.NodeID(node), tlsid.ALPNRaft)
	if err != nil {
		return nil, err
	}
	if err := l.track(stream); err != nil {
		return nil, err
	}
	return stream, nil
}

// Accept implements net.Listener: it waits for a stream from a member.
func (l *raftLayer) Accept() (net.Conn, error) {
	select {
	case conn := <-l.inbox:
		return conn, nil
	case <-l.closed.Done():
		return nil, errRaftClosed()
	}
}

func errRaftClosed() error { return fmt.Errorf("raft stream layer: %w", net.ErrClosed) }

// Close implements net.Listener.
func (l *raftLayer) Close() error {
	l.mu.Lock()
	l.close()
	streams := make([]*Stream, 0, len(l.streams))
	for stream := range l.streams {
		streams = append(streams, stream)
	}
	l.mu.Unlock()
	for _, stream := range streams {
		_ = stream.Close() // its user sees an error of its own
	}
	return nil
}

// Addr implements net.Listener: this node's id is what peers dial.
func (l *raftLayer) Addr() net.Addr { return nodeAddr(l.endpoint.options.Identity.Peer().Node) }

// serve hands a connection's streams to raft.
func (l *raftLayer) serve(conn *quic.Conn, peer tlsid.PeerID) {
	for {
		stream, err := AcceptStream(l.closed, conn)
		if err != nil {
			return
		}
		stream.remote = nodeAddr(peer.Node)
		if l.track(stream) != nil {
			return
		}
		select {
		case l.inbox <- stream:
		case <-l.closed.Done():
			return // Close has closed the stream
		case <-conn.Context().Done():
			_ = stream.Close() // the connection is gone
			return
		}
	}
}

// track has the stream closed with the layer, and forgotten when it closes.
func (l *raftLayer) track(stream *Stream) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed.Err() != nil {
		stream.Abort()
		return errRaftClosed()
	}
	l.streams[stream] = struct{}{}
	stream.onClose = func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.streams, stream)
	}
	return nil
}

// nodeAddr is a node id as a net.Addr.
type nodeAddr tlsid.NodeID

// Network implements net.Addr.
func (nodeAddr) Network() string { return "qpq" }

// String implements net.Addr: the node id.
func (a nodeAddr) String() string { return string(a) }
