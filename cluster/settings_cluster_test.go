package cluster_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"testing"
	"time"

	"quicproquo/cluster"
	"quicproquo/schemas"
	"quicproquo/testcluster"
)

// Settings that an operator reads are those of the cluster at that moment: a change that was
// acknowledged is seen, and a node that is cut off
// from the majority answers with an error.
func TestSettingsAreUpToDate(t *testing.T) {
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{})
	leader := c.LeaderT(t)
	followers := c.FollowersT(t)
	set := func(n *testcluster.Node, value uint64) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), proposeTime)
		defer cancel()
		if _, result, err := n.Engine().Propose(ctx, testcluster.SettingEntry("queue_max_envelopes", value)); err != nil || result.Code != schemas.Code_ok {
			t.Fatalf("set: %s, %v", result.Code.ID(), err)
		}
	}
	set(leader, 7)
	if got, err := readEnvelopes(t, c, c.Nodes()...); err != nil || got != 7 {
		t.Errorf("queue_max_envelopes is %d, %v; want 7", got, err)
	}
	c.Partition([]*testcluster.Node{leader}, followers)
	for deadline := time.Now().Add(proposeTime); ; {
		if err := followers[0].Engine().Linearize(t.Context()); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the majority elects nobody")
		}
	}
	set(followers[0], 8)
	// It names the others, who can tell.
	if got, err := readEnvelopes(t, c, leader); err != nil || got != 8 {
		t.Errorf("by way of a node that is cut off: %d, %v; want 8", got, err)
	}
	asked := followers[0].ID()
	if _, err := askAs(t, leader, asked, nodeKey(t, followers[0]), func(r schemas.PeerRequest) error { r.SetSettings(); return nil }); !errors.Is(err, cluster.ErrUnavailable) {
		t.Errorf("a node that is cut off answers: %v, want %v", err, cluster.ErrUnavailable)
	}
	// It can't tell either who is denied meanwhile.
	if _, err := askAs(t, leader, asked, nodeKey(t, followers[0]), func(r schemas.PeerRequest) error { return r.SetHoldKey(make([]byte, 32)) }); !errors.Is(err, cluster.ErrUnavailable) {
		t.Errorf("a node that is cut off deals in keys: %v, want %v", err, cluster.ErrUnavailable)
	}
}

// readEnvelopes asks nodes, as a command does, for the setting queue_max_envelopes.
func readEnvelopes(t *testing.T, c *testcluster.Cluster, nodes ...*testcluster.Node) (uint64, error) {
	t.Helper()
	identity, err := cluster.LoadIdentity(c.Node(0).Dir())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var peers []cluster.Peer
	for _, n := range nodes {
		peers = append(peers, cluster.Peer{ID: n.ID(), Address: n.Address()})
	}
	ctx, cancel := context.WithTimeout(t.Context(), proposeTime)
	defer cancel()
	values, err := cluster.ReadSettings(ctx, conn, identity, peers, slog.New(slog.DiscardHandler))
	for _, v := range values {
		if v.Name == "queue_max_envelopes" {
			return v.Value, err
		}
	}
	return 0, err
}
