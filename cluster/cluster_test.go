package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
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

// A crash of the leader under load loses no acknowledged write and doubles
// none; the crashed node comes back and catches up.
func TestLeaderCrashLosesNothing(t *testing.T) {
	for _, kind := range []raftlog.Kind{raftlog.BoltDB, raftlog.WAL} {
		t.Run(string(kind), func(t *testing.T) {
			c := testcluster.StartT(t, testcluster.Options{LogStore: kind})
			leader := c.LeaderT(t)
			survivors := c.FollowersT(t)
			l := startLoad(t, survivors, 8)
			l.await(t, 100)
			if err := leader.Kill(); err != nil {
				t.Fatal(err)
			}
			l.await(t, 100)
			if err := leader.Start(); err != nil {
				t.Fatal(err)
			}
			l.await(t, 100)
			l.stop()
			c.SameT(t)
			for _, n := range c.Nodes() {
				l.check(t, n)
			}
		})
	}
}

// An orderly stop of each node in turn, as in a rolling upgrade, fails no write.
func TestRollingRestartFailsNoWrite(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{})
	c.LeaderT(t)
	for _, n := range c.Nodes() {
		var others []*testcluster.Node
		for _, o := range c.Nodes() {
			if o != n {
				others = append(others, o)
			}
		}
		l := startLoad(t, others, 4)
		l.await(t, 20)
		if err := n.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		l.await(t, 20)
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
		l.await(t, 20)
		l.stop()
		if failed := l.failed.Load(); failed > 0 {
			t.Errorf("%d writes failed while %s restarted", failed, n.ID())
		}
		c.SameT(t)
		l.check(t, n)
	}
}

// load writes from several goroutines, each to its own inbox in order, and
// remembers what was acknowledged.
type load struct {
	nodes   []*testcluster.Node
	base    int
	mu      sync.Mutex
	acked   [][]string // per writer, in order
	count   atomic.Int64
	failed  atomic.Int64
	stop    func()
	writers int
}

var loads atomic.Int64

func startLoad(t *testing.T, nodes []*testcluster.Node, writers int) *load {
	t.Helper()
	l := &load{nodes: nodes, writers: writers, acked: make([][]string, writers), base: 1000 * int(loads.Add(1))}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for w := range writers {
		running.Go(func() { l.write(ctx, w) })
	}
	l.stop = func() { cancel(); running.Wait() }
	t.Cleanup(l.stop)
	return l
}

// write sends numbered bodies until ctx ends. A write whose fate is unknown is
// repeated with its request id until it is known.
func (l *load) write(ctx context.Context, w int) {
	for i := 0; ctx.Err() == nil; i++ {
		n := l.nodes[(w+i)%len(l.nodes)]
		body := fmt.Sprintf("%d-%d", w, i)
		id := []byte(fmt.Sprintf("%016d", l.base*1_000_000+w*100_000+i))[:16]
		for {
			_, _, err := tryWrite(context.WithoutCancel(ctx), n, l.base+w, id, body)
			if err == nil {
				break
			}
			l.failed.Add(1)
		}
		l.mu.Lock()
		l.acked[w] = append(l.acked[w], body)
		l.mu.Unlock()
		l.count.Add(1)
	}
}

// await waits for n more acknowledged writes.
func (l *load) await(t *testing.T, n int64) {
	t.Helper()
	target := l.count.Load() + n
	ctx, cancel := context.WithTimeout(t.Context(), proposeTime)
	defer cancel()
	if err := testcluster.Await(ctx, "acknowledged writes", func() error {
		if have := l.count.Load(); have < target {
			return fmt.Errorf("%d of %d", have, target)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// check compares a node's inboxes with what was acknowledged: all of it, once,
// in order, and nothing else.
func (l *load) check(t *testing.T, n *testcluster.Node) {
	t.Helper()
	for w := range l.writers {
		if got, want := bodies(t, n, l.base+w), l.acked[w]; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s, writer %d: %d envelopes, %d were acknowledged; first difference at %d",
				n.ID(), w, len(got), len(want), firstDifference(got, want))
		}
	}
}

func firstDifference(a, b []string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// Without a majority a write is refused as certainly not applied, and is
// indeed absent later.
func TestWithoutMajorityWritesAreUnavailable(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{})
	leader := c.LeaderT(t)
	alone := c.FollowersT(t)[0]
	for _, n := range c.Nodes() {
		if n != alone {
			if err := n.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	waitNoLeader(t, alone)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, _, err := alone.Engine().Propose(ctx, testcluster.EnqueueEntry(testcluster.Account(1), nil, []byte("lost")))
	if !errors.Is(err, cluster.ErrUnavailable) {
		t.Fatalf("got %v, want ErrUnavailable", err)
	}
	if err := leader.Start(); err != nil {
		t.Fatal(err)
	}
	write(t, alone, 1, nil, "found")
	if got := bodies(t, alone, 1); len(got) != 1 || got[0] != "found" {
		t.Errorf("inbox %v, want [found]: a write refused as unavailable was applied", got)
	}
}

func waitNoLeader(t *testing.T, n *testcluster.Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), proposeTime)
	defer cancel()
	if err := testcluster.Await(ctx, "the loss of the leader", func() error {
		if l := n.Engine().Leader(); l != "" {
			return fmt.Errorf("%s still follows %s", n.ID(), l)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// A write that a leader took and could not commit before the deadline is
// UNKNOWN, never failed; repeating it with its id gives one effect.
func TestIsolatedLeaderReportsUnknownOutcome(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{})
	leader := c.LeaderT(t)
	followers := c.FollowersT(t)
	c.Partition([]*testcluster.Node{leader}, followers)
	id := []byte("fedcba9876543210")
	entry := testcluster.EnqueueEntry(testcluster.Account(5), id, []byte("maybe"))
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, _, err := leader.Engine().Propose(ctx, entry); !errors.Is(err, cluster.ErrUnknownOutcome) {
		t.Fatalf("isolated leader: got %v, want ErrUnknownOutcome", err)
	}
	write(t, followers[0], 5, nil, "meanwhile")
	c.Heal()
	write(t, leader, 5, id, "maybe")
	c.SameT(t)
	count := 0
	for _, b := range bodies(t, leader, 5) {
		if b == "maybe" {
			count++
		}
	}
	if count != 1 {
		t.Errorf("the repeated write had %d effects, want 1", count)
	}
}

// A linearizable read on any connected node sees every acknowledged write; on
// an isolated old leader it fails rather than answer from the past.
func TestLinearizeNeverAnswersFromThePast(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{})
	leader := c.LeaderT(t)
	for i := range 30 {
		write(t, c.Node(i%3), 9, nil, "x")
		reader := c.Node((i + 1) % 3)
		if err := reader.Engine().Linearize(t.Context()); err != nil {
			t.Fatalf("linearize on %s: %v", reader.ID(), err)
		}
		if got := bodies(t, reader, 9); len(got) != i+1 {
			t.Fatalf("%s shows %d envelopes after %d acknowledged writes", reader.ID(), len(got), i+1)
		}
	}
	followers := c.FollowersT(t)
	c.Partition([]*testcluster.Node{leader}, followers)
	write(t, followers[0], 9, nil, "new")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := leader.Engine().Linearize(ctx); err == nil {
		t.Error("the isolated old leader confirmed a read that misses an acknowledged write")
	}
	if err := followers[1].Engine().Linearize(t.Context()); err != nil {
		t.Errorf("a node on the majority's side: %v", err)
	}
}

// A wiped node is whole again through a snapshot while writes go on.
func TestWipedNodeComesBackBySnapshot(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{
		Snapshot: cluster.SnapshotPolicy{Interval: time.Second, Threshold: 1 << 40, Trailing: 16},
	})
	c.LeaderT(t)
	victim := c.FollowersT(t)[0]
	var others []*testcluster.Node
	for _, n := range c.Nodes() {
		if n != victim {
			others = append(others, n)
		}
	}
	l := startLoad(t, others, 4)
	l.await(t, 200)
	if err := victim.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := victim.Wipe(); err != nil {
		t.Fatal(err)
	}
	l.await(t, 200)
	for _, n := range others {
		if err := n.Engine().Snapshot(); err != nil {
			t.Fatal(err)
		}
	}
	l.await(t, 50)
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	l.await(t, 100)
	l.stop()
	c.SameT(t)
	l.check(t, victim)
	if snaps := victim.Engine().SnapshotCount(); snaps == 0 {
		t.Error("the wiped node caught up without a snapshot: the test proved nothing")
	}
}

// A new node is added, catches up and becomes a voter; a removed one stops and
// says so, and its connections are refused.
func TestMembersComeAndGo(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{})
	c.LeaderT(t)
	write(t, c.Node(0), 1, nil, "before")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	added, err := c.Add(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := testcluster.Await(ctx, "promotion", func() error {
		for _, m := range c.Node(0).Engine().Members() {
			if m.ID == added.ID() && m.Voter {
				return nil
			}
		}
		return fmt.Errorf("%s is no voter yet", added.ID())
	}); err != nil {
		t.Fatal(err)
	}
	write(t, added, 1, nil, "by the new node")
	c.SameT(t)

	gone := c.FollowersT(t)[0]
	engine := gone.Engine()
	if err := c.LeaderT(t).Engine().RemoveMember(ctx, gone.ID()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-engine.Failed():
	case <-ctx.Done():
		t.Fatal("the removed node did not stop")
	}
	if err := engine.Err(); !errors.Is(err, cluster.ErrRemoved) {
		t.Errorf("the removed node says %v, want ErrRemoved", err)
	}
	if err := gone.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := c.LeaderT(t).Engine().RemoveMember(ctx, "nobody"); !errors.Is(err, cluster.ErrMemberUnknown) {
		t.Errorf("removing a stranger: %v, want ErrMemberUnknown", err)
	}
	write(t, added, 1, nil, "after")
	c.SameT(t)
}

// Leadership goes where the operator wants it, asked from any node.
func TestTransferLeadership(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{})
	c.LeaderT(t)
	for _, to := range c.Nodes() {
		for _, via := range c.Nodes()[:2] {
			if err := via.Engine().TransferLeadership(t.Context(), to.ID()); err != nil {
				t.Fatalf("transfer to %s via %s: %v", to.ID(), via.ID(), err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), proposeTime)
		if err := testcluster.Await(ctx, "the new leader", func() error {
			if !to.Engine().Ready() {
				return fmt.Errorf("%s does not lead", to.ID())
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		cancel()
	}
	if err := c.Node(0).Engine().TransferLeadership(t.Context(), "nobody"); !errors.Is(err, cluster.ErrMemberUnknown) {
		t.Errorf("transfer to a stranger: %v, want ErrMemberUnknown", err)
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
