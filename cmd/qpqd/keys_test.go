package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The keys of a cluster are where its operator wants them: the authority's on the nodes
// that are named, the cluster key under a passphrase and nowhere in the clear. A node
// starts with its passphrase, again after a stop, and not with another one.
func TestKeysWhereTheOperatorWantsThem(t *testing.T) {
	t.Parallel()
	binary := buildBinary(t)
	root := filepath.Join(t.TempDir(), "cluster")
	pass := filepath.Join(t.TempDir(), "pass")
	if err := os.WriteFile(pass, []byte("open sesame\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ports := freePorts(t, 2)
	init := func(args ...string) (string, error) {
		out, err := exec.CommandContext(t.Context(), binary, append([]string{"init", "--out", root, "--node", "n1=" + ports[0]}, args...)...).CombinedOutput()
		return string(out), err
	}
	if out, err := init("--ca-nodes", "n7"); err == nil || !strings.Contains(out, "node n7, which is to hold the CA's key, is none of the cluster's nodes") {
		t.Errorf("an authority that is no node: %v\n%s", err, out)
	}
	if out, err := init("--cluster-key", "kms"); err == nil || !strings.Contains(out, `"kms" is no source`) {
		t.Errorf("a source that is none: %v\n%s", err, out)
	}
	other := filepath.Join(filepath.Dir(root), "two")
	out, err := exec.CommandContext(t.Context(), binary, "init", "--out", other, "--node", "n1="+ports[0], "--node", "n2="+ports[1],
		"--ca-nodes", "n1", "--cluster-key", "passphrase-file:"+pass).CombinedOutput()
	if err != nil {
		t.Fatalf("init: %v\n%s", err, out)
	}
	for name, want := range map[string]bool{
		"n1/tls/ca.key": true, "n2/tls/ca.key": false, "n2/tls/ca.pem": true,
		"n1/cluster.key": false, "n2/cluster.key": false, "n1/cluster.key.sealed": true, "n2/cluster.key.sealed": true,
	} {
		if _, err := os.Stat(filepath.Join(other, name)); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", name, err == nil, want)
		}
	}
	nodes := []*process{}
	for i, id := range []string{"n1", "n2"} {
		nodes = append(nodes, start(t, binary, "run", "--dir", filepath.Join(other, id), "--listen", ports[i]))
	}
	register(t, binary, other, "alice") // needs the cluster key on the node that is asked
	for _, p := range nodes {
		p.signal(t, syscall.SIGTERM)
	}
	if err := os.WriteFile(pass, []byte("open barley\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err = exec.CommandContext(t.Context(), binary, "run", "--dir", filepath.Join(other, "n1"), "--listen", ports[0]).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "the passphrase is not the one") {
		t.Errorf("with another passphrase: %v\n%s", err, out)
	}
}
