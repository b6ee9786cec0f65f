package testcluster_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quicproquo/cluster"
	"quicproquo/cluster/raftlog"
	"quicproquo/schemas"
	"quicproquo/testcluster"
)

// bodySize is the size of a body that all of the engine's numbers speak of.
const bodySize = 1024

// queues are the recipients that the benchmark's writes are spread over. Their keys
// are spread as those of real accounts are.
var queues = randomKeys(10_000)

func randomKeys(n int) [][schemas.AccountKeySize]byte {
	keys := make([][schemas.AccountKeySize]byte, n)
	random := rand.NewChaCha8([32]byte{})
	for i := range keys {
		_, _ = random.Read(keys[i][:]) // never fails
	}
	return keys
}

// BenchmarkEngine compares the engine (three nodes, real QUIC, real disks, the
// real store, batching) with raw hashicorp/raft in the same process and the
// same run: `ratio` is engine over raw, both in acknowledged writes a second. All
// three write the same entries: a body of 1 KiB for one of many recipients.
//
// One run alternates raw, leader and follower, so that drift of the machine
// meets all three.
func BenchmarkEngine(b *testing.B) {
	for _, kind := range []raftlog.Kind{raftlog.BoltDB, raftlog.WAL} {
		for _, writers := range []int{1, 64, 256, 1024} {
			b.Run(fmt.Sprintf("%s/writers=%d", kind, writers), func(b *testing.B) {
				benchEngine(b, kind, writers)
			})
		}
	}
}

const (
	benchSlice  = time.Second
	benchWarmup = 500 * time.Millisecond
)

// benchOrders are the rounds. Each order comes once: what one leaves to do to those
// after it, the stores' compactions above all, meets every one alike.
var benchOrders = [][]string{
	{"raw", "leader", "follower"},
	{"leader", "raw", "follower"},
	{"follower", "raw", "leader"},
	{"raw", "follower", "leader"},
	{"leader", "follower", "raw"},
	{"follower", "leader", "raw"},
}

func benchEngine(b *testing.B, kind raftlog.Kind, writers int) {
	raw := startRaw(b, kind)
	rawLeader := raw.leader(b)
	c := testcluster.StartT(b, testcluster.Options{Network: testcluster.Direct(), LogStore: kind, Logger: slog.New(slog.DiscardHandler)})
	leader := c.LeaderT(b)
	follower := c.FollowersT(b)[0]

	targets := map[string]func(context.Context, []byte) error{
		"raw": func(_ context.Context, entry []byte) error {
			return rawLeader.Apply(entry, 10*time.Second).Error()
		},
		"leader":   proposeTo(leader.Engine()),
		"follower": proposeTo(follower.Engine()),
	}
	acked := map[string]int64{}
	for name, write := range targets {
		load(writers, benchWarmup, write)
		acked[name] = 0
	}
	b.ResetTimer()
	for range b.N {
		for _, order := range benchOrders {
			for _, name := range order {
				acked[name] += load(writers, benchSlice, targets[name])
			}
		}
	}
	seconds := float64(b.N*len(benchOrders)) * benchSlice.Seconds()
	for name, n := range acked {
		b.ReportMetric(float64(n)/seconds, name+"/s")
	}
	b.ReportMetric(float64(acked["leader"])/float64(acked["raw"]), "leader-ratio")
	b.ReportMetric(float64(acked["follower"])/float64(acked["raw"]), "follower-ratio")
	b.ReportMetric(0, "ns/op")
}

func proposeTo(node *cluster.Node) func(context.Context, []byte) error {
	return func(ctx context.Context, entry []byte) error {
		_, result, err := node.Propose(ctx, entry)
		if err == nil && result.Code != schemas.Code_ok {
			return fmt.Errorf("refused: %s", result.Code.ID())
		}
		return err
	}
}

// load runs writers for a while and counts acknowledged writes.
func load(writers int, d time.Duration, write func(context.Context, []byte) error) int64 {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	var acked atomic.Int64
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			body := make([]byte, bodySize)
			for i := range body {
				body[i] = byte(rand.Uint32())
			}
			for ctx.Err() == nil {
				entry := testcluster.EnqueueEntry(queues[rand.IntN(len(queues))], nil, body)
				if write(context.WithoutCancel(ctx), entry) == nil {
					acked.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return acked.Load()
}
