package cluster_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"quicproquo/cluster"
	"quicproquo/cluster/keyring"
	"quicproquo/crypto/tlsid"
	"quicproquo/schemas"
	"quicproquo/testcluster"
)

// askAs has a node answer a request of a node that has shown a key.
func askAs(t *testing.T, n *testcluster.Node, from tlsid.NodeID, key cluster.NodeKey, fill func(schemas.PeerRequest) error) (schemas.PeerResponse, error) {
	t.Helper()
	msg, seg := schemas.NewMessage()
	request, err := schemas.NewRootPeerRequest(seg)
	if err == nil {
		err = fill(request)
	}
	if err != nil {
		t.Fatal(err)
	}
	frame, err := msg.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	answer, err := n.Engine().AnswerPeerAs(from, key, frame)
	if err != nil {
		t.Fatal(err)
	}
	got, err := schemas.Unmarshal(answer)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := schemas.ReadRootPeerResponse(got)
	if err != nil {
		t.Fatal(err)
	}
	return reply, cluster.PeerError(reply)
}

func nodeKey(t *testing.T, n *testcluster.Node) cluster.NodeKey {
	t.Helper()
	identity, err := cluster.LoadIdentity(n.Dir())
	if err != nil {
		t.Fatal(err)
	}
	return tlsid.Fingerprint(identity.Leaf())
}

// Cluster keys are for members that show the key by which the cluster knows them, are given
// by a name that the cluster needs, and taken while no other replaces the one in force.
func TestClusterKeysAreForMembers(t *testing.T) {
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{Nodes: 1})
	n := c.LeaderT(t)
	own := nodeKey(t, n)
	for deadline := time.Now().Add(proposeTime); len(n.Engine().Status().NodeKeys.Bound) == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the node's key is not bound")
		}
	}
	hold := func(b byte, size int) func(schemas.PeerRequest) error {
		key := tlsid.ClusterKey{b}
		return func(r schemas.PeerRequest) error { return r.SetHoldKey(append(key[:], 0)[:size]) }
	}
	give := func(name []byte) func(schemas.PeerRequest) error {
		return func(r schemas.PeerRequest) error { return r.SetGiveKey(name) }
	}
	first := n.Engine().Status().ClusterKeys[0]
	for _, tc := range []struct {
		name string
		from tlsid.NodeID
		key  cluster.NodeKey
		fill func(schemas.PeerRequest) error
	}{
		{"another key than the member's", "n1", cluster.NodeKey{1}, hold(1, 32)},
		{"no key", "n1", cluster.NodeKey{}, hold(1, 32)},
		{"no member", "n9", own, hold(1, 32)},
		{"31 bytes", "n1", own, hold(1, 31)},
		{"33 bytes", "n1", own, hold(1, 33)},
		{"a key that no rotation needs", "n1", own, give(first[:])},
		{"a name of 15 bytes", "n1", own, give(first[:15])},
	} {
		if _, err := askAs(t, n, tc.from, tc.key, tc.fill); err == nil {
			t.Errorf("%s: it is taken", tc.name)
		}
	}
	if ids := n.Engine().Status().ClusterKeys; len(ids) != 1 {
		t.Fatalf("the node has taken %v", ids)
	}
	if _, err := askAs(t, n, "n1", own, hold(1, 32)); err != nil {
		t.Fatalf("a key from a member: %v", err)
	}
	to := keyring.IDOf(tlsid.ClusterKey{1})
	if err := n.Engine().PutSecret(t.Context(), keyring.RecordName, 1, (&keyring.Record{InForce: false, From: first, To: keyring.ID{7}}).Encode()); err != nil {
		t.Fatal(err)
	}
	// Nobody has the key that the log names: so long nothing changes.
	if _, err := askAs(t, n, "n1", own, hold(2, 32)); err == nil {
		t.Error("another key is taken during a rotation")
	}
	if reply, err := askAs(t, n, "n1", own, give(first[:])); err != nil || must(reply.Key()) == nil {
		t.Errorf("the key that is in force: %v", err)
	}
	for name, id := range map[string][]byte{"another that it has": to[:], "one that it lacks": append([]byte{7}, make([]byte, 15)...)} {
		if _, err := askAs(t, n, "n1", own, give(id)); err == nil {
			t.Errorf("%s is given", name)
		}
	}
	if record := n.Engine().Status().KeyRecord; record.InForce {
		t.Error("a key that nobody has is in force")
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// A node that crashes anywhere in a rotation starts again with both keys, and with the
// authority's, until all of it is done; then the old key opens nothing.
func TestRotationOverCrashes(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := cluster.Provision(root, []cluster.Peer{{ID: "n1", Address: "127.0.0.1:1"}}, time.Now()); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, "n1")
	secrets, err := cluster.LoadSecrets(dir)
	if err != nil {
		t.Fatal(err)
	}
	old, next := secrets.ClusterKey, tlsid.ClusterKey{9}
	for _, step := range []struct {
		name string
		do   func() error
		keys int
	}{
		{"the new key is there", func() error { return secrets.Keys.Hold(next) }, 2},
		{"the authority's key is sealed under it", func() error {
			return tlsid.ResealAuthority(filepath.Join(dir, "tls"), []tlsid.ClusterKey{old, next}, next)
		}, 2},
		{"and once more", func() error {
			return tlsid.ResealAuthority(filepath.Join(dir, "tls"), []tlsid.ClusterKey{old, next}, next)
		}, 2},
		{"it is what the node starts with", func() error { return os.WriteFile(filepath.Join(dir, "cluster.key"), next[:], 0o600) }, 2},
		{"the old one is gone", func() error { return secrets.Keys.Settle(keyring.IDOf(next)) }, 1},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		after, err := cluster.LoadSecrets(dir)
		if err != nil || len(after.Keys.Keys()) != step.keys || after.Authority == nil {
			t.Errorf("%s, and a crash: %v", step.name, err)
		}
	}
	if _, err := cluster.LoadSecretsWith(dir, old, nil); err == nil {
		t.Error("the old key opens the authority's")
	}
}
