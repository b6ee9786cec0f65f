package cluster

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"quicproquo/crypto/tlsid"
)

// A read index needs a ready leader of term t and a majority of that leader's
// own voters at terms ≤ t.
func TestDecide(t *testing.T) {
	abc := []tlsid.NodeID{"a", "b", "c"}
	five := []tlsid.NodeID{"a", "b", "c", "d", "e"}
	leader := func(term, index uint64, voters []tlsid.NodeID) confirmation {
		return confirmation{term: term, leader: true, ready: true, index: index, voters: voters}
	}
	follower := func(term uint64) confirmation { return confirmation{term: term} }
	for _, c := range []struct {
		name    string
		answers map[tlsid.NodeID]confirmation
		want    uint64
		ok      bool
	}{
		{"leader and one follower", map[tlsid.NodeID]confirmation{"a": leader(3, 70, abc), "b": follower(3)}, 70, true},
		{"a follower that lags in term counts", map[tlsid.NodeID]confirmation{"a": leader(3, 70, abc), "b": follower(2)}, 70, true},
		{"leader alone", map[tlsid.NodeID]confirmation{"a": leader(3, 70, abc)}, 0, false},
		{"deposed leader: the others know a later term", map[tlsid.NodeID]confirmation{"a": leader(3, 70, abc), "b": follower(4), "c": follower(4)}, 0, false},
		{"leader before its barrier", map[tlsid.NodeID]confirmation{"a": {term: 3, leader: true, index: 70, voters: abc}, "b": follower(3)}, 0, false},
		{"two leaders: the later one counts", map[tlsid.NodeID]confirmation{"a": leader(3, 70, abc), "b": leader(4, 80, abc), "c": follower(4)}, 80, true},
		{"no leader", map[tlsid.NodeID]confirmation{"a": follower(3), "b": follower(3), "c": follower(3)}, 0, false},
		{"a majority of the old three is none of the leader's five", map[tlsid.NodeID]confirmation{"a": follower(3), "b": leader(3, 70, five)}, 0, false},
		{"single node", map[tlsid.NodeID]confirmation{"a": leader(1, 5, []tlsid.NodeID{"a"})}, 5, true},
	} {
		if got, ok := decide(c.answers); got != c.want || ok != c.ok {
			t.Errorf("%s: got %d, %v; want %d, %v", c.name, got, ok, c.want, c.ok)
		}
	}
}

// A reader that has missed changes of membership asks those whom the leader names, too:
// the majority is one of the leader's configuration. Each is asked once.
func TestRoundsAskTheLeadersVoters(t *testing.T) {
	five := []tlsid.NodeID{"b", "c", "d", "e", "f"}
	errDown := errors.New("down")
	for _, c := range []struct {
		name string
		up   string // who answers
		want uint64
		ok   bool
	}{
		{"all answer", "abcdef", 70, true},
		{"those whom the reader knows are gone but for the leader", "bde", 70, true},
		{"two of the leader's five and one who was removed", "abc", 0, false},
		{"nobody but the leader", "b", 0, false},
	} {
		var asked sync.Map
		ask := func(_ context.Context, id tlsid.NodeID) (confirmation, error) {
			if _, twice := asked.LoadOrStore(id, true); twice {
				t.Errorf("%s: %s was asked twice", c.name, id)
			}
			switch {
			case !strings.Contains(c.up, string(id)):
				return confirmation{}, errDown
			case id == "b":
				return confirmation{term: 3, leader: true, ready: true, index: 70, voters: five}, nil
			default:
				return confirmation{term: 3}, nil
			}
		}
		got, err := gather(t.Context(), []tlsid.NodeID{"a", "b", "c"}, ask, func(f func()) { go f() })
		if got != c.want || (err == nil) != c.ok || err != nil && !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: got %d, %v; want %d, %v", c.name, got, err, c.want, c.ok)
		}
	}
}

// Readers share rounds, but never one that began before they asked.
func TestConfirmRoundsAreSharedButNeverOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rounds atomic.Uint64
		c := &confirmer{round: func(context.Context) (uint64, error) {
			n := rounds.Add(1)
			time.Sleep(time.Millisecond)
			return n, nil
		}}
		got := make(chan uint64, 100)
		read := func() {
			n, err := c.index(t.Context())
			if err != nil {
				t.Error(err)
			}
			got <- n
		}
		go read()
		synctest.Wait() // round 1 runs
		for range 50 {
			go read()
		}
		time.Sleep(10 * time.Millisecond)
		if n := <-got; n != 1 {
			t.Errorf("first reader got round %d, want 1", n)
		}
		for range 50 {
			if n := <-got; n != 2 {
				t.Errorf("a reader that asked during round 1 got round %d, want 2", n)
			}
		}
		if n := rounds.Load(); n != 2 {
			t.Errorf("%d rounds for 51 readers, want 2", n)
		}
	})
}
