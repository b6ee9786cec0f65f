package main_test

import (
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// An operator replaces the cluster key of running nodes, one of which gets its key from a
// command: that one goes on with both until the command gives the new one, says so, and
// forgets the old one then. What can't work is refused with a sentence.
func TestOperatorReplacesTheClusterKey(t *testing.T) {
	t.Parallel()
	binary := buildBinary(t)
	root := filepath.Join(t.TempDir(), "cluster")
	ports := freePorts(t, 3)
	init := []string{"init", "--out", root}
	for i, p := range ports {
		init = append(init, "--node", []string{"n1=", "n2=", "n3="}[i]+p)
	}
	qpqd := func(args ...string) (string, error) {
		out, err := exec.CommandContext(t.Context(), binary, args...).CombinedOutput()
		return string(out), err
	}
	if out, err := qpqd(init...); err != nil {
		t.Fatalf("init: %v\n%s", err, out)
	}
	n1, n3 := filepath.Join(root, "n1"), filepath.Join(root, "n3")
	kms := filepath.Join(t.TempDir(), "kms")
	copyKey := func(from string) {
		t.Helper()
		key, err := os.ReadFile(filepath.Join(from, "cluster.key"))
		if err == nil {
			err = os.WriteFile(kms, []byte(hex.EncodeToString(key)), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	copyKey(n3)
	config, err := os.ReadFile(filepath.Join(n3, "node.toml"))
	if err == nil {
		err = os.WriteFile(filepath.Join(n3, "node.toml"), append(config, "\ncluster-key = \"command:cat "+kms+"\"\n"...), 0o600)
	}
	if err == nil {
		err = os.Remove(filepath.Join(n3, "cluster.key"))
	}
	if err != nil {
		t.Fatal(err)
	}
	run := func(i int) *process {
		return start(t, binary, "run", "--dir", filepath.Join(root, []string{"n1", "n2", "n3"}[i]), "--listen", ports[i])
	}
	run(0)
	run(1)
	third := run(2)
	awaitStatus(t, binary, n1, "member without a key", func(members []member) bool {
		for _, m := range members {
			if m.Key == "" {
				return false
			}
		}
		return whole(members)
	})
	for _, c := range []struct{ args, want string }{
		{"--dir " + n3, "and name that with --new-key"},
		{"--dir " + n1 + " --new-key file", "takes fd:N or command:PROGRAM ARGS"},
		{"--dir " + n1 + " --new-key command:cat\t" + kms, "in force already"},
	} {
		if out, err := qpqd(append([]string{"rotate", "cluster-key"}, strings.Split(c.args, " ")...)...); err == nil || !strings.Contains(out, c.want) {
			t.Errorf("rotate %s: %v\n%s; want %q", c.args, err, out, c.want)
		}
	}
	out, err := qpqd("rotate", "cluster-key", "--dir", n1)
	if err != nil || !strings.Contains(out, "The cluster key is ") || !strings.Contains(out, "Still started with another key, and keeping both: n3.") {
		t.Fatalf("rotate: %v\n%s", err, out)
	}
	register(t, binary, root, "alice")
	if _, err := os.Stat(filepath.Join(n3, "cluster.keys")); err != nil {
		t.Errorf("n3 does not keep both: %v", err)
	}
	third.signal(t, syscall.SIGTERM)
	copyKey(n1)
	run(2)
	for deadline := time.Now().Add(waitTime); ; time.Sleep(50 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(n3, "cluster.keys")); os.IsNotExist(err) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("n3 keeps the old key")
		}
	}
}
