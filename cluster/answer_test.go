package cluster

import (
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// muteFuture is an entry that raft forgot to answer when it shut down, as it does
// with those in its queue to the store.
type muteFuture struct {
	raft.ApplyFuture
	release chan struct{}
}

func (f muteFuture) Error() error {
	<-f.release
	return nil
}

// An entry that raft never answers ends with raft, and its outcome is unknown: it
// is in the log.
func TestUnansweredEntryEndsWithRaft(t *testing.T) {
	n := &Node{raftGone: make(chan struct{})}
	f := muteFuture{release: make(chan struct{})}
	defer close(f.release)
	got := make(chan error, 1)
	go func() { got <- n.answer(f) }()
	select {
	case err := <-got:
		t.Fatalf("answered with %v while raft runs", err)
	case <-time.After(20 * time.Millisecond):
	}
	close(n.raftGone)
	if err := <-got; !errors.Is(err, raft.ErrRaftShutdown) || notApplied(err) {
		t.Errorf("got %v, want the shutdown, as an unknown outcome", err)
	}
}
