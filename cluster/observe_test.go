package cluster

import (
	"testing"

	"quicproquo/crypto/tlsid"
)

// Who is followed is said by more than half of all members, those that are silent included.
func TestFollowed(t *testing.T) {
	t.Parallel()
	says := func(leader tlsid.NodeID) Observation { return Observation{Status: &Status{Leader: leader}} }
	silent := Observation{}
	for _, c := range []struct {
		name string
		seen []Observation
		size int
		want tlsid.NodeID
	}{
		{"all agree", []Observation{says("n1"), says("n1"), says("n1")}, 3, "n1"},
		{"two of three", []Observation{says("n2"), silent, says("n2")}, 3, "n2"},
		{"one of three", []Observation{says("n2"), silent, silent}, 3, ""},
		{"half of four", []Observation{says("n1"), says("n1"), says("n2"), says("n2")}, 4, ""},
		{"most know of none", []Observation{says(""), says(""), says("n1")}, 3, ""},
	} {
		if got := Followed(c.seen, c.size); got != c.want {
			t.Errorf("%s: followed is %q, want %q", c.name, got, c.want)
		}
	}
}
