package cluster

import (
	"sync"

	"github.com/hashicorp/raft"
)

// announcer tells followers at once what is committed. raft tells them with the next
// entries, or when Timing.Commit is over: whoever wrote through a follower and reads
// there, or writes again, would wait for that. Decision 0142.
//
// An announcement is an AppendEntries without entries, as raft sends them itself. It
// names the last entry that the follower is known to hold, and no commit index beyond
// that.
//
// It is sent for what was committed in the term in which the follower acknowledged to
// this node, and in no other case. Entries that this node wrote as the leader of a term
// are the same wherever they are: if such a one is committed, so is everything before it
// in the log that the follower acknowledged, whatever this node has become meanwhile.
//
// One announcement to a follower is under way at a time; what is committed meanwhile
// goes with the next one.
type announcer struct {
	send  func(to raft.ServerID, at raft.ServerAddress, args *raft.AppendEntriesRequest) error
	tasks sync.WaitGroup

	mu        sync.Mutex // guards what follows
	closed    bool
	committed logPosition
	followers map[raft.ServerID]*follower
}

// logPosition is an entry's place in the log.
type logPosition struct{ index, term uint64 }

// follower is what this node, while it led, heard from another and sent to it.
type follower struct {
	address raft.ServerAddress
	header  raft.AppendEntriesRequest // of requests of its term, without their content
	holds   logPosition               // the last entry that it acknowledged
	told    uint64                    // the highest commit index sent in that term
	busy    bool                      // an announcement is under way
}

func newAnnouncer(send func(to raft.ServerID, at raft.ServerAddress, args *raft.AppendEntriesRequest) error) *announcer {
	return &announcer{send: send, followers: map[raft.ServerID]*follower{}}
}

// sent notes what a request of raft tells a follower.
func (a *announcer) sent(to raft.ServerID, at raft.ServerAddress, args *raft.AppendEntriesRequest) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if f := a.of(to, at, args); f != nil {
		f.told = max(f.told, args.LeaderCommitIndex)
	}
}

// acknowledged notes that a follower holds what a request of raft brought.
func (a *announcer) acknowledged(by raft.ServerID, at raft.ServerAddress, args *raft.AppendEntriesRequest) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f := a.of(by, at, args)
	if f == nil {
		return
	}
	holds := logPosition{args.PrevLogEntry, args.PrevLogTerm}
	if n := len(args.Entries); n > 0 {
		holds = logPosition{args.Entries[n-1].Index, args.Entries[n-1].Term}
	}
	f.holds = holds
	a.announce(by, f)
}

// commit notes an index up to which all is committed: that of an entry of a term, or one
// that was committed already while this node led the term.
func (a *announcer) commit(index, term uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if index <= a.committed.index {
		return
	}
	a.committed = logPosition{index, term}
	for id, f := range a.followers {
		a.announce(id, f)
	}
}

// of returns a follower in the term of a request, nil if that is over. a.mu is held.
func (a *announcer) of(id raft.ServerID, at raft.ServerAddress, args *raft.AppendEntriesRequest) *follower {
	f := a.followers[id]
	switch {
	case f == nil || f.header.Term < args.Term:
		header := *args
		header.Entries = nil
		f = &follower{header: header, busy: f != nil && f.busy}
		a.followers[id] = f
	case f.header.Term > args.Term:
		return nil
	}
	f.address = at
	return f
}

// news returns the commit index that a follower has not been told, 0 if there is none
// or it must not be told. a.mu is held.
func (a *announcer) news(f *follower) uint64 {
	if a.committed.term != f.header.Term {
		return 0
	}
	if index := min(a.committed.index, f.holds.index); index > f.told {
		return index
	}
	return 0
}

// announce begins an announcement if there is something to tell. a.mu is held.
func (a *announcer) announce(to raft.ServerID, f *follower) {
	if a.closed || f.busy || a.news(f) == 0 {
		return
	}
	f.busy = true
	a.tasks.Go(func() { a.tell(to) })
}

// tell sends announcements to a follower until it has been told everything. A failed
// one is not repeated: raft's next round says the same.
func (a *announcer) tell(to raft.ServerID) {
	for {
		at, args := a.next(to)
		if args == nil {
			return
		}
		if err := a.send(to, at, args); err != nil {
			a.rest(to)
			return
		}
	}
}

// next is the next announcement to a follower; without one it is busy no more.
func (a *announcer) next(to raft.ServerID) (raft.ServerAddress, *raft.AppendEntriesRequest) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f := a.followers[to]
	index := a.news(f)
	if index == 0 || a.closed {
		f.busy = false
		return "", nil
	}
	f.told = index
	args := f.header
	args.PrevLogEntry, args.PrevLogTerm, args.LeaderCommitIndex = f.holds.index, f.holds.term, index
	return f.address, &args
}

// rest ends a follower's announcements until the next commit or acknowledgement.
func (a *announcer) rest(to raft.ServerID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.followers[to].busy = false
}

// close ends all announcements; those under way must fail by themselves.
func (a *announcer) close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.tasks.Wait()
}
