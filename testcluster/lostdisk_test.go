package testcluster_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"quicproquo/cluster"
	"quicproquo/crypto/tlsid"
	"quicproquo/testcluster"
)

// loseDisk puts an empty directory in the place of a stopped node's, as a new machine has
// it: certificate and keys are there, and nothing that the node has done.
func loseDisk(t *testing.T, n *testcluster.Node) {
	t.Helper()
	for _, part := range []string{"raft", "store", "snapshots", "member", "owner", "peers", "format"} {
		fatal(t, os.RemoveAll(filepath.Join(n.Dir(), part)))
	}
}

// knows awaits that a node has heard, and written down, what another has applied by now.
func knows(t *testing.T, other, n *testcluster.Node) {
	t.Helper()
	want := n.Engine().Status().AppliedIndex
	fatal(t, testcluster.Await(within(t, time.Minute), fmt.Sprintf("%s remembers %s", other.ID(), n.ID()), func() error {
		data, err := os.ReadFile(filepath.Join(other.Dir(), "peers"))
		if err != nil {
			return err
		}
		var applied map[tlsid.NodeID]uint64
		if err := json.Unmarshal(data, &applied); err != nil {
			return err
		}
		if applied[n.ID()] < want {
			return fmt.Errorf("it remembers %s, want at least %d", data, want)
		}
		return nil
	}))
}

// forgotten awaits that a node stops because it has forgotten what others remember.
func forgotten(t *testing.T, n *testcluster.Node) {
	t.Helper()
	select {
	case <-n.Engine().Failed():
	case <-within(t, time.Minute).Done():
		t.Fatalf("%s goes on without what it had", n.ID())
	}
	if err := n.Engine().Err(); !errors.Is(err, cluster.ErrForgotten) {
		t.Errorf("%s stopped: %v, want %v", n.ID(), err, cluster.ErrForgotten)
	}
}

// A node whose disk was replaced by an empty one, or by an older copy, and that is started
// as if nothing were, does not take part: it could vote, with another that lags, for a
// leader without what it had acknowledged.
func TestALostDiskIsNoticed(t *testing.T) {
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{})
	c.LeaderT(t)
	n := c.FollowersT(t)[0]
	var others []*testcluster.Node
	for _, o := range c.Nodes() {
		if o != n {
			others = append(others, o)
		}
	}
	fatal(t, n.Stop(within(t, time.Minute)))
	old := filepath.Join(t.TempDir(), "old")
	fatal(t, testcluster.CopyTree(n.Dir(), old))
	fatal(t, n.Start())
	for i := range 5 {
		set(t, c, "queue_max_envelopes", uint64(100+i))
	}
	for _, o := range others {
		knows(t, o, n)
	}
	for _, tt := range []struct {
		what string
		lose func()
	}{
		{"an empty directory", func() { loseDisk(t, n) }},
		{"an older copy", func() {
			fatal(t, os.RemoveAll(n.Dir()))
			fatal(t, testcluster.CopyTree(old, n.Dir()))
		}},
	} {
		t.Log(tt.what)
		fatal(t, n.Kill())
		tt.lose()
		fatal(t, n.Start())
		forgotten(t, n)
	}
	fatal(t, n.Kill())
	fatal(t, n.Wipe()) // what the error says: it joins
	fatal(t, n.Start())
	fatal(t, c.WaitVoter(within(t, time.Minute), n))
	c.SameT(t)
}

// Two of three nodes come back with empty disks, and the third is late: they form no
// cluster of their own, and stop when it tells them what they have forgotten.
func TestAnEmptyMajorityFormsNothing(t *testing.T) {
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{})
	c.LeaderT(t)
	set(t, c, "queue_max_envelopes", 101)
	last := c.Nodes()[2]
	for _, n := range c.Nodes()[:2] {
		knows(t, last, n)
	}
	for _, n := range c.Nodes() {
		fatal(t, n.Stop(within(t, time.Minute)))
	}
	for _, n := range c.Nodes()[:2] {
		loseDisk(t, n)
		fatal(t, n.Start())
	}
	// Several election times: a majority that could elect would have done it.
	for until := time.Now().Add(3 * time.Second); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		if leader := c.Leader(); leader != nil {
			t.Fatalf("%s leads two nodes that have lost everything", leader.ID())
		}
	}
	fatal(t, last.Start())
	for _, n := range c.Nodes()[:2] {
		forgotten(t, n)
	}
	if have := last.Engine().Status().CommandIndex; have == 0 {
		t.Error("the node with the data has lost it")
	}
}
