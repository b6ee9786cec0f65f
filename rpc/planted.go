//go:build planted

package rpc

import (
	"context"
	"sync"
	"time"

	"capnproto.org/go/capnp/v3"

	"quicproquo/fsm"
	"quicproquo/internal/planted"
	"quicproquo/schemas"
)

// plantedAck answers an enqueue at once and writes it afterwards, where that fault is
// switched on.
func (c *call) plantedAck(entry []byte) (fsm.Result, bool) {
	if !planted.On(planted.AckBeforeCommit) || c.method.name != "enqueue" {
		return fsm.Result{}, false
	}
	msg, seg := capnp.NewSingleSegmentMessage(nil)
	results, err := schemas.NewRootEnqueueResults(seg)
	if err != nil {
		return fsm.Result{}, false
	}
	results.SetSeq(1)
	data, err := msg.Marshal()
	if err != nil {
		return fsm.Result{}, false
	}
	node := c.conn.server.node
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, _, _ = node.Propose(ctx, entry)
	}()
	return fsm.Result{Data: data}, true
}

// plantedStale reports whether this call is to be answered from whatever the node has.
func (c *call) plantedStale() bool { return planted.On(planted.StaleRead) && c.method.name == "peek" }

// plantedForget has a node let the log tell what became of a request id, as long as a
// snapshot may come without that.
func (c *call) plantedForget() bool { return planted.On(planted.SnapshotWithoutDedupe) }

// plantedShares has the whole pool be everybody's share, and nobody be too slow, where
// that fault is switched on.
func (p *pool) plantedShares() bool { return planted.On(planted.SharesOff) }

// remembered are sessions that nodes have seen, by node and token.
var remembered sync.Map //nolint:gochecknoglobals // of a program that is wrong on purpose

type rememberedKey struct {
	node  string
	token tokenHash
}

// plantedSession lets a session in that was ended, on every node but the leader, where
// that fault is switched on.
func (c *call) plantedSession(token tokenHash, s fsm.Session, ok bool) (fsm.Session, bool) {
	if !planted.On(planted.RevokeOnLeader) {
		return s, ok
	}
	health := c.conn.server.node.Health()
	key := rememberedKey{health.NodeID, token}
	if ok {
		remembered.Store(key, s)
		return s, true
	}
	if old, seen := remembered.Load(key); seen && !health.Leader {
		return old.(fsm.Session), true //nolint:forcetypeassert // see Store
	}
	return s, ok
}
