package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quicproquo/cluster"
	"quicproquo/cmd/qpqconform/internal/conform"
	"quicproquo/testcluster"
)

// qpqd builds the server as a user would, and returns a way to run its commands.
func qpqd(t *testing.T) func(args ...string) (string, error) {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "qpqd")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "quicproquo/cmd/qpqd").CombinedOutput(); err != nil {
		t.Fatalf("build qpqd: %v\n%s", err, out)
	}
	return func(args ...string) (string, error) {
		if args[0] == "PATH" {
			return binary, nil
		}
		out, err := exec.CommandContext(t.Context(), binary, args...).CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
}

// conformance runs the program, and returns what it prints.
func conformance(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := rootCommand()
	var out bytes.Buffer
	cmd.SetArgs(append([]string{}, args...)) // nil would be the arguments of the test
	cmd.SetOut(&out)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

// Three processes of qpqd, with their own rates, do all that the documents say: found by
// one of their addresses. So they do when nobody can register without an invite, and when
// no session works by its token alone.
func TestProcessesConform(t *testing.T) {
	if testing.Short() {
		t.Skip("runs processes that are built as users build them: go test without -short runs it, the race detector sees nothing of them")
	}
	t.Parallel()
	run := qpqd(t)
	binary, _ := run("PATH")
	root := filepath.Join(t.TempDir(), "cluster")
	c, err := testcluster.StartProcesses(testcluster.ProcessOptions{
		Dir: root,
		Prepare: func(root string, peers []cluster.Peer, _ func(string) (string, error)) error {
			args := []string{"init", "--out", root}
			for _, p := range peers {
				args = append(args, "--node", string(p.ID)+"="+p.Address)
			}
			out, err := run(args...)
			if err != nil {
				err = fmt.Errorf("%w: %s", err, out)
			}
			return err
		},
		Command: func(dir string) *exec.Cmd { return exec.Command(binary, "run", "--dir", dir) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := c.WaitLeader(t.Context()); err != nil {
		t.Fatal(err)
	}
	line, err := run("pin", "--dir", root)
	if err != nil {
		t.Fatal(err, line)
	}
	first, pin, _ := strings.Cut(line, "?pin=")
	one, _, _ := strings.Cut(strings.TrimPrefix(first, "qpq://"), ",")
	out, err := conformance(t, "--server", one, "--pin", pin, "--json")
	var s summary
	if jsonErr := json.Unmarshal([]byte(out), &s); err != nil || jsonErr != nil {
		t.Fatalf("%v, %v: %s", err, jsonErr, out)
	}
	if s.Checks != len(conform.Checks()) || s.Failed+s.Skipped != 0 || len(s.Nodes) != 3 || !s.CleanedUp {
		t.Errorf("%d checks, %d failed, %d not tried, nodes %v, cleaned up %t", s.Checks, s.Failed, s.Skipped, s.Nodes, s.CleanedUp)
	}
	byToken(t, run, root, line)
}

// byToken closes the cluster to who has no token, and tries it with one and without.
func byToken(t *testing.T, run func(...string) (string, error), root, line string) {
	t.Helper()
	if out, err := run("set", "--dir", root, "registration=token", "bearer_tokens=0", "member_invites_daily=3"); err != nil {
		t.Fatal(err, out)
	}
	const some = "a name and a password|A call|createInvite|Who calls"
	if out, err := conformance(t, "--server", line, "--run", some); err == nil || !strings.Contains(out, "E082 INVITE_REQUIRED") {
		t.Errorf("without an invite: %v, want that it is refused with E082:\n%s", err, out)
	}
	tokens, err := run("invite", "--dir", root, "--uses", "6")
	if err != nil {
		t.Fatal(err, tokens)
	}
	token, _, _ := strings.Cut(tokens, "\n")
	if strings.HasPrefix(token, "for ") { // both outputs are one here
		_, token, _ = strings.Cut(tokens, "\n")
	}
	if out, err := conformance(t, "--server", line, "--run", some, "--invite", token); err != nil || strings.Contains(out, "failed:") || !strings.Contains(out, " 0 failed") {
		t.Errorf("with an invite: %v:\n%s", err, out)
	}
}

// A node that is not there, another cluster's pin and what can't be read are told at
// once, and a run whose checks fail ends with an error.
func TestMistakesOfWhoCalls(t *testing.T) {
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{Nodes: 1})
	c.LeaderT(t)
	at, other := c.Node(0).Address(), "sha256:"+strings.Repeat("ab", 32)
	for _, row := range []struct {
		want string
		args []string
	}{
		{"name a node", nil},
		{"name the cluster's pin", []string{"--server", at}},
		{"a pin is sha256:", []string{"--server", at, "--pin", "ab"}},
		{"--server: ", []string{"--server", "http://x"}},
		{"--invite: ", []string{"--server", at, "--pin", other, "--invite", "x"}},
		{"--run: ", []string{"--server", at, "--pin", other, "--run", "("}},
		{"the authority's pin: got sha256:", []string{"--server", at, "--pin", other}},
	} {
		begin := time.Now()
		if out, err := conformance(t, row.args...); err == nil || !strings.Contains(err.Error(), row.want) || out != "" || time.Since(begin) > 30*time.Second {
			t.Errorf("qpqconform %v: %v, want %q:\n%s", row.args, err, row.want, out)
		}
	}
	if out, err := conformance(t, "--list"); err != nil || strings.Count(out, "\n") != len(conform.Checks()) {
		t.Errorf("--list: %v:\n%s", err, out)
	}
}
