package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"quicproquo/cluster"
	"quicproquo/cmd/internal/node"
	"quicproquo/crypto/tlsid"
)

func seenAs(id, state, leader string, applied uint64) cluster.Observation {
	o := cluster.Observation{Member: cluster.Member{ID: tlsid.NodeID(id), Address: id + ":1", Voter: true}}
	if state != "" {
		o.Status = &cluster.Status{State: state, Leader: tlsid.NodeID(leader), AppliedIndex: applied, Version: "v1"}
	}
	return o
}

// The rows of status are in order, tell who is how far behind, and who does not
// answer.
func TestStatusRows(t *testing.T) {
	down := seenAs("n3", "", "", 0)
	down.Err = errors.New("no answer")
	full := seenAs("n2", "follower", "n1", 90)
	full.Voter, full.Status.ReadOnly = false, true
	rows := statusRows([]cluster.Observation{down, full, seenAs("n1", "leader", "n1", 100)})
	var got []string
	for _, r := range rows {
		got = append(got, fmt.Sprintf("%s %s %d %s", r.ID, r.State, r.Lag, r.Error))
	}
	if want := "n1 leader 0 |n2 follower 10 |n3 unreachable 0 no answer"; strings.Join(got, "|") != want {
		t.Errorf("%q, expected %q", strings.Join(got, "|"), want)
	}
	var out bytes.Buffer
	if err := printStatus(&out, rows); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"ID  STATE                                     APPLIED  COMMANDS  LAG  VERSION  ADDRESS",
		"n1  leader                                    100      0         0    v1       n1:1",
		"n2  follower (catching up) (disk nearly full)  90       0         10   v1       n2:1",
		"n3  unreachable                               -        -         -    -        n3:1",
	}
	for i, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		if strings.Join(strings.Fields(line), " ") != strings.Join(strings.Fields(want[i]), " ") {
			t.Errorf("line %d is %q, expected %q", i, line, want[i])
		}
	}
}

// Only a leader that a majority of the voters follows can take writes; all else ends
// with 3.
func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		name string
		rows []statusRow
		ok   bool
	}{
		{"all follow", []statusRow{{ID: "n1", State: "leader", Voter: true, Leader: "n1"}, {ID: "n2", Voter: true, Leader: "n1"}, {ID: "n3", Voter: true, Leader: "n1"}}, true},
		{"one is down", []statusRow{{ID: "n1", State: "leader", Voter: true, Leader: "n1"}, {ID: "n2", Voter: true, Leader: "n1"}, {ID: "n3", Voter: true}}, true},
		{"half is no majority", []statusRow{{ID: "n1", State: "leader", Voter: true, Leader: "n1"}, {ID: "n2", Voter: true}}, false},
		{"a leader alone", []statusRow{{ID: "n1", State: "leader", Voter: true, Leader: "n1"}, {ID: "n2", Voter: true}, {ID: "n3", Voter: true}}, false},
		{"who does not vote does not count", []statusRow{{ID: "n1", State: "leader", Voter: true, Leader: "n1"}, {ID: "n2", Voter: true}, {ID: "n3", Leader: "n1"}, {ID: "n4", Voter: true}}, false},
		{"who follows without a vote makes no majority", []statusRow{{ID: "n1", State: "leader", Voter: true, Leader: "n1"}, {ID: "n2", Voter: true}, {ID: "n3", Leader: "n1"}}, false},
		{"who is down without a vote takes none", []statusRow{{ID: "n1", State: "leader", Voter: true, Leader: "n1"}, {ID: "n2", Voter: true, Leader: "n1"}, {ID: "n3", Voter: true}, {ID: "n4"}}, true},
		{"no leader", []statusRow{{ID: "n1", State: "follower", Voter: true, Leader: "n1"}, {ID: "n2", State: "follower", Voter: true, Leader: "n1"}}, false},
		{"nobody", nil, false},
	} {
		err := verdict(c.rows)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v, expected it to be well: %v", c.name, err, c.ok)
		}
		if err != nil && exitCode(fmt.Errorf("status: %w", err)) != exitIO {
			t.Errorf("%s: exit code %d, expected 3", c.name, exitCode(err))
		}
	}
	if got := exitCode(errors.New("other")); got != exitUser {
		t.Errorf("another error ends with %d, expected 1", got)
	}
}

// A node's directory is found at a place or right below it, the first of several.
func TestFindNodeDir(t *testing.T) {
	root := t.TempDir()
	if _, err := findNodeDir(root); err == nil || !strings.Contains(err.Error(), "no node's directory at "+root) {
		t.Errorf("an empty directory: %v", err)
	}
	for _, id := range []string{"n2", "n1"} {
		if err := os.Mkdir(filepath.Join(root, id), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, id, node.ConfigFile), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range [][2]string{{root, "n1"}, {filepath.Join(root, "n2"), "n2"}} {
		if got, err := findNodeDir(c[0]); err != nil || filepath.Base(got) != c[1] {
			t.Errorf("%s: %s %v, expected %s", c[0], got, err, c[1])
		}
	}
}
