package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"quicproquo/cluster"
	"quicproquo/cluster/raftlog"
	"quicproquo/fsm"
	"quicproquo/schemas"
	"quicproquo/testcluster"
)

// proposeTime is the deadline of a test's write; far above any failover.
const proposeTime = 20 * time.Second

// write proposes one enqueue on a node and returns its sequence number.
func write(tb testing.TB, n *testcluster.Node, recipient int, requestID []byte, body string) (seq, index uint64) {
	tb.Helper()
	seq, index, err := tryWrite(tb.Context(), n, recipient, requestID, body)
	if err != nil {
		tb.Fatalf("write on %s: %v", n.ID(), err)
	}
	return seq, index
}

func tryWrite(ctx context.Context, n *testcluster.Node, recipient int, requestID []byte, body string) (seq, index uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, proposeTime)
	defer cancel()
	index, result, err := n.Engine().Propose(ctx, testcluster.EnqueueEntry(testcluster.Account(recipient), requestID, []byte(body)))
	if err != nil {
		return 0, 0, err
	}
	if result.Code != schemas.Code_ok {
		return 0, 0, fmt.Errorf("refused with %s", result.Code.ID())
	}
	seq, err = testcluster.EnqueuedSeq(result)
	return seq, index, err
}

// bodies reads a whole inbox on one node.
func bodies(tb testing.TB, n *testcluster.Node, recipient int) []string {
	tb.Helper()
	got, err := testcluster.Inbox(n, recipient)
	if err != nil {
		tb.Fatalf("read inbox on %s: %v", n.ID(), err)
	}
	return got
}

// A write proposed on any node is applied by every node, and all stores are equal.
func TestWritesOnAnyNodeReachEveryNode(t *testing.T) {
	for _, kind := range []raftlog.Kind{raftlog.BoltDB, raftlog.WAL} {
		t.Run(string(kind), func(t *testing.T) {
			c := testcluster.StartT(t, testcluster.Options{LogStore: kind})
			c.LeaderT(t)
			for i, n := range c.Nodes() {
				if seq, _ := write(t, n, 7, nil, fmt.Sprint("from ", n.ID())); seq != uint64(i+1) {
					t.Errorf("write %d got sequence number %d", i, seq)
				}
			}
			c.SameT(t)
			want := []string{"from n1", "from n2", "from n3"}
			for _, n := range c.Nodes() {
				if got := bodies(t, n, 7); fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("%s has %v, want %v", n.ID(), got, want)
				}
			}
		})
	}
}

// A client that names the index of its write reads it on every node.
func TestSeenIndexReadsOwnWrites(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{})
	leader := c.LeaderT(t)
	for i := range 50 {
		_, index := write(t, leader, 1, nil, fmt.Sprint(i))
		for _, n := range c.FollowersT(t) {
			if err := n.Engine().WaitSeen(t.Context(), index); err != nil {
				t.Fatal(err)
			}
			if got := bodies(t, n, 1); len(got) != i+1 {
				t.Fatalf("%s shows %d envelopes after index %d, want %d", n.ID(), len(got), index, i+1)
			}
		}
	}
}

// The same request id gives the same answer on whichever node it is repeated,
// and one effect.
func TestRepeatedRequestIDIsAppliedOnce(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{})
	c.LeaderT(t)
	id := []byte("0123456789abcdef")
	for _, n := range c.Nodes() {
		if seq, _ := write(t, n, 3, id, "once"); seq != 1 {
			t.Errorf("repeat on %s got sequence number %d, want 1", n.ID(), seq)
		}
	}
	c.SameT(t)
	if got := bodies(t, c.Node(0), 3); len(got) != 1 {
		t.Errorf("%d envelopes after three repeats, want 1", len(got))
	}
}

// Bytes that are no entry never reach the log.
func TestProposeRefusesWhatIsNoEntry(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{})
	n := c.LeaderT(t)
	empty, err := schemas.BuildEntry(nil, schemas.Caller{}, func(schemas.Entry_command) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	for name, entry := range map[string][]byte{
		"nothing": nil, "garbage": []byte("garbage garbage!"), "an entry without command": empty,
	} {
		for _, node := range []*testcluster.Node{n, c.FollowersT(t)[0]} {
			if _, _, err := node.Engine().Propose(t.Context(), entry); !errors.Is(err, cluster.ErrBadEntry) {
				t.Errorf("%s on %s: %v, want ErrBadEntry", name, node.ID(), err)
			}
		}
	}
	write(t, n, 1, nil, "fine")
}

// A watcher on any node wakes when a write touches its queue, and on no other.
func TestWatchersWakeOnEveryNode(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{})
	c.LeaderT(t)
	mine := fsm.QueueID{Owner: testcluster.Account(4)}
	other := fsm.QueueID{Owner: testcluster.Account(5)}
	var watches, quiet []*fsm.Watch
	for _, n := range c.Nodes() {
		watches = append(watches, n.Engine().Watch(mine))
		quiet = append(quiet, n.Engine().Watch(other))
	}
	write(t, c.Node(1), 4, nil, "wake up")
	for i, w := range watches {
		select {
		case <-w.C:
		case <-time.After(proposeTime):
			t.Errorf("the watcher on %s slept through the write", c.Node(i).ID())
		}
		w.Stop()
	}
	for i, w := range quiet {
		select {
		case <-w.C:
			t.Errorf("a watcher of another queue woke on %s", c.Node(i).ID())
		default:
		}
		w.Stop()
	}
}

// Followers apply what was acknowledged without waiting for raft's next round, which
// says it again: with rounds of half a second, forty writes are on all nodes long before
// forty rounds are over.
func TestCommitsReachFollowersAtOnce(t *testing.T) {
	timing := cluster.DefaultTiming()
	timing.Commit = 500 * time.Millisecond
	c := testcluster.StartT(t, testcluster.Options{Timing: timing})
	leader := c.LeaderT(t)
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	for i := range 40 {
		_, index := write(t, leader, 1, nil, fmt.Sprintf("write %d", i))
		for _, n := range c.FollowersT(t) {
			if err := n.Engine().WaitSeen(ctx, index); err != nil {
				t.Fatalf("write %d on %s: %v: followers wait for raft's rounds", i, n.ID(), err)
			}
		}
	}
}
