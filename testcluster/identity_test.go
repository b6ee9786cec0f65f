package testcluster_test

import (
	"errors"
	"net"
	"path/filepath"
	"testing"

	"quicproquo/cluster"
	"quicproquo/crypto/tlsid"
	"quicproquo/testcluster"
)

// A node starts only where its configuration, its certificate and its data are of one
// node of one cluster: what a copied file, a directory put elsewhere or another
// cluster's data would bring about (two votes, two logs under one name) can't begin.
func TestANodeKnowsWhoItIs(t *testing.T) {
	t.Parallel()
	c, other := testcluster.StartT(t, testcluster.Options{}), testcluster.StartT(t, testcluster.Options{Nodes: 1})
	c.LeaderT(t)
	other.LeaderT(t)
	n1, n2, foreign := c.Node(0), c.Node(1), other.Node(0)
	for _, n := range []*testcluster.Node{n1, n2, foreign} {
		if err := n.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name    string
		id      tlsid.NodeID
		secrets *testcluster.Node // whose certificate
		data    string
		ok      bool
	}{
		{"another node's node.toml", n1.ID(), n2, n2.Dir(), false},
		{"another node's certificate", n2.ID(), n1, n2.Dir(), false},
		{"another node's data", n1.ID(), n1, n2.Dir(), false},
		{"another cluster's data", n1.ID(), n1, foreign.Dir(), false},
		{"all its own", n1.ID(), n1, n1.Dir(), true},
		{"its own, and an empty directory", n1.ID(), n1, filepath.Join(t.TempDir(), "empty"), true},
	} {
		secrets, err := cluster.LoadSecrets(tc.secrets.Dir())
		fatal(t, err)
		conn, err := net.ListenPacket("udp", "127.0.0.1:0")
		fatal(t, err)
		node, err := cluster.Open(cluster.Config{
			ID: tc.id, Address: n1.Address(), Dir: tc.data, Conn: conn, Identity: secrets.Identity, Join: true,
		})
		if tc.ok != (err == nil) || !tc.ok && !errors.Is(err, cluster.ErrIdentity) {
			t.Errorf("%s: %v; goes on %t, want %t", tc.name, err, err == nil, tc.ok)
		}
		if node != nil {
			fatal(t, node.Close(t.Context()))
		}
	}
}
