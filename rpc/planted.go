//go:build planted

package rpc

import (
	"context"
	"time"

	"capnproto.org/go/capnp/v3"

	"quicproquo/fsm"
	"quicproquo/fsm/planted"
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

// plantedStale tells whether this call is to be answered from whatever the node has.
func (c *call) plantedStale() bool { return planted.On(planted.StaleRead) && c.method.name == "peek" }
