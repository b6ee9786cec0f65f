package testcluster_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"quicproquo/cluster"
	"quicproquo/schemas"
	"quicproquo/testcluster"
)

// A whole cluster on fake time: three nodes on a network in memory, cut into
// random parts again and again for minutes. Writes go on through every node;
// what was acknowledged is there in the end, once, in each writer's order, and
// all nodes are equal.
func TestSimulatedPartitionsLoseNothing(t *testing.T) {
	minutes, seeds := 10, uint64(2)
	if testing.Short() {
		minutes, seeds = 2, 1
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { simulate(t, seed, time.Duration(minutes)*time.Minute) })
		})
	}
}

func simulate(t *testing.T, seed uint64, d time.Duration) {
	rng := rand.New(rand.NewPCG(seed, 7))
	c, err := testcluster.Start(testcluster.Options{
		Dir: t.TempDir(), MemoryStore: true,
		Network: testcluster.NewMemory(testcluster.NewFaults(seed)),
		Logger:  slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(context.Background()); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute) // memberlist does not join its last probe
	}()
	ctx, cancel := context.WithCancel(t.Context())
	writers := startSimWriters(ctx, c)
	end := time.Now().Add(d)
	cuts := 0
	for time.Now().Before(end) {
		time.Sleep(time.Duration(rng.IntN(5000)) * time.Millisecond)
		nodes := c.Nodes()
		rng.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
		c.Partition(nodes[:1], nodes[1:])
		cuts++
		time.Sleep(time.Duration(rng.IntN(5000)) * time.Millisecond)
		c.Heal()
	}
	cancel()
	acked := writers.wait()
	waitCtx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	if err := c.WaitSame(waitCtx); err != nil {
		t.Fatal(err)
	}
	total := 0
	for w, want := range acked {
		total += len(want)
		for _, n := range c.Nodes() {
			got, err := testcluster.Inbox(n, w)
			if err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("seed %d: %s shows writer %d %d envelopes, %d were acknowledged", seed, n.ID(), w, len(got), len(want))
			}
		}
	}
	if total == 0 || cuts == 0 {
		t.Fatalf("seed %d: %d writes and %d cuts prove nothing", seed, total, cuts)
	}
	t.Logf("seed %d: %v simulated, %d partitions, %d acknowledged writes", seed, d, cuts, total)
}

// simWriters write through one node each, numbered, and repeat what is not
// known to be applied.
type simWriters struct{ results chan simResult }

type simResult struct {
	writer int
	acked  []string
}

const simWriterCount = 3

func startSimWriters(ctx context.Context, c *testcluster.Cluster) *simWriters {
	s := &simWriters{results: make(chan simResult, simWriterCount)}
	for w := range simWriterCount {
		go func() {
			var acked []string
			for i := 0; ctx.Err() == nil; i++ {
				body := fmt.Sprintf("%d-%d", w, i)
				id := []byte(fmt.Sprintf("%08d%08d", w, i))
				simWrite(c.Node(w).Engine(), w, id, body)
				acked = append(acked, body)
				time.Sleep(200 * time.Millisecond)
			}
			s.results <- simResult{w, acked}
		}()
	}
	return s
}

// simWrite returns when the write is acknowledged.
func simWrite(n *cluster.Node, recipient int, id []byte, body string) {
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		_, result, err := n.Propose(ctx, testcluster.EnqueueEntry(testcluster.Account(recipient), id, []byte(body)))
		cancel()
		if err == nil && result.Code == schemas.Code_ok {
			return
		}
		if err != nil && !errors.Is(err, cluster.ErrUnavailable) && !errors.Is(err, cluster.ErrUnknownOutcome) {
			panic(fmt.Sprintf("write %s: %v", body, err))
		}
	}
}

func (s *simWriters) wait() map[int][]string {
	acked := map[int][]string{}
	for range simWriterCount {
		r := <-s.results
		acked[r.writer] = r.acked
	}
	return acked
}
