package account

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
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
)

// BenchmarkKnownAgainstUnknown asks whether the time of a login start tells a
// known name from an unknown one: Welch's t over 20,000 samples of each. The
// control, which draws a fake record at each start as libraries offer to do,
// must be told apart, or the test would see nothing. Run with -bench
// KnownAgainstUnknown -benchtime 1x.
func BenchmarkKnownAgainstUnknown(b *testing.B) {
	setup := NewSetup()
	s := must(NewServer(setup))(b)
	request := must(must(configuration(Context).Client())(b).GenerateKE1([]byte("pw")))(b).Serialize()
	known, unknown := make([]Username, timingNames), make([]Username, timingNames)
	records := make([][]byte, timingNames)
	for i := range timingNames {
		known[i], unknown[i] = name(b, fmt.Sprintf("name%04d", i)), name(b, fmt.Sprintf("name%04d", i+timingNames))
		records[i] = encodeRecord(NewSetup().fake[:]) // any record has its form
	}
	login := func(who Username, record []byte) {
		if _, _, err := s.LoginStart(who, record, request, start); err != nil {
			b.Fatal(err)
		}
	}
	withRecord := func(i int) { login(known[i], records[i]) }

	b.Run("login start", func(b *testing.B) {
		raw, cropped := measure(b, withRecord, func(i int) { login(unknown[i], nil) })
		if math.Abs(raw) >= welchLimit || math.Abs(cropped) >= welchLimit {
			b.Errorf("|t| is %.2f, and %.2f over the fastest %.0f %%: want below %.1f", raw, cropped, 100*timingKept, welchLimit)
		}
	})
	b.Run("control", func(b *testing.B) {
		_, cropped := measure(b, withRecord, func(i int) {
			own := *setup
			own.drawFake()
			login(unknown[i], encodeRecord(own.fake[:]))
		})
		if math.Abs(cropped) < welchLimit {
			b.Errorf("|t| is %.2f for a server that does leak: the test sees nothing", cropped)
		}
	})
}

// measure times the two classes and returns Welch's t over all samples and over
// the fastest.
func measure(b *testing.B, first, second func(i int)) (raw, cropped float64) {
	b.Helper()
	classes := [2]func(int){first, second}
	for b.Loop() {
		var times [2][]float64
		for len(times[0]) < timingSamples || len(times[1]) < timingSamples {
			class, i := rand.IntN(2), rand.IntN(timingNames)
			began := time.Now()
			classes[class](i)
			times[class] = append(times[class], float64(time.Since(began)))
		}
		raw = welch(times[0], times[1])
		limit := quantile(slices.Concat(times[0], times[1]), timingKept)
		cropped = welch(below(times[0], limit), below(times[1], limit))
	}
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
	slices.Sort(x)
	return x[int(q*float64(len(x)-1))]
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
		t.Errorf("t is %.3f, want -2.8530", got)
	}
}
