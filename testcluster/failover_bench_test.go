package testcluster_test

import (
	"context"
	"log/slog"
	"sort"
	"testing"
	"time"

	"quicproquo/testcluster"
)

// writeOnce writes through a node and returns when it is acknowledged.
func writeOnce(b *testing.B, n *testcluster.Node) uint64 {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 30*time.Second)
	defer cancel()
	index, _, err := n.Engine().Propose(ctx, testcluster.EnqueueEntry(testcluster.Account(1), nil, make([]byte, bodySize)))
	if err != nil {
		b.Fatal(err)
	}
	return index
}

// median of durations, in milliseconds.
func median(d []time.Duration) float64 {
	sort.Slice(d, func(i, j int) bool { return d[i] < d[j] })
	return float64(d[len(d)/2].Microseconds()) / 1000
}

// BenchmarkFailover measures the time from the loss of the leader to the next
// acknowledged write through another node, in ms, and how long the lost node
// takes to answer its peers again after its start. `crash` drops the leader's
// socket and store without a word, `stop` is an orderly stop.
func BenchmarkFailover(b *testing.B) {
	for name, lose := range map[string]func(*testcluster.Node) error{
		"crash": (*testcluster.Node).Kill,
		"stop":  func(n *testcluster.Node) error { return n.Stop(context.Background()) },
	} {
		b.Run(name, func(b *testing.B) {
			c := testcluster.StartT(b, testcluster.Options{Network: testcluster.Direct(), Logger: slog.New(slog.DiscardHandler)})
			var gaps, back []time.Duration
			for b.Loop() {
				leader := c.LeaderT(b)
				survivor := c.FollowersT(b)[0]
				writeOnce(b, survivor)
				lost := make(chan error, 1)
				start := time.Now()
				go func() { lost <- lose(leader) }()
				for survivor.Engine().Leader() == leader.ID() {
					time.Sleep(time.Millisecond)
				}
				writeOnce(b, survivor)
				gaps = append(gaps, time.Since(start))
				if err := <-lost; err != nil {
					b.Fatal(err)
				}
				start = time.Now()
				if err := leader.Start(); err != nil {
					b.Fatal(err)
				}
				for leader.Engine().Leader() == "" {
					time.Sleep(time.Millisecond)
				}
				back = append(back, time.Since(start))
				c.SameT(b)
			}
			b.ReportMetric(median(gaps), "gap-ms")
			b.ReportMetric(median(back), "back-ms")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkFollowerLag measures, on an idle cluster, how long after the leader's
// acknowledgement a follower has applied a write.
func BenchmarkFollowerLag(b *testing.B) {
	c := testcluster.StartT(b, testcluster.Options{Network: testcluster.Direct(), Logger: slog.New(slog.DiscardHandler)})
	leader := c.LeaderT(b)
	follower := c.FollowersT(b)[0]
	var lags []time.Duration
	for b.Loop() {
		index := writeOnce(b, leader)
		start := time.Now()
		if err := follower.Engine().WaitSeen(b.Context(), index); err != nil {
			b.Fatal(err)
		}
		lags = append(lags, time.Since(start))
		time.Sleep(2 * time.Millisecond)
	}
	p50 := median(lags)
	b.ReportMetric(p50, "p50-ms")
	b.ReportMetric(float64(lags[len(lags)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkLinearize measures a confirm round on a follower.
func BenchmarkLinearize(b *testing.B) {
	c := testcluster.StartT(b, testcluster.Options{Network: testcluster.Direct(), Logger: slog.New(slog.DiscardHandler)})
	c.LeaderT(b)
	follower := c.FollowersT(b)[0].Engine()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := follower.Linearize(context.Background()); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
