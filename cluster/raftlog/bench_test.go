package raftlog

import (
	"fmt"
	"testing"

	"github.com/hashicorp/raft"
)

// BenchmarkStoreLogs writes durable batches of 1 KiB commands.
func BenchmarkStoreLogs(b *testing.B) {
	for _, kind := range kinds {
		for _, batch := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/batch=%d", kind, batch), func(b *testing.B) {
				s := mustOpen(b, b.TempDir(), kind)
				body := entry(b, 1, 1024).Data
				index := uint64(0)
				b.SetBytes(int64(batch * len(body)))
				for b.Loop() {
					logs := make([]*raft.Log, batch)
					for i := range logs {
						index++
						logs[i] = &raft.Log{Index: index, Term: 1, Data: body}
					}
					must(b, s.Log.StoreLogs(logs))
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/entry")
				mustClose(b, s)
			})
		}
	}
}

// BenchmarkGetLog reads and verifies entries of 1 KiB from the page cache.
func BenchmarkGetLog(b *testing.B) {
	for _, kind := range kinds {
		b.Run(string(kind), func(b *testing.B) {
			s := mustOpen(b, b.TempDir(), kind)
			must(b, s.Log.StoreLogs(entries(b, 1, 512, 1024)))
			var log raft.Log
			index := uint64(0)
			for b.Loop() {
				must(b, s.Log.GetLog(1+index%512, &log))
				index++
			}
			mustClose(b, s)
		})
	}
}
