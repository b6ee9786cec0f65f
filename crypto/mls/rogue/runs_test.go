package rogue

import (
	"flag"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

// Every kind of attack, one after the other, in groups that are otherwise at peace: the
// honest stay live after each, and nobody outside reads what they say.
func TestEveryKindOfAttack(t *testing.T) {
	t.Parallel()
	const each = 25 // attacks on one group
	families := map[string]int{}
	for chunk := range slices.Chunk(Kinds(), each) {
		var r *room
		for i, k := range chunk {
			families[k.Family]++
			if r == nil {
				r = newRoom(rand.New(rand.NewPCG(uint64(i), 1)), 4)
			}
			err := outcome(func() {
				r.comeBack()
				r.hit(k)
				if i == len(chunk)-1 {
					r.end()
				}
			})
			if err != nil {
				t.Errorf("%s: %s: %v", k.Family, k.Name, err)
				r = nil
			}
		}
	}
	for family, n := range families {
		t.Logf("%d kinds of %s", n, family)
	}
}

// What a run of TestHostileRuns is.
const (
	steps       = 200
	fewest      = 4 // members at the start
	most        = 8
	mostAtAll   = 10 // members that a run lets the group grow to
	hostileRate = 65 // of 100 steps
)

var (
	runs = flag.Int("runs", 12, "hostile runs of TestHostileRuns")
	seed = flag.Uint64("seed", 1, "seed of the first of them")
)

// run is 200 steps of honest people and one who is not.
func run(d Dice, kinds map[string][]Kind) *room {
	r := newRoom(d, fewest+d.IntN(most-fewest+1))
	names := familyNames(kinds)
	for range steps {
		if d.IntN(100) < hostileRate {
			r.hit(pick(d, kinds[pick(d, names)]))
		} else {
			r.honestStep()
		}
	}
	r.end()
	return r
}

// honestStep is something that people do.
func (r *room) honestStep() {
	many := len(r.honest[0].g.Members()) >= mostAtAll
	switch n := r.dice.IntN(20); {
	case n < 8:
		r.send(r.anybody())
	case n < 11:
		r.rename()
	case n < 13:
		r.propose(r.anybody())
	case n == 13 && !many:
		r.invite(r.anybody())
	case n == 14 && len(r.honest) > 3:
		r.leave(r.anybody())
	case n == 15:
		r.returns(r.anybody())
	case n == 16 && r.dice.IntN(3) == 0:
		r.remove(r.anybody())
	case n == 17 && many:
		r.clear(r.anybody())
	case n == 18:
		p := r.anybody()
		p.g = r.reloaded(p.g)
	default:
		r.comeBack()
	}
}

func byFamily() map[string][]Kind {
	kinds := map[string][]Kind{}
	for _, k := range Kinds() {
		kinds[k.Family] = append(kinds[k.Family], k)
	}
	return kinds
}

func familyNames(kinds map[string][]Kind) (names []string) {
	for name := range kinds {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Groups of four to eight of whom one keeps to no rule: after 200 steps each is live, and
// nobody outside has read anything. All 2000 that the project promises:
//
//	go test ./crypto/mls/rogue -run TestHostileRuns -runs 2000 -timeout 20m
func TestHostileRuns(t *testing.T) {
	t.Parallel()
	kinds := byFamily()
	var next, hostile, accepted atomic.Int64
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for {
				i := next.Add(1) - 1
				if i >= int64(*runs) || t.Failed() {
					return
				}
				s := *seed + uint64(i)
				err := outcome(func() {
					r := run(rand.New(rand.NewPCG(s, 0)), kinds)
					hostile.Add(int64(r.hostile))
					accepted.Add(int64(r.accepted))
				})
				if err != nil {
					t.Errorf("seed %d: %v\nagain: go test ./crypto/mls/rogue -run TestHostileRuns -runs 1 -seed %d", s, err, s)
				}
			}
		})
	}
	workers.Wait()
	t.Logf("%d runs, %d hostile messages, %d attacks changed somebody's state", *runs, hostile.Load(), accepted.Load())
	if hostile.Load() < int64(*runs)*steps/4 || accepted.Load() == 0 {
		t.Errorf("%d hostile messages, %d accepted, in %d runs: this tests nothing", hostile.Load(), accepted.Load(), *runs)
	}
}

// rapidDice draws from rapid, which makes a run that fails shorter.
type rapidDice struct{ t *rapid.T }

func (d rapidDice) IntN(n int) int { return rapid.IntRange(0, n-1).Draw(d.t, "choice") }

// The same, of any number of steps and drawn by rapid, which finds a short one that fails.
func TestShortHostileRun(t *testing.T) {
	t.Parallel()
	kinds := byFamily()
	names := familyNames(kinds)
	rapid.Check(t, func(t *rapid.T) {
		d := rapidDice{t}
		err := outcome(func() {
			r := newRoom(d, 3+d.IntN(3))
			for range 1 + d.IntN(8) {
				if d.IntN(2) == 0 {
					k := pick(d, kinds[pick(d, names)])
					t.Logf("%s: %s", k.Family, k.Name)
					r.hit(k)
				} else {
					r.honestStep()
				}
			}
			r.end()
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
