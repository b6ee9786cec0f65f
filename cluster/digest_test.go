package cluster

import (
	"errors"
	"testing"

	"quicproquo/crypto/tlsid"
	"quicproquo/fsm"
)

// A node stops when its digest at a shared index differs and no majority agrees
// with it.
func TestCompareDigests(t *testing.T) {
	own := []fsm.Mark{{Index: 10, Digest: 1}, {Index: 20, Digest: 2}}
	same := []fsm.Mark{{Index: 10, Digest: 1}, {Index: 20, Digest: 2}}
	other := []fsm.Mark{{Index: 10, Digest: 1}, {Index: 20, Digest: 99}}
	elsewhere := []fsm.Mark{{Index: 15, Digest: 99}}
	for _, c := range []struct {
		name   string
		others map[tlsid.NodeID][]fsm.Mark
		voters int
		stop   bool
	}{
		{"all agree", map[tlsid.NodeID][]fsm.Mark{"b": same, "c": same}, 3, false},
		{"no index in common", map[tlsid.NodeID][]fsm.Mark{"b": elsewhere}, 3, false},
		{"nobody answers", nil, 3, false},
		{"one differs, the majority is with us", map[tlsid.NodeID][]fsm.Mark{"b": same, "c": other}, 3, false},
		{"both differ from us", map[tlsid.NodeID][]fsm.Mark{"b": other, "c": other}, 3, true},
		{"one against one", map[tlsid.NodeID][]fsm.Mark{"b": other}, 3, true},
		{"five voters, two against two", map[tlsid.NodeID][]fsm.Mark{"b": same, "c": other, "d": other}, 5, true},
	} {
		err := compareDigests(own, c.others, c.voters)
		if errors.Is(err, ErrDiverged) != c.stop {
			t.Errorf("%s: got %v, want stop=%v", c.name, err, c.stop)
		}
	}
}
