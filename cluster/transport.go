package cluster

import (
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"quicproquo/cluster/reference"
)

// transport is raft's transport with four changes.
//
// The heartbeat fast path is off: SetHeartbeatHandler does nothing, so
// heartbeats take raft's main loop. On the fast path a follower changes term
// and state on the transport's goroutine, beside the main loop, and a deposed
// leader can write its client's entry under its successor's term (hashicorp/raft
// #695): replicas would diverge in silence. Decision 0003.
//
// Replication to a silent peer waits for its heartbeat: raft's own backoff grows
// to 10 s, which would leave a node that restarts behind for as long.
//
// What is committed is told at once: announce.go.
//
// Log entries go through a pipeline without the bytes that their receiver has
// forwarded itself: references.go. mu guards the maps.
type transport struct {
	*raft.NetworkTransport

	kept   *reference.Kept
	news   *announcer
	inbox  chan raft.RPC
	stop   chan struct{}
	tasks  sync.WaitGroup
	mu     sync.Mutex
	silent map[raft.ServerID]chan struct{} // closed when the peer answers again
	full   map[raft.ServerID]time.Time     // until then the peer gets no references
}

var (
	_ raft.Transport   = (*transport)(nil)
	_ raft.WithClose   = (*transport)(nil)
	_ raft.WithPreVote = (*transport)(nil)
)

func newTransport(network *raft.NetworkTransport, kept *reference.Kept) *transport {
	t := &transport{
		NetworkTransport: network, kept: kept,
		inbox: make(chan raft.RPC), stop: make(chan struct{}),
		silent: map[raft.ServerID]chan struct{}{}, full: map[raft.ServerID]time.Time{},
	}
	t.news = newAnnouncer(t.announce)
	t.tasks.Go(t.receive)
	return t
}

// SetHeartbeatHandler does nothing, on purpose: see transport.
func (t *transport) SetHeartbeatHandler(fast func(raft.RPC)) { t.plantedFastPath(fast) }

// AppendEntries notes from heartbeats who is silent, and holds back other
// requests to those for up to maxSilence.
func (t *transport) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if isHeartbeat(args) {
		err := t.NetworkTransport.AppendEntries(id, target, args, resp)
		t.note(id, err == nil)
		return err
	}
	t.await(id)
	t.news.sent(id, target, args)
	err := t.NetworkTransport.AppendEntries(id, target, inFull(args), resp)
	if err == nil && resp.Success {
		t.news.acknowledged(id, target, args)
	}
	return err
}

// announce sends what is committed to a follower that answers.
func (t *transport) announce(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest) error {
	t.mu.Lock()
	_, silent := t.silent[id]
	t.mu.Unlock()
	if silent {
		return errSilent
	}
	var resp raft.AppendEntriesResponse
	return t.NetworkTransport.AppendEntries(id, target, args, &resp)
}

var errSilent = errors.New("the follower does not answer")

// isHeartbeat: raft's heartbeats name nothing but the term and the leader.
func isHeartbeat(args *raft.AppendEntriesRequest) bool {
	return len(args.Entries) == 0 && args.PrevLogEntry == 0 && args.PrevLogTerm == 0 && args.LeaderCommitIndex == 0
}

func (t *transport) note(id raft.ServerID, answered bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	wait, silent := t.silent[id]
	switch {
	case answered && silent:
		close(wait)
		delete(t.silent, id)
	case !answered && !silent:
		t.silent[id] = make(chan struct{})
	}
}

func (t *transport) await(id raft.ServerID) {
	t.mu.Lock()
	wait, silent := t.silent[id]
	t.mu.Unlock()
	if !silent {
		return
	}
	timer := time.NewTimer(maxSilence)
	defer timer.Stop()
	select {
	case <-wait:
	case <-timer.C:
	case <-t.stop:
	}
}

// Close ends what waits and closes the network.
func (t *transport) Close() error {
	t.mu.Lock()
	select {
	case <-t.stop:
	default:
		close(t.stop)
	}
	t.mu.Unlock()
	t.tasks.Wait()
	err := t.NetworkTransport.Close()
	t.news.close()
	return err
}
