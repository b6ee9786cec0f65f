package cluster

import (
	"quicproquo/crypto/tlsid"
	"quicproquo/fsm"
)

// Store lets a test spoil a node's store.
func (n *Node) Store() *fsm.Store { return n.store }

// AnswerPeer lets a fuzz test speak to a node without a network.
func (n *Node) AnswerPeer(from tlsid.NodeID, frame []byte) ([]byte, error) {
	return n.answerPeer(from, frame)
}

// RenewOnce lets a test renew without waiting for weeks.
func (n *Node) RenewOnce() error { return n.renewOnce(n.ctx) }
