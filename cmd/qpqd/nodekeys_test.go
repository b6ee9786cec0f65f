package main_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The drill for a stolen node, with real processes: its key is denied while it runs, it stops
// and says why, its directory can ask nothing any more; a directory of the same name with a
// new key is let in once the cluster was told, and fetches everything. What is misspelt is
// refused with a sentence.
func TestTheDrillForAStolenNode(t *testing.T) {
	t.Parallel()
	binary := buildBinary(t)
	root := filepath.Join(t.TempDir(), "cluster")
	ports := freePorts(t, 3)
	init := []string{"init", "--out", root}
	for i, p := range ports {
		init = append(init, "--node", []string{"n1=", "n2=", "n3="}[i]+p)
	}
	qpqd := func(args ...string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), waitTime)
		defer cancel()
		out, err := exec.CommandContext(ctx, binary, args...).CombinedOutput()
		return string(out), err
	}
	if out, err := qpqd(init...); err != nil {
		t.Fatalf("init: %v\n%s", err, out)
	}
	n1, n3 := filepath.Join(root, "n1"), filepath.Join(root, "n3")
	nodes := map[string]*process{}
	for i, id := range []string{"n1", "n2", "n3"} {
		nodes[id] = start(t, binary, "run", "--dir", filepath.Join(root, id), "--listen", ports[i])
	}
	known := func(members []member) bool {
		for _, m := range members {
			if m.Key == "" {
				return false
			}
		}
		return len(members) == 3
	}
	awaitStatus(t, binary, n1, "member without a key", known)
	for _, c := range []struct{ args, want string }{
		{"deny n9", "E050 MEMBER_UNKNOWN"},
		{"deny n3/", "node id must be"},
		{"deny --undo n3", "--undo takes the key"},
		{"deny " + strings.Repeat("x", 64), "is no node's key"},
		{"trust n3 abcd", "is no node's key"},
		{"replace n3 --out " + n3, "exists already"},
		{"replace n4 --out " + filepath.Join(root, "new"), "give its --address"},
	} {
		if out, err := qpqd(append(strings.Fields(c.args), "--dir", n1)...); err == nil || !strings.Contains(out, c.want) {
			t.Errorf("qpqd %s: %v\n%s; want %q", c.args, err, out, c.want)
		}
	}
	if out, err := qpqd("deny", "n3", "--dir", n1); err != nil {
		t.Fatalf("deny: %v\n%s", err, out)
	}
	select {
	case <-nodes["n3"].done:
	case <-time.After(waitTime):
		t.Fatal("the denied node goes on")
	}
	if log := nodes["n3"].logs.String(); !strings.Contains(log, "the cluster denies this node's key") {
		t.Errorf("the denied node does not say why it stops:\n%s", tail(log))
	}
	if out, err := qpqd("set", "queue_max_envelopes=7", "--dir", n3); err == nil || !strings.Contains(out, "refuses the certificate in this directory") {
		t.Errorf("the stolen directory changes settings:\n%s", out)
	}
	if out, err := qpqd("deny", "n2", "--dir", n1); err == nil || !strings.Contains(out, "E088 NODE_KEY_MAJORITY") {
		t.Errorf("deny a second of three: %v\n%s", err, out)
	}
	out, err := qpqd("status", "--dir", n1)
	if !strings.Contains(out, "(denied)") || !strings.Contains(out, "Denied keys:") {
		t.Errorf("status: %v\n%s; want the denied node", err, out)
	}

	fresh := filepath.Join(root, "fresh", "n3")
	if err := os.MkdirAll(filepath.Dir(fresh), 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := qpqd("replace", "n3", "--dir", n1, "--out", fresh, "--without-ca-key"); err != nil {
		t.Fatalf("replace: %v\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(fresh, "tls", "ca.key")); err == nil {
		t.Error("the new directory holds the authority's key, against --without-ca-key")
	}
	again := start(t, binary, "run", "--join", "--dir", fresh, "--listen", ports[2])
	advice := "qpqd trust n3 "
	var key string
	for deadline := time.Now().Add(waitTime); key == "" && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if _, after, ok := strings.Cut(again.logs.String(), advice); ok && len(after) >= 64 {
			key = after[:64]
		}
	}
	if out, err := qpqd("trust", "n3", key, "--dir", n1); err != nil {
		t.Fatalf("trust: %v\n%s\n%s", err, out, tail(again.logs.String()))
	}
	awaitStatus(t, binary, n1, "whole cluster", func(members []member) bool {
		return whole(members) && count(members, "follower") == 2 && known(members) && members[2].Key == key && !members[2].Denied
	})
	if out, err := qpqd("set", "queue_max_envelopes=7", "--dir", n3); err == nil {
		t.Errorf("the stolen directory changes settings beside the new one:\n%s", out)
	}
}
