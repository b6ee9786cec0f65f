package liar_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).probeNode"),
		goleak.IgnoreAnyFunction("quicproquo/cluster.(*Node).answer.func1"))
}

// Whatever a node says, people keep what they have, nobody else reads it, and they are
// told what they can't know. Each script of testdata/attacks is a row of the table in
// docs/security.md; all are played by the same people, alice, bob and carol, who know
// each other, and mallory, an outsider whose keys the test has. Lines:
//
//	person NAME... [node=honest]   one more, for the script's own use
//	outsider NAME                  an account whose keys the test has (outsider_test.go)
//	lie                            the rules that follow (package liar); honest ends them
//	dm WHO WITH / group WHO TITLE MEMBER... / say WHO CONVERSATION
//	reads, notices, state, members, sent, list   wait for what is expected below
//
// and those of acts and crafts. Rules and crafts call groups by their titles, and
// conversations of two FOUNDER+PEER.
func TestAttacks(t *testing.T) {
	if testing.Short() {
		t.Skip("clients that wait for each other: go test without -short runs it, the race run would learn nothing from it")
	}
	files, err := filepath.Glob("testdata/attacks/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no scripts (%v)", err)
	}
	s := newStage(t)
	names := []string{"alice", "bob", "carol"}
	for _, name := range names {
		if err := s.meet(t.Context(), name, false); err != nil {
			t.Fatalf("register %s: %v", name, err)
		}
	}
	if err := s.enter(t.Context(), "mallory"); err != nil {
		t.Fatalf("register mallory: %v", err)
	}
	for i, name := range names { // so that each is a contact of each
		others := slices.Delete(slices.Clone(names), i, i+1)
		if _, err := s.people[name].CreateGroup(t.Context(), "friends of "+name, others...); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { s.play(t, file) })
	}
}
