package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"quicproquo/cluster"
	"quicproquo/cluster/diskguard"
	"quicproquo/crypto/tlsid"
	"quicproquo/testcluster"
)

// disks are the simulated disks of a cluster's nodes.
type disks struct {
	mu   sync.Mutex
	full map[tlsid.NodeID]bool
}

func (d *disks) fill(id tlsid.NodeID, full bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.full == nil {
		d.full = map[tlsid.NodeID]bool{}
	}
	d.full[id] = full
}

// usage leaves the ballast alone: 5 % is below the limit, not critical.
func (d *disks) usage(id tlsid.NodeID) diskguard.Usage {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.full[id] {
		return diskguard.Usage{Total: 100 << 20, Free: 5 << 20}
	}
	return diskguard.Usage{Total: 100 << 20, Free: 50 << 20}
}

// A nearly full follower shows in its status and holds up nobody. A nearly full
// leader hands over to a node that has room, not to a full one. When none has
// room the leader stays, and refuses writes as not applied until there is room.
func TestNearlyFullDisks(t *testing.T) {
	var d disks
	c := testcluster.StartT(t, testcluster.Options{Disk: d.usage})
	leader := c.LeaderT(t)
	full, roomy := c.FollowersT(t)[0], c.FollowersT(t)[1]

	d.fill(full.ID(), true)
	awaitReadOnly(t, full, true)
	if s := leader.Engine().Status(); s.ReadOnly {
		t.Error("the leader takes a follower's disk for its own")
	}
	write(t, full, 1, nil, "through the full follower")

	d.fill(leader.ID(), true)
	awaitLeader(t, leader, roomy.ID())
	write(t, full, 1, nil, "to the one with room")

	d.fill(roomy.ID(), true)
	awaitReadOnly(t, roomy, true)
	term := roomy.Engine().Status().Term
	if _, _, err := tryWrite(t.Context(), roomy, 1, nil, "no room anywhere"); !errors.Is(err, cluster.ErrDiskFull) {
		t.Errorf("write without room: %v, want ErrDiskFull", err)
	}
	// Three rounds of the leader's duties.
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if testcluster.Await(ctx, "another term", func() error {
		if s := roomy.Engine().Status(); s.Leader == roomy.ID() && s.Term == term {
			return errors.New("none")
		}
		return nil
	}) == nil {
		t.Error("leadership went on though nobody has room")
	}

	d.fill(roomy.ID(), false)
	awaitReadOnly(t, roomy, false)
	write(t, leader, 1, nil, "room again")
	c.SameT(t)
	for _, n := range c.Nodes() {
		if got := bodies(t, n, 1); len(got) != 3 {
			t.Errorf("%s has %q, want the three acknowledged", n.ID(), got)
		}
	}
}

func awaitReadOnly(t *testing.T, n *testcluster.Node, want bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), proposeTime)
	defer cancel()
	if err := testcluster.Await(ctx, "disk guard", func() error {
		if got := n.Engine().Status().ReadOnly; got != want {
			return fmt.Errorf("%s is read-only: %v", n.ID(), got)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func awaitLeader(t *testing.T, n *testcluster.Node, want tlsid.NodeID) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), proposeTime)
	defer cancel()
	if err := testcluster.Await(ctx, "leader", func() error {
		if got := n.Engine().Leader(); got != want {
			return fmt.Errorf("leader is %q, want %q", got, want)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
