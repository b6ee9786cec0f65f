package cluster

import (
	"context"
	"fmt"
	"sync"
	"time"

	"quicproquo/cluster/mesh"
	"quicproquo/crypto/tlsid"
	"quicproquo/fsm"
)

// watchMembers asks the other members for their status again and again: their
// digests are compared with ours, their feature levels noted, connections of
// nodes that left are closed, and a node that the others disown stops.
func (n *Node) watchMembers() {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	known, ahead := map[tlsid.NodeID]bool{}, false
	var advice keyAdvice
	var digests divergence
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-ticker.C:
		}
		statuses, refused := n.askEach(n.ctx)
		n.noteLevels(statuses)
		n.remembered.note(statuses, n.Members(), n.cfg.ID, time.Now())
		n.judgeClocks()
		if n.isLeader() {
			n.followAddresses(statuses)
		}
		advice.tell(n, refused[mesh.ErrOtherKey] > 0)
		err := n.inspect(&digests, statuses, refused)
		if err == nil {
			ahead, err = n.checkAhead(ahead)
		}
		if err != nil {
			n.fail(err)
			return
		}
		known = n.disconnectLeavers(known)
	}
}

// inspect finds reasons to stop in what the members answered.
func (n *Node) inspect(digests *divergence, statuses map[tlsid.NodeID]Status, refused map[error]int) error {
	voters := len(n.voters())
	// A removed follower is not told: the leader stops talking to it. It learns
	// from the others, who do not let it in any more.
	switch {
	case n.Leader() != "":
	case refused[mesh.ErrDenied] > voters/2:
		return fmt.Errorf("%w, so say the others: %s", ErrKeyDenied, deniedAdvice)
	case refused[mesh.ErrNotMember] > voters/2:
		return ErrRemoved
	}
	marks := map[tlsid.NodeID][]fsm.Mark{}
	for id, status := range statuses {
		if id != n.cfg.ID {
			marks[id] = status.Marks
		}
	}
	return digests.judge(n.store.Marks(), marks, voters)
}

// checkAhead finds a store that is ahead of the node's log, twice in a row: a snapshot
// that is being installed is in the store a moment before raft counts it.
func (n *Node) checkAhead(before bool) (now bool, err error) {
	have, last := n.store.Index(), n.raft.LastIndex()
	switch {
	case have <= last:
		return false, nil
	case !before:
		return true, nil
	}
	return true, fmt.Errorf("%w: its store is at index %d and its log ends at %d: %s", ErrDiverged, have, last, wipeAdvice)
}

// disconnectLeavers closes what is open to nodes that are members no more.
func (n *Node) disconnectLeavers(known map[tlsid.NodeID]bool) map[tlsid.NodeID]bool {
	now := map[tlsid.NodeID]bool{}
	for _, m := range n.Members() {
		now[m.ID] = true
	}
	for id := range known {
		if !now[id] {
			n.log.Info("member left", "node", id)
			n.mesh.Disconnect(id)
			n.peers.drop(id)
		}
	}
	return now
}

// AskAll asks every member, this node included, for its status. Members that
// don't answer in time are missing from the result.
func (n *Node) AskAll(ctx context.Context) map[tlsid.NodeID]Status {
	statuses, _ := n.askEach(ctx)
	return statuses
}

// askEach is AskAll; it also counts the members that refused this node, by why
// (mesh.Refusal).
func (n *Node) askEach(ctx context.Context) (statuses map[tlsid.NodeID]Status, refused map[error]int) {
	var mu sync.Mutex
	var asks sync.WaitGroup
	statuses, refused = map[tlsid.NodeID]Status{n.cfg.ID: n.Status()}, map[error]int{}
	for _, m := range n.Members() {
		if m.ID == n.cfg.ID {
			continue
		}
		asks.Go(func() {
			asked := n.clock.Ask()
			status, err := n.askStatus(ctx, m.ID)
			n.hearClock(m.ID, asked, status, err)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				statuses[m.ID] = status
			} else if why := mesh.Refusal(err); why != nil {
				refused[why]++
			}
		})
	}
	asks.Wait()
	return statuses, refused
}

// noteLevels keeps what each member last announced.
func (n *Node) noteLevels(statuses map[tlsid.NodeID]Status) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, status := range statuses {
		n.levels[id] = status.FeatureLevel
	}
}

// featureLevel is the lowest level that the members announce. A member that was
// never heard counts as the first level: commands of that level need no word
// from anybody.
func (n *Node) featureLevel() uint32 {
	level := n.cfg.FeatureLevel
	if level <= firstFeatureLevel {
		return level
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, m := range n.Members() {
		announced, ok := n.levels[m.ID]
		if m.ID == n.cfg.ID {
			continue
		}
		if !ok {
			return firstFeatureLevel
		}
		level = min(level, announced)
	}
	return level
}

// firstFeatureLevel is the level that every released version has.
const firstFeatureLevel = 1
