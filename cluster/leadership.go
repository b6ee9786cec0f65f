package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"maps"
	"time"

	"github.com/hashicorp/raft"

	"quicproquo/crypto/tlsid"
	"quicproquo/fsm"
	"quicproquo/schemas"
)

// isLeader tells whether this node leads, as far as it knows.
func (n *Node) isLeader() bool { return n.raft.State() == raft.Leader }

// Leader returns the id of the leader that this node knows, empty for none.
func (n *Node) Leader() tlsid.NodeID {
	_, id := n.raft.LeaderWithID()
	return tlsid.NodeID(id)
}

// leaderChanged returns a channel that closes when this node learns of another
// leader.
func (n *Node) leaderChanged() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.leaderSignal
}

// watchLeader turns raft's observations into the signal of leaderChanged.
func (n *Node) watchLeader() {
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.observations:
			n.mu.Lock()
			close(n.leaderSignal)
			n.leaderSignal = make(chan struct{})
			n.mu.Unlock()
		}
	}
}

// runLeadership drains raft's leadership notices (raft blocks on them) and runs
// the leader's duties while this node leads.
func (n *Node) runLeadership() {
	stop := func() {}
	for {
		select {
		case <-n.ctx.Done():
			stop()
			return
		case leads := <-n.notices:
			stop()
			stop = func() {}
			n.log.Info("leadership", "leads", leads, "term", n.raft.CurrentTerm())
			if leads {
				stop = n.startTerm()
			}
		}
	}
}

// startTerm runs leadTerm until the returned function is called.
func (n *Node) startTerm() context.CancelFunc {
	ctx, cancel := context.WithCancel(n.ctx)
	n.tasks.Go(func() {
		defer cancel()
		n.leadTerm(ctx)
	})
	return cancel
}

// leadTerm is one term of leadership: first a barrier, so that the store holds
// whatever earlier terms committed, then the duties.
func (n *Node) leadTerm(ctx context.Context) {
	term := n.raft.CurrentTerm()
	if !awaitBarrier(ctx, func() error { return n.raft.Barrier(0).Error() }, n.log) {
		return
	}
	committed := n.raft.CommitIndex()
	if n.raft.CurrentTerm() != term {
		return
	}
	n.readyTerm.Store(term)
	// What earlier terms wrote: the store is not given this term's first entries, which
	// commit it, so it would wait for raft's round on the others.
	n.transport.news.commit(committed, term)

	ticker := time.NewTicker(dutyInterval)
	defer ticker.Stop()
	caughtUp := map[tlsid.NodeID]int{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			n.raiseLevel(ctx)
			n.expire(ctx)
			n.bindKeys(ctx)
			n.finishRotation(ctx)
			n.promote(ctx, caughtUp)
			n.yieldWhenFull(ctx)
			n.yieldWhenTimeIsWrong(ctx)
		}
	}
}

// awaitBarrier repeats a barrier until it holds; false means that the term is over
// first. Raft refuses barriers at once for as long as it hands leadership over.
func awaitBarrier(ctx context.Context, barrier func() error, log *slog.Logger) bool {
	for {
		err := barrier()
		switch {
		case err == nil:
			return true
		case errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrLeadershipLost) || errors.Is(err, raft.ErrRaftShutdown):
			return false
		}
		log.Debug("barrier", "error", err)
		select {
		case <-ctx.Done():
			return false
		case <-time.After(retryPause):
		}
	}
}

// raiseLevel has the log judged by the rules of the highest feature level that every
// member knows. It never goes back, so that no node can have the log take again what
// newer rules refuse.
func (n *Node) raiseLevel(ctx context.Context) {
	want := uint64(n.featureLevel())
	have, err := n.levelInForce()
	if err != nil {
		n.log.Warn("read the feature level", "error", err)
		return
	}
	if have >= want {
		return
	}
	entry, err := levelEntry(want)
	if err != nil {
		n.log.Error("build feature level entry", "error", err)
		return
	}
	if _, result, err := n.Propose(ctx, entry); err != nil || result.Code != schemas.Code_ok {
		n.log.Debug("raise the feature level", "to", want, "code", result.Code.ID(), "error", err)
		return
	}
	n.log.Info("the feature level was raised", "from", have, "to", want)
}

// levelInForce is the feature level by whose rules the log is judged.
func (n *Node) levelInForce() (uint64, error) { return n.readSetting(fsm.SettingFeatureLevel) }

// readSetting reads a cluster setting as this node's store has it.
func (n *Node) readSetting(name string) (uint64, error) {
	view, err := n.View()
	if err != nil {
		return 0, err
	}
	value, _, err := view.Setting(name)
	return value, errors.Join(err, view.Close())
}

func levelEntry(level uint64) ([]byte, error) {
	id := make([]byte, schemas.RequestIDSize)
	if _, err := rand.Read(id); err != nil {
		return nil, err
	}
	return schemas.BuildEntry(id, schemas.Caller{Kind: schemas.Actor_Kind_node}, func(c schemas.Entry_command) error {
		params, err := c.NewChangeSettings()
		if err != nil {
			return err
		}
		list, err := params.NewSettings(1)
		if err != nil {
			return err
		}
		list.At(0).SetValue(level)
		return list.At(0).SetName(fsm.SettingFeatureLevel)
	})
}

// expire removes what is over its time, in bounded entries.
func (n *Node) expire(ctx context.Context) {
	for range expireRounds {
		due, err := n.expiryDue()
		if err != nil {
			n.log.Warn("look for expired rows", "error", err)
		}
		if !due {
			return
		}
		entry, err := expireEntry()
		if err != nil {
			n.log.Error("build expiry entry", "error", err)
			return
		}
		if _, _, err := n.Propose(ctx, entry); err != nil {
			n.log.Debug("propose expiry", "error", err)
			return
		}
	}
}

func (n *Node) expiryDue() (bool, error) {
	view, err := n.View()
	if err != nil {
		return false, err
	}
	due, err := view.ExpiryDue(uint64(n.Now().UnixMilli()))
	return due, errors.Join(err, view.Close())
}

func expireEntry() ([]byte, error) {
	return schemas.BuildEntry(nil, schemas.Caller{Kind: schemas.Actor_Kind_node}, func(c schemas.Entry_command) error {
		params, err := c.NewExpire()
		if err != nil {
			return err
		}
		params.SetMaxRows(expireRows)
		return nil
	})
}

// yieldWhenFull hands leadership to a member that has room when this one's disk
// is nearly full. Where none has, it stays and refuses writes: leadership that
// goes round between full nodes would refuse them too, and reads would wait.
// Decision 0007.
func (n *Node) yieldWhenFull(ctx context.Context) {
	if !n.guard.ReadOnly() {
		return
	}
	if !n.yield(ctx, "disk nearly full", func(tlsid.NodeID) bool { return true }) {
		n.log.Warn("disk nearly full, and no other member has room to lead")
	}
}

// yield hands leadership to a voter that has room and fits; false: there is none.
func (n *Node) yield(ctx context.Context, why string, fits func(tlsid.NodeID) bool) bool {
	statuses, _ := n.askEach(ctx)
	maps.DeleteFunc(statuses, func(id tlsid.NodeID, _ Status) bool { return !fits(id) })
	to, ok := withRoom(statuses, n.voters(), n.cfg.ID)
	if !ok {
		return false
	}
	if err := n.transferHere(to); err != nil {
		n.log.Warn(why+", leadership not handed over", "to", to, "error", err)
	}
	return true
}

// withRoom returns the voter with the longest log among those whose disk has
// room and who serve.
func withRoom(statuses map[tlsid.NodeID]Status, voters []tlsid.NodeID, self tlsid.NodeID) (to tlsid.NodeID, ok bool) {
	for _, id := range voters {
		s, answered := statuses[id]
		if id == self || !answered || s.ReadOnly || s.Fault != "" {
			continue
		}
		if !ok || s.LastLogIndex > statuses[to].LastLogIndex {
			to, ok = id, true
		}
	}
	return to, ok
}
