//go:build unix

package mls

import (
	"crypto/sha256"
	"runtime"
	"testing"
	"time"

	"quicproquo/crypto/suite"
)

// BenchmarkHostile measures what each input costs as a multiple of its floor: hashing its
// bytes with SHA-256 and checking the genuine signatures that it carries. At most
// hostileRatio is allowed; the last line is the worst.
func BenchmarkHostile(b *testing.B) {
	const size = 1 << 20
	s := must(suite.Lookup(worldSuite))(b)
	signer := must(s.GenerateSigner())(b)
	content := make([]byte, 512)
	sig := must(signer.SignWithLabel("x", content))(b)
	worst, of := 0.0, ""
	for _, c := range hostileInputs {
		b.Run(c.name, func(b *testing.B) {
			h := c.make(b, size)
			least := leastCPU(b, func() {
				sha256.Sum256(h.input)
				for range h.signatures {
					_ = s.VerifyWithLabel(signer.Public(), "x", content, sig)
				}
			})
			var took time.Duration
			for b.Loop() {
				took = leastCPU(b, func() { _ = h.read(h.input) })
			}
			ratio := float64(took) / float64(least)
			if ratio > worst {
				worst, of = ratio, c.name
			}
			b.ReportMetric(ratio, "x-floor")
			b.ReportMetric(float64(len(h.input)), "bytes")
			b.ReportMetric(float64(took)/1e6, "ms")
			b.ReportMetric(0, "ns/op")
		})
	}
	b.Run("worst", func(b *testing.B) {
		for b.Loop() { // what is measured was measured above
		}
		b.Logf("worst: %s, %.1f times its floor, at most %d", of, worst, hostileRatio)
		b.ReportMetric(worst, "x-floor")
		b.ReportMetric(0, "ns/op")
		if worst > hostileRatio {
			b.Errorf("%s costs %.1f times its floor, at most %d are allowed", of, worst, hostileRatio)
		}
	})
}

// hostileRatio is the goal: an input costs at most so many times its floor.
const hostileRatio = 20

// leastCPU is the least processor time that a few runs took, collection of garbage
// included: what disturbs one disturbs not all.
func leastCPU(b *testing.B, f func()) time.Duration {
	b.Helper()
	runtime.GC() // what was made before is not this function's
	best := time.Duration(1 << 62)
	for n, start := 0, time.Now(); n < 5 || n < 50 && time.Since(start) < 200*time.Millisecond; n++ {
		before := cpuTime(b)
		f()
		best = min(best, cpuTime(b)-before)
	}
	return max(best, time.Microsecond)
}
