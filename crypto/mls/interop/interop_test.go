package interop

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
)

// seed fixes the random operations, to repeat a failure.
var seed = flag.Uint64("seed", 0, "seed of the random operations; 0 draws one")

// wires are the handshake wire formats (RFC 9420 §6).
func wires() []string { return []string{"public", "private"} }

// Every scenario holds between mlspeer and each foreign stack, for every suite, with public
// and with private handshake messages, whoever has which role. A stack's first suite runs
// all combinations; the others run each role with one wire format, and random operations
// with one.
func TestInterop(t *testing.T) {
	h := newHarness(t)
	for _, s := range foreign() {
		for i, suite := range s.suites {
			t.Run(fmt.Sprintf("%s/%v", s.name, suite), func(t *testing.T) {
				t.Parallel()
				play(t, h, s, suite, i == 0)
			})
		}
	}
}

func play(t *testing.T, h *harness, s *stack, suite suiteID, all bool) {
	for _, sc := range scenarios() {
		for _, wire := range wires() {
			if all || wire == "public" {
				t.Run(sc.name+"/ours first/"+wire, func(t *testing.T) { sc.run(newRoom(t, h, s, suite, wire), ours, s) })
			}
			if all || wire == "private" {
				t.Run(sc.name+"/theirs first/"+wire, func(t *testing.T) { sc.run(newRoom(t, h, s, suite, wire), s, ours) })
			}
		}
	}
	for i, wire := range wires() {
		if !all && i != int(suite)%2 {
			continue
		}
		t.Run("random operations/"+wire, func(t *testing.T) { playRandom(newRoom(t, h, s, suite, wire)) })
	}
}

func playRandom(r *room) {
	number := *seed
	if number == 0 {
		number = rand.Uint64()
	}
	r.t.Cleanup(func() {
		if r.t.Failed() {
			r.t.Logf("repeat with: go test ./crypto/mls/interop -run '%s' -seed %d", r.t.Name(), number)
		}
	})
	x := &random{room: r, rng: rand.New(rand.NewPCG(number, uint64(r.suite)))}
	x.run(ours, r.foreign)
}

// The harness judges a foreign stack against itself the same way: what fails here is no
// fault of ours.
func TestForeignStackAgainstItself(t *testing.T) {
	h := newHarness(t)
	for _, s := range foreign() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			for _, sc := range scenarios() {
				t.Run(sc.name, func(t *testing.T) { sc.run(newRoom(t, h, s, s.suites[0], "private"), s, s) })
			}
		})
	}
}
