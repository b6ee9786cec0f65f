package cluster

import (
	"errors"
	"fmt"
	"net"

	"github.com/hashicorp/raft"

	"quicproquo/cluster/mesh"
	"quicproquo/crypto/tlsid"
	"quicproquo/schemas"
)

// A node that joins with nothing on its disk may be a voter that has lost its disk:
// what it had acknowledged and for whom it had voted. If it took part as it is, it
// and a node that lagged could elect a leader without what the cluster has
// acknowledged. So it stays deaf to raft until a leader has taken its vote away, or
// does not know it. The leader makes it a voter again once it has caught up, as every
// node that was added. Decision 0008.

// admission keeps raft's streams out until the node may take part.
type admission struct {
	raft.StreamLayer

	admitted chan struct{}
}

// Accept waits for a stream; those that come too early are closed.
func (a admission) Accept() (net.Conn, error) {
	for {
		conn, err := a.StreamLayer.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case <-a.admitted:
			return conn, nil
		default:
			_ = conn.Close() // the caller tries again
		}
	}
}

// newAdmission lets a node that has a state, or makes one, take part with each other node
// that it has met. One that joins with nothing says so to the leader instead.
func (n *Node) newAdmission(layer raft.StreamLayer, logs raft.LogStore) (raft.StreamLayer, error) {
	a := admission{layer, make(chan struct{})}
	has, err := raft.HasExistingState(logs, n.logs.Stable, n.snapshots)
	if err != nil {
		return a, fmt.Errorf("look for existing state: %w", err)
	}
	if has || !n.cfg.Join {
		return n.newMeetings(layer, logs)
	}
	n.tasks.Go(func() {
		if n.awaitDemotion() {
			close(a.admitted)
		}
	})
	return a, nil
}

func (n *Node) newMeetings(layer raft.StreamLayer, logs raft.LogStore) (raft.StreamLayer, error) {
	last, err := logs.LastIndex()
	if err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	newest, ok, err := n.snapshots.Newest()
	if err != nil {
		return nil, err
	}
	if ok {
		last = max(last, newest.Meta.Index)
	}
	var all []tlsid.NodeID
	if last <= firstConfiguration {
		all = n.others()
	}
	meetings := n.newAcquaintance(layer, last, all)
	n.tasks.Go(meetings.meetAll)
	return meetings, nil
}

// firstConfiguration is the index of the entry that bootstrap writes.
const firstConfiguration = 1

// awaitDemotion asks for a leader, and that to take this node's vote away, until one
// has done so; false when the node closes first.
func (n *Node) awaitDemotion() bool {
	n.log.Info("this node has nothing on its disk: it waits for a leader that adds it")
	var advice keyAdvice
	for pause := retryPause; ; pause = min(2*pause, maxAdmissionPause) {
		err := n.demote()
		if err == nil || errors.Is(err, ErrMemberUnknown) {
			n.log.Info("this node takes part from now on")
			return true
		}
		n.log.Debug("not admitted yet", "error", err)
		why := mesh.Refusal(err)
		advice.tell(n, errors.Is(why, mesh.ErrOtherKey))
		if errors.Is(why, mesh.ErrDenied) {
			n.fail(fmt.Errorf("%w, so say the others: %s", ErrKeyDenied, deniedAdvice))
			return false
		}
		if !n.pause(n.ctx, pause) {
			return false
		}
	}
}

// demote asks the leader that the others name.
func (n *Node) demote() error {
	err := ErrUnavailable
	for _, id := range n.others() {
		status, failure := n.askStatus(n.ctx, id)
		if failure != nil || status.Leader == "" || status.Leader == n.cfg.ID {
			err = errors.Join(err, failure)
			continue
		}
		return n.askChange(n.ctx, status.Leader, memberChange{kind: schemas.MemberChange_Kind_demote, id: n.cfg.ID})
	}
	return err
}

// demoteHere takes a voter's vote away on the leader. When it returns, what says so is
// committed, without the voter's help.
func (n *Node) demoteHere(id tlsid.NodeID) error {
	m, ok := n.member(id)
	if ok && m.Voter {
		n.log.Info("a voter has lost its disk", "node", id)
		return n.raft.DemoteVoter(raft.ServerID(id), 0, memberChangeTimeout).Error()
	}
	// The configuration that says so is the latest, not yet the committed one.
	if err := n.raft.Barrier(memberChangeTimeout).Error(); err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("%w: %s", ErrMemberUnknown, id)
	}
	return nil
}
