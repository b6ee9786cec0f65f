package cluster

import (
	"errors"
	"testing"

	"quicproquo/crypto/tlsid"
	"quicproquo/fsm"
)

// A node stops when its digest at a shared index differs and no majority can be with
// it; while silent voters could decide it waits for some rounds.
func TestDivergence(t *testing.T) {
	own := []fsm.Mark{{Index: 10, Digest: 1}, {Index: 20, Digest: 2}}
	same := []fsm.Mark{{Index: 10, Digest: 1}, {Index: 20, Digest: 2}}
	late := []fsm.Mark{{Index: 10, Digest: 1}}
	other := []fsm.Mark{{Index: 10, Digest: 1}, {Index: 20, Digest: 99}}
	elsewhere := []fsm.Mark{{Index: 15, Digest: 99}}
	type round = map[tlsid.NodeID][]fsm.Mark
	again := func(r round, times int) (rounds []round) {
		for range times {
			rounds = append(rounds, r)
		}
		return rounds
	}
	oneToOne := round{"b": other, "c": late}
	for _, c := range []struct {
		name   string
		rounds []round
		voters int
		stop   bool // in the last round, in none before
	}{
		{"all agree", again(round{"b": same, "c": same}, 20), 3, false},
		{"no index in common", again(round{"b": elsewhere}, 20), 3, false},
		{"nobody answers", again(nil, 20), 3, false},
		{"one differs, the majority is with us", again(round{"b": same, "c": other}, 20), 3, false},
		{"both differ from us", again(round{"b": other, "c": other}, 1), 3, true},
		{"one against one, the third will decide", again(oneToOne, maxUndecided), 3, false},
		{"one against one, the third never says", again(oneToOne, maxUndecided+1), 3, true},
		{"one against one, the third is gone", again(round{"b": other}, maxUndecided+1), 3, true},
		{"the third is with us", append(again(oneToOne, maxUndecided), round{"b": other, "c": same}), 3, false},
		{"the third is against us", append(again(oneToOne, 1), round{"b": other, "c": other}), 3, true},
		{"rounds count in a row", append(append(again(oneToOne, maxUndecided), round{"b": same, "c": same}), again(oneToOne, maxUndecided)...), 3, false},
		{"the only other voter differs", again(round{"b": other}, 1), 2, true},
		{"five voters, two against two", again(round{"b": same, "c": other, "d": other}, 1), 5, false},
		{"five voters, two against two, for long", again(round{"b": same, "c": other, "d": other}, maxUndecided+1), 5, true},
		{"five voters, three against two", again(round{"b": same, "c": other, "d": other, "e": other}, 1), 5, true},
	} {
		var d divergence
		for i, others := range c.rounds {
			want := c.stop && i == len(c.rounds)-1
			if err := d.judge(own, others, c.voters); errors.Is(err, ErrDiverged) != want {
				t.Errorf("%s, round %d: got %v, want stop=%v", c.name, i+1, err, want)
				break
			}
		}
	}
}
