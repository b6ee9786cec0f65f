package cluster_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"quicproquo/cluster/raftlog"
	"quicproquo/testcluster"
)

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
