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
// and with private handshake messages, whoever has which role.
func TestInterop(t *testing.T) {
	h := newHarness(t)
	for _, s := range foreign() {
		for _, suite := range s.suites {
			t.Run(fmt.Sprintf("%s/%v", s.name, suite), func(t *testing.T) {
				t.Parallel()
				for _, wire := range wires() {
					t.Run(wire, func(t *testing.T) { play(t, h, s, suite, wire) })
				}
			})
		}
	}
}

func play(t *testing.T, h *harness, s *stack, suite suiteID, wire string) {
	for _, sc := range scenarios() {
		t.Run(sc.name+"/ours first", func(t *testing.T) { sc.run(newRoom(t, h, s, suite, wire), ours, s) })
		t.Run(sc.name+"/theirs first", func(t *testing.T) { sc.run(newRoom(t, h, s, suite, wire), s, ours) })
	}
	t.Run("random operations", func(t *testing.T) {
		number := *seed
		if number == 0 {
			number = rand.Uint64()
		}
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("repeat with: go test ./crypto/mls/interop -run '%s' -seed %d", t.Name(), number)
			}
		})
		x := &random{room: newRoom(t, h, s, suite, wire), rng: rand.New(rand.NewPCG(number, uint64(suite)))}
		x.run(ours, s)
	})
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
