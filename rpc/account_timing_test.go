package rpc

import (
	"fmt"
	"math"
	mathrand "math/rand/v2"
	"slices"
	"testing"
	"time"

	"quicproquo/crypto/account"
	"quicproquo/schemas"
)

const (
	// timingSamples of each class, interleaved in random order.
	timingSamples = 20_000
	// timingNames are the names of each class.
	timingNames = 512
	// welchLimit is the usual bound of a leakage test: two classes whose |t|
	// stays below it are not told apart.
	welchLimit = 4.5
	// timingKept is the share of the samples, fastest first, of the second
	// test: a machine's interruptions are in the rest.
	timingKept = 0.9
	// timingLeak is what the control waits longer for unknown names: a thirtieth
	// of a login start.
	timingLeak = 7 * time.Microsecond
)

// BenchmarkKnownAgainstUnknown asks whether the time of a call tells a name with
// an account from one without, through the whole handler: decoding, reading the
// store, the log, OPAQUE, encoding. Welch's t over 20,000 samples of each, and
// over the fastest 90 % of them. The control, a server that takes a few µs longer
// for unknown names, must be told apart, or the test would see nothing. Run with
// -bench KnownAgainstUnknown -benchtime 1x; docs/security-audit.md has results.
func BenchmarkKnownAgainstUnknown(b *testing.B) {
	a := newAccountBench(b)
	upload := a.upload(b, "alice", "right")
	request := ke1(b, "alice")
	var starts, ends, registrations [2][][]byte // known, unknown
	for i := range 2 * timingNames {
		name, class := fmt.Sprintf("name%04d", i), i%2
		if class == 0 {
			a.must(b, registerFrame(b, false, name, randomKey(b), upload))
		}
		starts[class] = append(starts[class], loginStartFrame(b, name, request))
		registrations[class] = append(registrations[class], registerStartFrame(b, name, request[:32]))
	}
	for i := range 2 * timingNames {
		ends[i%2] = append(ends[i%2], a.failingEnd(b, fmt.Sprintf("name%04d", i), request))
	}
	run := func(frame []byte) time.Duration {
		_, took, err := a.answer(frame)
		must(b, err)
		return took.all
	}
	for _, c := range []struct {
		what   string
		frames [2][][]byte
	}{{"login start", starts}, {"failed login finish", ends}, {"register start", registrations}} {
		b.Run(c.what, func(b *testing.B) {
			raw, cropped := measureClasses(b, func(class, i int) time.Duration { return run(c.frames[class][i]) })
			if math.Abs(raw) >= welchLimit || math.Abs(cropped) >= welchLimit {
				b.Errorf("|t| is %.2f, and %.2f over the fastest %.0f %%: want below %.1f", raw, cropped, 100*timingKept, welchLimit)
			}
		})
	}
	b.Run("control", func(b *testing.B) {
		_, cropped := measureClasses(b, func(class, i int) time.Duration {
			return run(starts[class][i]) + time.Duration(class)*timingLeak
		})
		if math.Abs(cropped) < welchLimit {
			b.Errorf("|t| is %.2f for a server that does leak: the test sees nothing", cropped)
		}
	})
}

// failingEnd is the end of a login that fails: a wrong password, or no account.
func (a *accountBench) failingEnd(b *testing.B, name string, request []byte) []byte {
	b.Helper()
	r, _ := a.must(b, loginStartFrame(b, name, request))
	handshake, err := schemas.OpaqueLoginStartResults(r.results).Handshake()
	must(b, err)
	f := finish{name: name, finalization: make([]byte, account.FinalizationSize), handshake: handshake, key: randomKey(b)}
	return frameWith(b, 11, newRequestID(), schemas.NewOpaqueLoginFinishParams, f.fill)
}

// measureClasses times two classes in random order and returns Welch's t over all
// samples and over the fastest.
func measureClasses(b *testing.B, once func(class, i int) time.Duration) (raw, cropped float64) {
	b.Helper()
	for b.Loop() {
		var times [2][]float64
		for len(times[0]) < timingSamples || len(times[1]) < timingSamples {
			class, i := mathrand.IntN(2), mathrand.IntN(timingNames)
			times[class] = append(times[class], float64(once(class, i)))
		}
		raw = welch(times[0], times[1])
		limit := quantile(slices.Concat(times[0], times[1]), timingKept)
		cropped = welch(below(times[0], limit), below(times[1], limit))
		b.ReportMetric(quantile(times[0], 0.5)/1e3, "known-µs")
		b.ReportMetric(quantile(times[1], 0.5)/1e3, "unknown-µs")
	}
	b.ReportMetric(0, "ns/op") // of all samples together
	b.ReportMetric(raw, "t")
	b.ReportMetric(cropped, "t-cropped")
	return raw, cropped
}

// welch is Welch's t statistic.
func welch(a, b []float64) float64 {
	meanA, varA := moments(a)
	meanB, varB := moments(b)
	return (meanA - meanB) / math.Sqrt(varA/float64(len(a))+varB/float64(len(b)))
}

func moments(x []float64) (mean, variance float64) {
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		variance += (v - mean) * (v - mean) / float64(len(x)-1)
	}
	return mean, variance
}

func quantile(x []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(x))
	return sorted[int(q*float64(len(sorted)-1))]
}

// below keeps what is under a limit common to both classes.
func below(x []float64, limit float64) []float64 {
	return slices.DeleteFunc(slices.Clone(x), func(v float64) bool { return v > limit })
}

// Welch's t is known for two small samples.
func TestWelch(t *testing.T) {
	a := []float64{27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1, 21.9, 22.6, 23.1, 19.6, 19.0, 21.7, 21.4}
	b := []float64{27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0, 24.8, 20.2, 21.9, 22.1, 22.9, 30.5, 24.4}
	if got := welch(a, b); math.Abs(got+2.85295) > 1e-4 {
		t.Errorf("t is %.4f, want -2.8530", got)
	}
}
