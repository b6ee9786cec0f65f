package cluster_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"quicproquo/cluster"
	"quicproquo/testcluster"
)

// A log of few large entries is cut by its bytes, on every node: raft alone
// counts entries and would keep all of them.
func TestLogIsBoundedByBytes(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for the disk: go test without -short runs it; in the race run the tests of crashes have the same goroutines at work")
	}
	const (
		body    = 8 << 10
		writes  = 1024 // 8 MiB
		bytes   = 1 << 20
		keep    = 2 << 20
		entries = 1 << 40 // never reached
	)
	c := testcluster.StartT(t, testcluster.Options{Snapshot: cluster.SnapshotPolicy{
		Interval: time.Hour, Threshold: entries, Trailing: entries, Bytes: bytes, TrailingBytes: keep,
	}})
	leader := c.LeaderT(t)
	text := strings.Repeat("x", body)
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for range writes / 4 {
				if _, _, err := tryWrite(t.Context(), leader, w, nil, text); err != nil {
					t.Errorf("write: %v", err)
					return
				}
			}
		})
	}
	writers.Wait()
	c.SameT(t)
	for _, n := range c.Nodes() {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		// What stays, what has come since the last snapshot, a step of each.
		for limit := int64(keep + bytes + bytes/4 + 4*body); ; {
			size, err := n.Engine().LogBytes()
			if err != nil {
				t.Fatal(err)
			}
			if size <= limit {
				break
			}
			if pause(ctx) != nil {
				t.Errorf("%s: the log holds %d bytes, want at most %d", n.ID(), size, limit)
				break
			}
		}
		cancel()
	}
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(20 * time.Millisecond):
		return nil
	}
}
