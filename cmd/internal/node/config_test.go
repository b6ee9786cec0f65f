package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"quicproquo/cluster"
	"quicproquo/crypto/tlsid"
)

// Peers are ID=HOST:PORT; a port is kept, a host is not listened on.
func TestPeersAndAddresses(t *testing.T) {
	peers, err := ParsePeers([]string{"n1=10.0.0.1:4430", "n2=[::1]:1"})
	if err != nil || len(peers) != 2 || peers[0] != (cluster.Peer{ID: "n1", Address: "10.0.0.1:4430"}) || peers[1].Address != "[::1]:1" {
		t.Errorf("%+v %v", peers, err)
	}
	if _, err := ParsePeers([]string{"n1=a:1", "10.0.0.1:4430"}); err == nil || !strings.Contains(err.Error(), `"10.0.0.1:4430" is not ID=HOST:PORT`) {
		t.Errorf("a peer without a name: %v", err)
	}
	if got, err := ListenEverywhere("example.org:4430"); got != ":4430" || err != nil {
		t.Errorf("listens at %q, %v; expected :4430", got, err)
	}
	if _, err := ListenEverywhere("example.org"); err == nil || !strings.Contains(err.Error(), "is not HOST:PORT") {
		t.Errorf("an address without a port: %v", err)
	}
	if got, _ := ListenThere("127.0.0.1:1"); got != "127.0.0.1:1" {
		t.Errorf("listens at %q", got)
	}
}

// A configuration is read as it was written, for its owner alone.
func TestConfigFile(t *testing.T) {
	dir := t.TempDir()
	want := Config{ID: "n1", Listen: ":1", Address: "a:1", Peers: []string{"n1=a:1"}}
	if err := want.write(dir); err != nil {
		t.Fatal(err)
	}
	got, err := Load(dir)
	if err != nil || got.ID != want.ID || got.Listen != want.Listen || got.Address != want.Address || strings.Join(got.Peers, " ") != "n1=a:1" {
		t.Errorf("%+v %v", got, err)
	}
	if info, err := os.Stat(filepath.Join(dir, ConfigFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; expected 0600", info.Mode(), err)
	}
	if _, err := Load(filepath.Join(dir, "nowhere")); err == nil {
		t.Error("a directory without a file is taken")
	}
	if err := os.WriteFile(filepath.Join(dir, ConfigFile), []byte("id = "), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), ConfigFile) {
		t.Errorf("a damaged file: %v", err)
	}
}

// A new cluster never overwrites an old one.
func TestProvisionOverwritesNothing(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "n2"), 0o700); err != nil {
		t.Fatal(err)
	}
	err := Provision(root, []cluster.Peer{{ID: "n1", Address: "127.0.0.1:1"}, {ID: "n2", Address: "127.0.0.1:2"}}, ListenThere)
	if err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("over an existing directory: %v", err)
	}
	if _, err := os.Stat(filepath.Join(root, "n1")); err == nil {
		t.Error("and yet n1 was made")
	}
}

// The authority's key goes to the nodes that are named and to no other, and the cluster key
// where it is left; a node that is none of the cluster's is refused.
func TestProvisionWithCustody(t *testing.T) {
	peers := []cluster.Peer{{ID: "n1", Address: "127.0.0.1:1"}, {ID: "n2", Address: "127.0.0.1:2"}}
	key := tlsid.ClusterKey{1}
	custody := cluster.Custody{Key: key, Authorities: []tlsid.NodeID{"n2"}, WriteKey: func(string) error { return nil }}
	root := filepath.Join(t.TempDir(), "cluster")
	if err := ProvisionWith(root, peers, ListenThere, "fd:3", custody); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"n1", "n2"} {
		dir := filepath.Join(root, id)
		secrets, err := cluster.LoadSecretsWith(dir, key, nil)
		if err != nil || (secrets.Authority != nil) != (id == "n2") || secrets.ClusterKey != key {
			t.Errorf("%s holds the authority's key: %v, %v", id, secrets.Authority != nil, err)
		}
		if _, err := cluster.LoadSecrets(dir); err == nil {
			t.Errorf("%s holds the cluster key", id)
		}
		if config, err := Load(dir); err != nil || config.ClusterKey != "fd:3" {
			t.Errorf("node.toml of %s says that the cluster key comes from %q, %v", id, config.ClusterKey, err)
		}
	}
	if _, err := cluster.LoadSecretsWith(filepath.Join(root, "n2"), tlsid.ClusterKey{2}, nil); err == nil {
		t.Error("another cluster key opens the authority's key")
	}
	custody.Authorities = []tlsid.NodeID{"n7"}
	err := ProvisionWith(filepath.Join(t.TempDir(), "cluster"), peers, ListenThere, "", custody)
	if err == nil || !strings.Contains(err.Error(), "node n7") {
		t.Errorf("an authority that is no node: %v", err)
	}
}
