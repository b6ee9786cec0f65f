package testcluster_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"quicproquo/cluster"
	"quicproquo/cluster/mesh"
	"quicproquo/crypto/tlsid"
	"quicproquo/fsm"
	"quicproquo/schemas"
	"quicproquo/testcluster"
)

// authorityOf is the certificate authority, as whoever has stolen a node's directory has it.
func authorityOf(t *testing.T, n *testcluster.Node) *tlsid.Authority {
	t.Helper()
	secrets, err := cluster.LoadSecrets(n.Dir())
	fatal(t, err)
	return secrets.Authority
}

// forge makes a certificate of the right authority with a member's id and a key of its own.
func forge(t *testing.T, a *tlsid.Authority, id tlsid.NodeID) *tlsid.Identity {
	t.Helper()
	identity, err := tlsid.NewIdentity(a, id, []string{"127.0.0.1"}, time.Now())
	fatal(t, err)
	return identity
}

// rekey gives a stopped node a new key, as `qpqd replace` does.
func rekey(t *testing.T, n *testcluster.Node) cluster.NodeKey {
	t.Helper()
	identity := forge(t, authorityOf(t, n), n.ID())
	fatal(t, identity.Save(filepath.Join(n.Dir(), "tls")))
	return tlsid.Fingerprint(identity.Leaf())
}

func keyOf(t *testing.T, n *testcluster.Node) cluster.NodeKey {
	t.Helper()
	identity, err := cluster.LoadIdentity(n.Dir())
	fatal(t, err)
	return tlsid.Fingerprint(identity.Leaf())
}

// changeKey has a node propose what an operator's command does.
func changeKey(t *testing.T, via *testcluster.Node, id tlsid.NodeID, key []byte, change schemas.ChangeNodeKey_Change) schemas.Code {
	t.Helper()
	entry, err := cluster.NodeKeyEntry(id, key, change)
	fatal(t, err)
	_, result, err := via.Engine().Propose(within(t, 30*time.Second), entry)
	fatal(t, err)
	return result.Code
}

// knowsKeys awaits that a node knows the keys that all nodes of the cluster have on disk.
func knowsKeys(t *testing.T, c *testcluster.Cluster, n *testcluster.Node) {
	t.Helper()
	fatal(t, testcluster.Await(within(t, 30*time.Second), fmt.Sprintf("%s knows the nodes' keys", n.ID()), func() error {
		keys := n.Engine().Status().NodeKeys
		if len(keys.Bound) != len(c.Nodes()) {
			return fmt.Errorf("it knows %d, want %d", len(keys.Bound), len(c.Nodes()))
		}
		for _, m := range c.Nodes() {
			if key, known := keys.KeyOf(string(m.ID())); !known || key != keyOf(t, m) {
				return fmt.Errorf("it knows %s by %x, want %x", m.ID(), key, keyOf(t, m))
			}
		}
		return nil
	}))
}

// refusals asks every node as identity would, and returns what each says.
func refusals(t *testing.T, c *testcluster.Cluster, identity *tlsid.Identity) map[tlsid.NodeID]error {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	fatal(t, err)
	var peers []cluster.Peer
	for _, n := range c.Nodes() {
		if n.Engine() != nil && n.ID() != identity.Peer().Node {
			peers = append(peers, cluster.Peer{ID: n.ID(), Address: n.Address()})
		}
	}
	seen, err := cluster.Observe(within(t, 30*time.Second), conn, identity, peers, slog.New(slog.DiscardHandler))
	fatal(t, err)
	said := map[tlsid.NodeID]error{}
	for _, o := range seen {
		for _, p := range peers {
			if p.ID == o.ID {
				said[o.ID] = mesh.Refusal(o.Err)
				if o.Err == nil {
					said[o.ID] = nil
				}
			}
		}
	}
	return said
}

func allSay(t *testing.T, said map[tlsid.NodeID]error, want error) {
	t.Helper()
	for id, err := range said {
		if !errors.Is(err, want) && (want != nil || err != nil) {
			t.Errorf("%s says %v, want %v", id, err, want)
		}
	}
}

// stops awaits that a node stops by itself, for a reason.
func stops(t *testing.T, n *testcluster.Node, want error) {
	t.Helper()
	select {
	case <-n.Engine().Failed():
	case <-within(t, time.Minute).Done():
		t.Fatalf("%s goes on, want %v", n.ID(), want)
	}
	if err := n.Engine().Err(); !errors.Is(err, want) || !strings.Contains(err.Error(), "qpqd replace") {
		t.Errorf("%s stopped: %v, want %v and what to do", n.ID(), err, want)
	}
}

// Whoever has stolen the authority's key and takes a member's id is refused by all who know
// the member's key, asks nothing and writes nothing; a renewed certificate is not. A node
// that comes back with a new key, its disk lost or not, takes part once an operator has said
// so.
func TestMembersAreKnownByTheirKeys(t *testing.T) {
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{})
	c.LeaderT(t)
	for _, n := range c.Nodes() {
		knowsKeys(t, c, n)
	}
	n1, n3 := c.Node(0), c.Node(2)
	authority := authorityOf(t, n1)
	thief := forge(t, authority, "n3")
	allSay(t, refusals(t, c, thief), mesh.ErrOtherKey)
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	fatal(t, err)
	entry, err := cluster.NodeKeyEntry("n3", make([]byte, 32), schemas.ChangeNodeKey_Change_replace)
	fatal(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	peers := []cluster.Peer{{ID: "n1", Address: n1.Address()}, {ID: "n2", Address: c.Node(1).Address()}}
	if _, err := cluster.Operate(ctx, conn, thief, peers, slog.New(slog.DiscardHandler), entry); !errors.Is(err, cluster.ErrUnavailable) || !errors.Is(err, mesh.ErrOtherKey) {
		t.Errorf("a thief writes: %v, want %v, and why", err, cluster.ErrUnavailable)
	}
	fatal(t, n3.Engine().RenewCertificate(t.Context()))
	knowsKeys(t, c, n1)

	fatal(t, n3.Kill())
	key := rekey(t, n3)
	fatal(t, n3.Start())
	c.LeaderT(t)
	changeKey(t, n1, "n3", nil, schemas.ChangeNodeKey_Change_bind) // the others write
	time.Sleep(time.Second)                                        // it would have taken part by now
	if status := n3.Engine().Status(); status.Leader != "" {
		t.Errorf("%s follows %s with a key that nobody knows", n3.ID(), status.Leader)
	}
	if code := changeKey(t, n1, "n3", key[:], schemas.ChangeNodeKey_Change_replace); code != schemas.Code_ok {
		t.Fatalf("take the new key: %s", code.ID())
	}
	c.SameT(t)
	knowsKeys(t, c, n3)

	fatal(t, n3.Kill())
	fatal(t, n3.Wipe())
	key = rekey(t, n3)
	fatal(t, n3.Start())
	allSay(t, refusals(t, c, forge(t, authority, "n3")), mesh.ErrOtherKey)
	if code := changeKey(t, n1, "n3", key[:], schemas.ChangeNodeKey_Change_replace); code != schemas.Code_ok {
		t.Fatalf("take the new key: %s", code.ID())
	}
	fatal(t, c.WaitVoter(within(t, time.Minute), n3))
	c.SameT(t)
}

// A cluster of an older build learns its members' keys once all nodes know the rules, and
// its nodes were not held up before.
func TestAnOldClusterLearnsItsKeys(t *testing.T) {
	t.Parallel()
	level := uint32(6)
	c := testcluster.StartT(t, testcluster.Options{FeatureLevel: func(tlsid.NodeID) uint32 { return level }})
	c.LeaderT(t)
	set(t, c, "queue_max_envelopes", 101)
	if keys := c.Node(0).Engine().Status().NodeKeys; len(keys.Bound) != 0 {
		t.Fatalf("at level 6 %v are bound", keys.Bound)
	}
	level = schemas.FeatureLevel
	for _, n := range c.Nodes() {
		fatal(t, n.Stop(within(t, time.Minute)))
		fatal(t, n.Start())
		c.LeaderT(t)
	}
	for _, n := range c.Nodes() {
		knowsKeys(t, c, n)
	}
}

// A node that was away while another got a new key follows that one when it comes back: a
// third, whose key it knows, vouches for it.
func TestAwayWhileAnotherGotANewKey(t *testing.T) {
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{})
	n1, renewed, away := c.Node(0), c.Node(1), c.Node(2)
	knowsKeys(t, c, n1)
	c.SameT(t)
	fatal(t, away.Stop(within(t, time.Minute)))
	old := keyOf(t, renewed)
	next := forge(t, authorityOf(t, n1), renewed.ID())
	fp := tlsid.Fingerprint(next.Leaf())
	if code := changeKey(t, n1, renewed.ID(), fp[:], schemas.ChangeNodeKey_Change_replace); code != schemas.Code_ok {
		t.Fatalf("take the new key: %s", code.ID())
	}
	fatal(t, testcluster.Await(within(t, 30*time.Second), "the one that stays has applied it", func() error {
		if keys := n1.Engine().Status().NodeKeys; !slices.Contains(keys.Bound, fsm.NodeKey{Node: string(renewed.ID()), Key: fp}) {
			return fmt.Errorf("it knows %v", keys.Bound)
		}
		return nil
	}))
	fatal(t, renewed.Kill())
	fatal(t, next.Save(filepath.Join(renewed.Dir(), "tls")))
	fatal(t, renewed.Start())
	c.LeaderT(t)
	fatal(t, testcluster.Await(within(t, 30*time.Second), "the one with the new key leads", func() error {
		if leader := c.Leader(); leader == renewed {
			return nil
		}
		return errors.Join(errors.New("it does not lead"), n1.Engine().TransferLeadership(within(t, time.Second), renewed.ID()))
	}))
	fatal(t, away.Start())
	fatal(t, testcluster.Await(within(t, 30*time.Second), "who was away follows", func() error {
		if s := away.Engine().Status(); s.Leader != renewed.ID() {
			return fmt.Errorf("it follows %q", s.Leader)
		}
		return nil
	}))
	if keys := renewed.Engine().Status().NodeKeys; keys.Denies(old) {
		t.Error("a key that was replaced is denied")
	}
	c.SameT(t)
	knowsKeys(t, c, away)
}

// A node that is denied is shut out at once, with what it holds open, says why and stops; so
// it does when it comes back, with its data or without. The others go on, whatever their
// clocks say, and keep the denial over restarts and snapshots. The last majority is never
// denied, nor removed beside who is. With a new key the node is let in again.
func TestADeniedNodeIsShutOut(t *testing.T) {
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{Snapshot: cluster.SnapshotPolicy{Interval: 100 * time.Millisecond, Threshold: 4, Trailing: 64}})
	n := c.LeaderT(t) // the leader itself
	knowsKeys(t, c, n)
	var others []*testcluster.Node
	for _, o := range c.Nodes() {
		if o != n {
			others = append(others, o)
		}
	}
	c.SameT(t)
	others[1].SetClock(-60 * 24 * time.Hour)
	key := keyOf(t, n)
	if code := changeKey(t, others[0], n.ID(), nil, schemas.ChangeNodeKey_Change_deny); code != schemas.Code_ok {
		t.Fatalf("deny: %s", code.ID())
	}
	stops(t, n, cluster.ErrKeyDenied)
	identity, err := cluster.LoadIdentity(n.Dir())
	fatal(t, err)
	fatal(t, n.Kill())
	c.LeaderT(t)
	for i := range 8 {
		set(t, c, "queue_max_envelopes", uint64(101+i))
	}
	allSay(t, refusals(t, c, identity), mesh.ErrDenied)
	others[1].SetClock(0) // at a start, certificates are judged by it alone
	for _, o := range others {
		fatal(t, o.Kill())
		fatal(t, o.Start())
	}
	c.LeaderT(t)
	allSay(t, refusals(t, c, identity), mesh.ErrDenied)
	for _, o := range others {
		if code := changeKey(t, o, o.ID(), nil, schemas.ChangeNodeKey_Change_deny); code != schemas.Code_nodeKeyMajority {
			t.Errorf("deny %s too: %s, want E088", o.ID(), code.ID())
		}
		if err := others[0].Engine().RemoveMember(within(t, time.Minute), o.ID()); !errors.Is(err, cluster.ErrKeyMajority) {
			t.Errorf("remove %s beside the denied one: %v, want %v", o.ID(), err, cluster.ErrKeyMajority)
		}
	}
	if keys := others[0].Engine().Status().NodeKeys; !keys.Denies(key) {
		t.Error("status does not list the denied key")
	}
	if err := n.Start(); err == nil {
		stops(t, n, cluster.ErrKeyDenied) // it had stopped before it had the denial itself
		fatal(t, n.Kill())
	} else if !errors.Is(err, cluster.ErrKeyDenied) {
		t.Fatalf("the denied node starts again: %v, want %v", err, cluster.ErrKeyDenied)
	}
	fatal(t, n.Wipe())
	fatal(t, n.Start())
	stops(t, n, cluster.ErrKeyDenied)
	fatal(t, n.Kill())
	fresh := rekey(t, n)
	if code := changeKey(t, others[0], n.ID(), fresh[:], schemas.ChangeNodeKey_Change_replace); code != schemas.Code_ok {
		t.Fatalf("take the new key: %s", code.ID())
	}
	fatal(t, n.Start())
	fatal(t, c.WaitVoter(within(t, time.Minute), n))
	c.SameT(t)
}

// When the members of a majority have new keys at once, they are let in again by nodes that
// are told to learn keys, and known by their new ones from then on.
func TestAMajorityWithNewKeys(t *testing.T) {
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{})
	knowsKeys(t, c, c.LeaderT(t))
	c.SameT(t)
	for _, n := range c.Nodes() {
		fatal(t, n.Stop(within(t, time.Minute)))
	}
	fresh := map[tlsid.NodeID]cluster.NodeKey{}
	for _, n := range c.Nodes()[:2] {
		fresh[n.ID()] = rekey(t, n)
	}
	for _, n := range c.Nodes() {
		fatal(t, n.Start())
	}
	for until := time.Now().Add(3 * time.Second); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		if leader := c.Leader(); leader != nil {
			t.Fatalf("%s leads among nodes that do not know each other", leader.ID())
		}
	}
	for _, n := range c.Nodes() {
		n.LearnKeys(true)
		fatal(t, n.Restart())
	}
	leader := c.LeaderT(t)
	for id, key := range fresh {
		if code := changeKey(t, leader, id, key[:], schemas.ChangeNodeKey_Change_replace); code != schemas.Code_ok {
			t.Fatalf("take the new key of %s: %s", id, code.ID())
		}
	}
	c.SameT(t)
	for _, n := range c.Nodes() {
		n.LearnKeys(false)
		fatal(t, n.Restart())
	}
	c.LeaderT(t)
	knowsKeys(t, c, c.Node(2))
	c.SameT(t)
}
