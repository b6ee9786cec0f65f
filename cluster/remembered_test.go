package cluster

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"quicproquo/cluster/datadir"
	"quicproquo/crypto/tlsid"
)

// What is remembered of the others never goes back, outlives the process, and is nothing
// of those who do not vote: they have lost their disk and said so, or are new.
func TestRemembered(t *testing.T) {
	path := t.TempDir()
	open := func() (*remembered, *datadir.Dir) {
		t.Helper()
		dir, err := datadir.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		r, err := newRemembered(dir, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return r, dir
	}
	voters := []Member{{ID: "n1", Voter: true}, {ID: "n2", Voter: true}}
	now := time.Now()
	at := func(index uint64) map[tlsid.NodeID]Status {
		return map[tlsid.NodeID]Status{"n1": {}, "n2": {AppliedIndex: index}}
	}
	want := func(what string, r *remembered, members []Member, index uint64) {
		t.Helper()
		if got := r.of("n2", members); got != index {
			t.Errorf("%s: %d is remembered, want %d", what, got, index)
		}
	}

	r, dir := open()
	r.note(at(7), voters, "n1", now)
	r.note(at(5), voters, "n1", now)
	want("after 7 and 5", r, voters, 7)
	r.note(at(9), voters, "n1", now.Add(time.Second))
	want("a second later", r, voters, 9)
	if err := dir.Close(); err != nil {
		t.Fatal(err)
	}
	r, dir = open()
	want("by the next process, what was written before the last seconds", r, voters, 7)
	r.note(at(9), voters, "n1", now.Add(time.Minute))

	want("of a node whose vote was taken away", r, []Member{{ID: "n1", Voter: true}, {ID: "n2"}}, 0)
	want("once it votes again", r, voters, 0)
	r.note(at(3), voters, "n1", now.Add(2*time.Minute))
	want("of what it has since", r, voters, 3)
	if err := dir.Close(); err != nil {
		t.Fatal(err)
	}

	if err := os.WriteFile(filepath.Join(path, "peers"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, dir = open()
	want("of a damaged file", r, voters, 0)
	if err := dir.Close(); err != nil {
		t.Fatal(err)
	}
}
