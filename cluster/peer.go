package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"quicproquo/cluster/mesh"
	"quicproquo/crypto/tlsid"
	"quicproquo/schemas"
)

// errNotSent marks a call whose request never left this node.
var errNotSent = errors.New("the request was not sent")

// peerStreams is the calling side of qpq-peer/1: calls in turn on kept streams.
// mu guards idle.
type peerStreams struct {
	mesh *mesh.Endpoint

	mu     sync.Mutex
	idle   map[tlsid.NodeID][]*peerStream
	closed bool
}

type peerStream struct {
	net.Conn
	reader *bufio.Reader
}

func newPeerStreams(m *mesh.Endpoint) *peerStreams {
	return &peerStreams{mesh: m, idle: map[tlsid.NodeID][]*peerStream{}}
}

// call sends one framed PeerRequest and returns the answer. ctx must have a
// deadline. An error that is errNotSent means that the peer can't have seen it.
func (p *peerStreams) call(ctx context.Context, to tlsid.NodeID, frame []byte) (schemas.PeerResponse, error) {
	stream, err := p.get(ctx, to)
	if err != nil {
		return schemas.PeerResponse{}, fmt.Errorf("%w: %w", errNotSent, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = stream.SetDeadline(time.Unix(1, 0)) })
	reply, err := exchange(stream, frame)
	if !stop() && err == nil {
		// The deadline was set behind our back: the stream can't be kept.
		stream.Close()
		return reply, nil
	}
	if err != nil {
		stream.Close()
		return schemas.PeerResponse{}, err
	}
	p.put(to, stream)
	return reply, nil
}

func exchange(stream *peerStream, frame []byte) (schemas.PeerResponse, error) {
	if _, err := stream.Write(frame); err != nil {
		return schemas.PeerResponse{}, fmt.Errorf("send request: %w", err)
	}
	answer, err := schemas.ReadFrame(stream.reader, schemas.MaxPeerMessage, nil)
	if err != nil {
		return schemas.PeerResponse{}, fmt.Errorf("read answer: %w", err)
	}
	msg, err := schemas.Unmarshal(answer)
	if err != nil {
		return schemas.PeerResponse{}, fmt.Errorf("read answer: %w", err)
	}
	return schemas.ReadRootPeerResponse(msg)
}

func (p *peerStreams) get(ctx context.Context, to tlsid.NodeID) (*peerStream, error) {
	p.mu.Lock()
	if kept := p.idle[to]; len(kept) > 0 {
		stream := kept[len(kept)-1]
		p.idle[to] = kept[:len(kept)-1]
		p.mu.Unlock()
		return stream, nil
	}
	p.mu.Unlock()
	conn, err := p.mesh.OpenStream(ctx, to, tlsid.ALPNPeer)
	if err != nil {
		return nil, err
	}
	return &peerStream{Conn: conn, reader: bufio.NewReader(conn)}, nil
}

func (p *peerStreams) put(to tlsid.NodeID, stream *peerStream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle[to]) >= maxIdlePeerStreams {
		stream.Close()
		return
	}
	p.idle[to] = append(p.idle[to], stream)
}

// drop closes what is kept for a node whose connection is gone.
func (p *peerStreams) drop(to tlsid.NodeID) {
	p.mu.Lock()
	kept := p.idle[to]
	delete(p.idle, to)
	p.mu.Unlock()
	for _, stream := range kept {
		stream.Close()
	}
}

func (p *peerStreams) close() {
	p.mu.Lock()
	p.closed = true
	idle := p.idle
	p.idle = map[tlsid.NodeID][]*peerStream{}
	p.mu.Unlock()
	for _, kept := range idle {
		for _, stream := range kept {
			stream.Close()
		}
	}
}

// servePeer answers the calls of one connection until it closes.
func (n *Node) servePeer(conn *quic.Conn, peer tlsid.PeerID) {
	from := caller{id: peer.Node, key: tlsid.Fingerprint(conn.ConnectionState().TLS.PeerCertificates[0])}
	var streams sync.WaitGroup
	defer streams.Wait()
	for {
		stream, err := conn.AcceptStream(n.ctx)
		if err != nil {
			return
		}
		streams.Go(func() { n.servePeerStream(mesh.NewStream(conn, stream), from) })
	}
}

// servePeerStream answers calls in turn until the caller ends the stream. Bytes
// that are no frame end the stream; the connection's others go on.
func (n *Node) servePeerStream(stream net.Conn, from caller) {
	defer stream.Close()
	stop := context.AfterFunc(n.ctx, func() { _ = stream.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	reader := bufio.NewReader(stream)
	var buf []byte
	for {
		frame, err := schemas.ReadFrame(reader, schemas.MaxPeerMessage, buf)
		if err != nil {
			if !errors.Is(err, io.EOF) && n.ctx.Err() == nil {
				n.log.Debug("peer stream ended", "peer", from.id, "error", err)
			}
			return
		}
		buf = frame
		answer, err := n.answerPeer(from, frame)
		if err != nil {
			n.log.Warn("peer call refused", "peer", from.id, "error", err)
			return
		}
		if _, err := stream.Write(answer); err != nil {
			return
		}
	}
}

// answerPeer handles one framed request; an error means that it is not one.
func (n *Node) answerPeer(from caller, frame []byte) ([]byte, error) {
	msg, err := schemas.Unmarshal(frame)
	if err != nil {
		return nil, err
	}
	req, err := schemas.ReadRootPeerRequest(msg)
	if err != nil {
		return nil, err
	}
	timeout := time.Duration(req.TimeoutMs()) * time.Millisecond
	if timeout == 0 {
		timeout = peerTimeout
	}
	ctx, cancel := context.WithTimeout(n.ctx, min(timeout, maxPeerTimeout))
	defer cancel()

	out, seg := schemas.NewMessage()
	resp, err := schemas.NewRootPeerResponse(seg)
	if err != nil {
		return nil, err
	}
	if err := n.handlePeer(ctx, from, req, resp); err != nil {
		if out, err = peerFailure(err); err != nil {
			return nil, err
		}
	}
	return out.Marshal()
}

func (n *Node) handlePeer(ctx context.Context, from caller, req schemas.PeerRequest, resp schemas.PeerResponse) error {
	switch req.Which() {
	case schemas.PeerRequest_Which_forward:
		forward, err := req.Forward()
		if err != nil {
			return err
		}
		return n.serveForward(ctx, from.id, forward, resp)
	case schemas.PeerRequest_Which_confirm:
		return n.serveConfirm(resp)
	case schemas.PeerRequest_Which_status:
		return n.serveStatus(from.id, resp)
	case schemas.PeerRequest_Which_change:
		change, err := req.Change()
		if err != nil {
			return err
		}
		return n.serveChange(ctx, change, resp)
	case schemas.PeerRequest_Which_renew:
		renew, err := req.Renew()
		if err != nil {
			return err
		}
		return n.serveRenew(from.id, renew, resp)
	case schemas.PeerRequest_Which_settings:
		return n.serveSettings(ctx, resp)
	case schemas.PeerRequest_Which_holdKey, schemas.PeerRequest_Which_giveKey:
		return n.serveKeys(ctx, from, req, resp)
	default:
		return fmt.Errorf("peer request %d is unknown to this version", req.Which())
	}
}

func (n *Node) serveKeys(ctx context.Context, from caller, req schemas.PeerRequest, resp schemas.PeerResponse) error {
	if req.Which() == schemas.PeerRequest_Which_holdKey {
		key, err := req.HoldKey()
		if err != nil {
			return err
		}
		return n.serveHoldKey(ctx, from, key, resp)
	}
	name, err := req.GiveKey()
	if err != nil {
		return err
	}
	return n.serveGiveKey(ctx, from, name, resp)
}
