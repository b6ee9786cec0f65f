package cluster

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"quicproquo/fsm"
	"quicproquo/internal/planted"
)

// View returns a consistent view of this node's own state, as fresh as the node
// is. Close it.
//
// Its checks judge by the later of the log's time and the cluster's: on a quiet cluster
// the log's stands still, and what was to wait would wait for somebody else's write.
func (n *Node) View() (*fsm.View, error) {
	view, err := n.store.View()
	if err == nil {
		view.JudgeAt(uint64(n.Now().UnixMilli()))
	}
	return view, err
}

// Watch tells of every later change of a queue. Watch first, then read: so no
// change falls between.
func (n *Node) Watch(queue fsm.QueueID) *fsm.Watch { return n.store.Watch(queue) }

// WatchDevice tells of every later change of any queue of a device.
func (n *Node) WatchDevice(owner fsm.AccountKey, device fsm.DeviceID) *fsm.Watch {
	return n.store.WatchDevice(owner, device)
}

// Index returns the raft index of the last command that this node applied.
func (n *Node) Index() uint64 { return n.store.Index() }

// WaitSeen returns when this node has applied everything up to index, or with
// ctx's error. A client that sends the highest index it has seen so reads its
// own writes on every node.
func (n *Node) WaitSeen(ctx context.Context, index uint64) error {
	if err := n.store.Wait(ctx, index); err != nil {
		return fmt.Errorf("wait for index %d: %w", index, err)
	}
	return nil
}

// Linearize returns when a read of this node's state sees every write that was
// acknowledged, on any node, before Linearize was called. It costs one round
// trip to the voters and no disk; readers that wait at the same time share it.
// It fails with ErrUnavailable when no leader is confirmed by a majority.
func (n *Node) Linearize(ctx context.Context) error {
	if planted.On(planted.VerifyLeaderRead) && n.isLeader() && n.raft.VerifyLeader().Error() == nil {
		return nil
	}
	index, err := n.confirms.index(ctx)
	if err != nil {
		return err
	}
	return n.WaitSeen(ctx, index)
}

// Digest returns the store's digest and the index it belongs to. Nodes at the
// same index have the same one.
func (n *Node) Digest() fsm.Mark { return n.store.Digest() }

// Ready tells whether this node leads and has applied whatever earlier terms
// committed.
func (n *Node) Ready() bool {
	return n.isLeader() && n.readyTerm.Load() == n.raft.CurrentTerm()
}

// Snapshot makes a snapshot now, whatever the policy says, and cuts the log
// behind it. A store that has nothing new is no error.
func (n *Node) Snapshot() error {
	err := n.raft.Snapshot().Error()
	if err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return fmt.Errorf("snapshot: %w", err)
	}
	return nil
}

// SnapshotCount is how many whole snapshots the node has, its own and received
// ones.
func (n *Node) SnapshotCount() int {
	metas, err := n.snapshots.List()
	if err != nil {
		return 0
	}
	return len(metas)
}
