package cluster

import (
	"context"
	"errors"

	"github.com/hashicorp/raft"

	"quicproquo/crypto/tlsid"
	"quicproquo/fsm"
)

// Store lets a test spoil a node's store.
func (n *Node) Store() *fsm.Store { return n.store }

// AnswerPeer lets a fuzz test speak to a node without a network.
func (n *Node) AnswerPeer(from tlsid.NodeID, frame []byte) ([]byte, error) {
	return n.answerPeer(caller{id: from}, frame)
}

// AnswerPeerAs is AnswerPeer for a caller that has shown a key.
func (n *Node) AnswerPeerAs(from tlsid.NodeID, key NodeKey, frame []byte) ([]byte, error) {
	return n.answerPeer(caller{from, key}, frame)
}

// RenewOnce lets a test renew without waiting for weeks.
func (n *Node) RenewOnce() error { return n.renewOnce(n.ctx) }

// LogBytes is how much the entries of a node's log hold.
func (n *Node) LogBytes() (int64, error) {
	first, err := n.logs.Log.FirstIndex()
	if err != nil {
		return 0, err
	}
	size := int64(0)
	for index := max(first, 1); index <= n.raft.LastIndex(); index++ {
		var log raft.Log
		if err := n.logs.Log.GetLog(index, &log); err != nil && !errors.Is(err, raft.ErrLogNotFound) {
			return 0, err
		}
		size += int64(len(log.Data))
	}
	return size, nil
}

// MayCut is what raft's log asks before it takes its end away.
func (n *Node) MayCut(from uint64) error { return n.mayCut(from) }

// PeerError is the error that an answer carries.
var PeerError = peerError

// PutSecret is what the leader does to a secret.
func (n *Node) PutSecret(ctx context.Context, name string, version uint64, wrapped []byte) error {
	return n.putSecret(ctx, name, version, wrapped)
}
