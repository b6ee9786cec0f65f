package client_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"quicproquo/client"
	"quicproquo/testcluster"
)

// backup copies the data of every node of a cluster, which stands still meanwhile.
// What it returns puts the copies back.
func backup(t *testing.T, c *testcluster.Cluster) (restore func()) {
	t.Helper()
	kept := map[*testcluster.Node]string{}
	still(t, c, func(n *testcluster.Node) {
		kept[n] = filepath.Join(t.TempDir(), "kept")
		if err := testcluster.CopyTree(n.Dir(), kept[n]); err != nil {
			t.Fatal(err)
		}
	})
	return func() {
		t.Helper()
		still(t, c, func(n *testcluster.Node) {
			if err := errors.Join(os.RemoveAll(n.Dir()), testcluster.CopyTree(kept[n], n.Dir())); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// still does something to each node while none runs.
func still(t *testing.T, c *testcluster.Cluster, do func(*testcluster.Node)) {
	t.Helper()
	for _, n := range c.Nodes() {
		if err := n.Stop(within(t, 20*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range c.Nodes() {
		do(n)
	}
	for _, n := range c.Nodes() {
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
	}
	c.LeaderT(t)
}

// A cluster is put back from a backup. Its clients, who saw what it has forgotten, go on:
// in a conversation whose epochs the cluster does not know any more, in a group one of
// whose members was away and never got these, and after a message that the cluster had
// acknowledged and nobody had read.
func TestRestoredCluster(t *testing.T) {
	leaveToFullRun(t)
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{})
	alice, bob, carol := meet(t, c, "alice", client.Settings{}), meet(t, c, "bob", client.Settings{}), meet(t, c, "carol", client.Settings{})
	dm := alice.dm(bob)
	group, err := alice.CreateGroup(within(t, time.Minute), "walks", "bob", "carol")
	if err != nil {
		t.Fatal(err)
	}
	alice.say(dm, "one")
	alice.say(group, "to all")
	bob.reads(bob.find("alice"), "alice: one")
	carol.reads(carol.find("walks"), "alice: to all")
	bob.reads(bob.find("walks"), "alice: to all")
	for _, p := range []*person{alice, bob, carol} {
		if err := p.Flush(within(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
	}

	restore := backup(t, c)
	if err := carol.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := errors.Join(dm.Rekey(within(t, time.Minute)), group.Rekey(within(t, time.Minute))); err != nil {
			t.Fatal(err)
		}
	}
	bob.restart() // the cluster remembers another copy of its keys than before
	alice.say(dm, "two")
	bob.reads(bob.find("alice"), "alice: one", "alice: two")
	id := alice.say(group, "that carol never gets")
	if err := group.Sent(within(t, time.Minute), id); err != nil {
		t.Fatal(err)
	}
	restore()

	alice.say(dm, "after")
	bob.reads(bob.find("alice"), "alice: one", "alice: two", "alice: after")
	bob.say(bob.find("alice"), "and back")
	alice.reads(dm, "alice: one", "alice: two", "alice: after", "bob: and back")
	if err := errors.Join(dm.Rekey(within(t, time.Minute)), group.Rekey(within(t, time.Minute))); err != nil {
		t.Errorf("new epochs in the restored cluster: %v", err)
	}
	alice.sees(dm, "the server was put back to an earlier state")
	carol.open(client.Open)
	walks := carol.find("walks")
	carol.await("the group's epoch", func() error {
		want, err := group.Info()
		if have, failed := walks.Info(); failed != nil || have.Epoch != want.Epoch || have.State != "active" {
			return fmt.Errorf("%+v, want epoch %d (%w)", have, want.Epoch, failed)
		}
		return err
	})
	alice.say(group, "welcome back")
	carol.reads(walks, "alice: to all", "alice: welcome back")
	carol.say(walks, "here I am")
	alice.reads(group, "alice: to all", "alice: that carol never gets", "alice: welcome back", "carol: here I am")
}
