package main

import (
	"context"
	"errors"
	"os"
	"runtime/pprof"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"quicproquo/cmd/qpqchaos/internal/chaos"
)

// probeEnds is how long memberlist's last probe outlives its cluster: a bubble ends
// when all its goroutines have.
const probeEnds = time.Minute

type simResult struct {
	summary chaos.Summary
	err     error
}

// runSim runs in a bubble of fake time. Only a test of the testing package can open
// one, so this starts that package's main function, whose test hands the result over
// and never returns: testing.Main would end the process.
func runSim(ctx context.Context, o chaos.Options) (chaos.Summary, error) {
	results := make(chan simResult, 1)
	var beat atomic.Int64
	o.Beat = func() { beat.Add(1) }
	simulation := func(t *testing.T) {
		var r simResult
		synctest.Test(t, func(*testing.T) {
			// A channel from outside the bubble would stop its time.
			r.summary, r.err = chaos.RunHere(context.WithoutCancel(ctx), o)
			time.Sleep(probeEnds)
		})
		results <- r
		select {}
	}
	everything := func(_, _ string) (bool, error) { return true, nil }
	os.Args = os.Args[:1] // testing.Main reads them as its own
	go testing.Main(everything, []testing.InternalTest{{Name: "simulation", F: simulation}}, nil, nil)
	ticker := time.NewTicker(standStill)
	defer ticker.Stop()
	for last := int64(-1); ; {
		select {
		case r := <-results:
			return r.summary, r.err
		case <-ctx.Done():
			return chaos.Summary{}, ctx.Err()
		case <-ticker.C:
		}
		now := beat.Load()
		if now == last {
			_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 2)
			return chaos.Summary{}, errStandStill
		}
		last = now
	}
}

// standStill is how long, by the real clock, a simulation may not move. Fake time
// goes on only while all goroutines of the bubble wait for it or for each other:
// one that waits for a lock whose holder waits for time stops it forever.
const standStill = 2 * time.Minute

var errStandStill = errors.New("the simulation stands still: a goroutine waits for a lock whose holder waits for time; the stacks are above")
