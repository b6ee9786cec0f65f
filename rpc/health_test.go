package rpc

import (
	"testing"

	client "quicproquo/client/conn"
	"quicproquo/cluster"
	"quicproquo/schemas"
)

// The client library asks a node how it is, and learns the node's index.
func TestHealth(t *testing.T) {
	d := openDoor(t, NewServer(newFakeNode(41), Options{Logger: quiet()}))
	c := d.client(t)
	for range 3 {
		got, err := c.Health(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := client.Health{Status: "ok", NodeID: "n1", Leader: true, FeatureLevel: schemas.FeatureLevel}
		if got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	if c.Seen() != 41 {
		t.Errorf("the client has seen index %d, want the response's 41", c.Seen())
	}
}

// One word says how a node is; of several troubles the gravest.
func TestHealthState(t *testing.T) {
	fine := cluster.Standing{Leader: "n1", AppliedIndex: 100, CommitIndex: 100}
	for _, c := range []struct {
		name string
		edit func(*cluster.Standing)
		want State
	}{
		{"fine", func(*cluster.Standing) {}, StateOK},
		{"disk nearly full", func(s *cluster.Standing) { s.ReadOnly = true }, StateReadOnly},
		{"a little behind", func(s *cluster.Standing) { s.CommitIndex += catchingUpLag }, StateOK},
		{"behind", func(s *cluster.Standing) { s.ReadOnly, s.CommitIndex = true, 101+catchingUpLag }, StateCatchingUp},
		{"no leader", func(s *cluster.Standing) { s.Leader, s.CommitIndex = "", 9999 }, StateNoLeader},
		{"stopped", func(s *cluster.Standing) { s.Leader, s.Stopped = "", true }, StateDraining},
	} {
		standing := fine
		c.edit(&standing)
		if h := healthOf(standing, "n2"); h.State != c.want || h.Leader || h.NodeID != "n2" {
			t.Errorf("%s: got %+v, want %s of a follower", c.name, h, c.want)
		}
	}
}
