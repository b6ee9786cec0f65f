package testcluster_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"quicproquo/cluster"
	"quicproquo/crypto/account"
	"quicproquo/crypto/tlsid"
	"quicproquo/schemas"
	"quicproquo/testcluster"
)

// rotate asks for another cluster key with the directory of a node, as `qpqd rotate` does.
func rotate(t *testing.T, c *testcluster.Cluster, by *testcluster.Node, key tlsid.ClusterKey) error {
	t.Helper()
	identity, err := cluster.LoadIdentity(by.Dir())
	fatal(t, err)
	var peers []cluster.Peer
	for _, n := range c.Nodes() {
		peers = append(peers, cluster.Peer{ID: n.ID(), Address: n.Address()})
	}
	listen := func() (net.PacketConn, error) { return net.ListenPacket("udp", "127.0.0.1:0") }
	result, err := cluster.RotateClusterKey(within(t, 30*time.Second), listen, identity, peers, slog.New(slog.DiscardHandler), key)
	if err == nil && result.Code != schemas.Code_ok {
		err = errors.New(result.Code.ID())
	}
	return err
}

// hasOnly awaits that a node's directory has this cluster key and no other.
func hasOnly(t *testing.T, n *testcluster.Node, key tlsid.ClusterKey) {
	t.Helper()
	fatal(t, testcluster.Await(within(t, 30*time.Second), string(n.ID())+" has the new key alone", func() error {
		raw, err := os.ReadFile(filepath.Join(n.Dir(), "cluster.key"))
		if err != nil || string(raw) != string(key[:]) {
			return fmt.Errorf("it has another: %w", err)
		}
		if _, err := os.Stat(filepath.Join(n.Dir(), "cluster.keys")); err == nil {
			return errors.New("it has both")
		}
		return nil
	}))
	if _, err := cluster.LoadSecretsWith(n.Dir(), key, nil); err != nil {
		t.Errorf("%s: %v", n.ID(), err)
	}
}

// opens reports whether a cluster key opens the secrets of logins in a node's state.
func opens(t *testing.T, n *testcluster.Node, key tlsid.ClusterKey) bool {
	t.Helper()
	view, err := n.Engine().View()
	fatal(t, err)
	_, wrapped, err := view.Secret("opaque")
	fatal(t, errors.Join(err, view.Close()))
	_, err = account.Unwrap(key, wrapped)
	return err == nil
}

// The cluster key is replaced while the cluster runs: people log in before, meanwhile and
// after it, on every node; a member that is down is waited for, and a crash of another
// meanwhile loses nothing; then the old key opens nothing any more.
func TestTheClusterKeyIsReplaced(t *testing.T) {
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{})
	c.LeaderT(t)
	n1, n3 := c.Node(0), c.Node(2)
	for _, n := range c.Nodes() {
		knowsKeys(t, c, n)
	}
	secrets, err := cluster.LoadSecrets(n1.Dir())
	fatal(t, err)
	old, next := secrets.ClusterKey, tlsid.ClusterKey{1, 2, 3}
	alice := newPerson(t, "alice")
	register(t, connect(t, c), alice)
	login := func(n *testcluster.Node) {
		t.Helper()
		if _, _, err := connect(t, c, n).Login(within(t, time.Minute), alice.credentials()); err != nil {
			t.Errorf("log in on %s: %v", n.ID(), err)
		}
	}
	c.SameT(t)
	fatal(t, n3.Kill())
	c.LeaderT(t)
	fatal(t, rotate(t, c, n1, next))
	if err := rotate(t, c, n1, tlsid.ClusterKey{4}); !errors.Is(err, cluster.ErrRotating) {
		t.Errorf("another one meanwhile: %v, want %v", err, cluster.ErrRotating)
	}
	login(n1)
	fatal(t, n1.Kill())
	fatal(t, n1.Start())
	c.LeaderT(t)
	if s := n1.Engine().Status(); s.KeyRecord.InForce || len(s.ClusterKeys) != 2 {
		t.Errorf("while a member is down: in force %v, %d keys", s.KeyRecord.InForce, len(s.ClusterKeys))
	}
	login(n1)
	fatal(t, n3.Start())
	for _, n := range c.Nodes() {
		hasOnly(t, n, next)
		if _, err := cluster.LoadSecretsWith(n.Dir(), old, nil); err == nil {
			t.Errorf("the old key opens the authority's on %s", n.ID())
		}
	}
	c.SameT(t)
	for _, n := range c.Nodes() {
		if opens(t, n, old) || !opens(t, n, next) {
			t.Errorf("%s: the old key opens the state: %v, the new one: %v", n.ID(), opens(t, n, old), opens(t, n, next))
		}
		login(n)
	}
	for _, n := range c.Nodes() {
		fatal(t, n.Kill())
	}
	for _, n := range c.Nodes() {
		fatal(t, n.Start())
	}
	c.LeaderT(t)
	login(n3)
	fatal(t, rotate(t, c, n3, tlsid.ClusterKey{5}))
	hasOnly(t, n1, tlsid.ClusterKey{5})
}

// A node whose key is denied gets no cluster key, is not waited for, and asks for none to be
// replaced. A cluster where nobody ever registered is ready for it, too: the secrets of
// logins are made under the new key.
func TestADeniedNodeGetsNoClusterKey(t *testing.T) {
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{})
	c.LeaderT(t)
	n1, n2, stolen := c.Node(0), c.Node(1), c.Node(2)
	for _, n := range c.Nodes() {
		knowsKeys(t, c, n)
	}
	c.SameT(t)
	if code := changeKey(t, n1, stolen.ID(), nil, schemas.ChangeNodeKey_Change_deny); code != schemas.Code_ok {
		t.Fatalf("deny: %s", code.ID())
	}
	stops(t, stolen, cluster.ErrKeyDenied)
	fatal(t, stolen.Kill())
	c.LeaderT(t)
	next := tlsid.ClusterKey{1, 2, 3}
	if err := rotate(t, c, stolen, tlsid.ClusterKey{6}); err == nil {
		t.Error("a stolen directory replaces the cluster key")
	}
	fatal(t, rotate(t, c, n1, next))
	for _, n := range []*testcluster.Node{n1, n2} {
		hasOnly(t, n, next)
	}
	if !opens(t, n1, next) {
		t.Error("the new key does not open the secrets of logins")
	}
	if _, err := os.Stat(filepath.Join(stolen.Dir(), "cluster.keys")); err == nil {
		t.Error("the denied node has the new key")
	}
	register(t, connect(t, c, n2), newPerson(t, "alice"))
}
