package mls

import (
	"slices"
	"testing"

	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// branchOf founds a branch that names an epoch of the old group, with any members.
func (w *world) branchOf(by int, epoch uint64, with ...*message.KeyPackage) *Pending {
	w.t.Helper()
	g := w.members[by]
	fresh := must(Create(g.cfg, g.id, []byte("branch"), nil, worldTime))(w.t)
	id := schedule.PSKID{
		Type: schedule.PSKResumption, Usage: schedule.UsageBranch, GroupID: g.ID(), Epoch: epoch, Nonce: suite.Random(32),
	}
	return must(fresh.commit(CommitOptions{Add: with}, &id, g.psk, worldTime))(w.t)
}

// A rightful branch is joined however far the old group has moved on since: at once, an
// epoch later, and after its founder has left; also by one who saved and loaded.
func TestBranchAfterOldGroupMoved(t *testing.T) {
	w := newWorld(t, worldOptions{})
	kp := must(w.members[1].id.NewKeyPackage(worldTime, KeyPackageOptions{}))(t)
	branch := must(w.members[0].Branch([]byte("branch"), []*message.KeyPackage{kp.Public}, worldTime))(t)
	joins := func(when string) {
		t.Helper()
		for _, from := range []*Group{w.members[1], reloaded(t, w.cfg, w.members[1])} {
			if _, err := Join(w.cfg, []*KeyPackage{kp}, branch.Welcome, JoinOptions{From: from}, worldTime); err != nil {
				t.Errorf("%s: %v", when, err)
			}
		}
	}
	joins("at once")
	w.accept(2, must(w.members[2].Commit(CommitOptions{}, worldTime))(t))
	joins("one epoch later")
	w.accept(2, must(w.members[2].Commit(CommitOptions{Remove: []tree.LeafIndex{0}}, worldTime))(t))
	joins("after the founder has left")
	heir := must(identity(t, "heir").NewKeyPackage(worldTime, KeyPackageOptions{}))(t)
	p := must(w.members[2].Commit(CommitOptions{Add: []*message.KeyPackage{heir.Public}}, worldTime))(t)
	w.deliver(1, p.Commit)
	w.members[2] = p.Next
	if string(w.members[2].pub.tree.Leaf(0).Credential.Identity) != "heir" {
		t.Fatal("the heir does not sit where the founder sat")
	}
	joins("after somebody took the founder's place")
}

// Nobody who came later passes as one who was there in the epoch that a branch names, nor
// one who had left before it.
func TestBranchRefusesWhoWasNotThere(t *testing.T) {
	w := newWorld(t, worldOptions{})
	late, gone := identity(t, "late"), w.members[3].id
	before := w.members[0].Epoch()
	w.accept(0, must(w.members[0].Commit(CommitOptions{Remove: []tree.LeafIndex{3}}, worldTime))(t))
	w.members = w.members[:3]
	between := w.members[0].Epoch()
	kp := must(late.NewKeyPackage(worldTime, KeyPackageOptions{}))(t)
	w.accept(0, must(w.members[0].Commit(CommitOptions{Add: []*message.KeyPackage{kp.Public}}, worldTime))(t))
	after := w.members[0].Epoch()
	own := must(w.members[1].id.NewKeyPackage(worldTime, KeyPackageOptions{}))(t)
	for _, c := range []struct {
		who   *Identity
		epoch uint64
		was   bool
	}{
		{late, before, false},
		{late, between, false},
		{late, after, true},
		{gone, before, true},
		{gone, between, false},
		{gone, after, false},
	} {
		p := w.branchOf(0, c.epoch, own.Public, w.keyPackage(c.who, nil))
		for _, from := range []*Group{w.members[1], reloaded(t, w.cfg, w.members[1])} {
			_, err := Join(w.cfg, []*KeyPackage{own}, p.Welcome, JoinOptions{From: from}, worldTime)
			if c.was != (err == nil) {
				t.Errorf("%s in a branch of epoch %d: %v", c.who.Credential.Identity, c.epoch, err)
			}
			if !c.was {
				wantRule(t, err, rule.JoinBranch)
			}
		}
	}
}

// The members of an epoch are known for as long as its resumption PSK, and the memory is
// bounded by what has changed since.
func TestHistoryIsBounded(t *testing.T) {
	w := newWorld(t, worldOptions{})
	want := map[uint64][]string{}
	for round := range 2 * DefaultResumptionEpochs {
		g := w.members[0]
		var names []string
		for _, m := range g.Members() {
			names = append(names, string(m.Leaf.Credential.Identity))
		}
		slices.Sort(names)
		want[g.Epoch()] = names
		opt := CommitOptions{Add: []*message.KeyPackage{w.keyPackage(identity(t, string(rune('A'+round))), nil)}}
		if round%3 > 0 {
			opt.Remove = []tree.LeafIndex{g.Members()[len(g.Members())-1].Index}
		}
		w.members[0] = must(g.Commit(opt, worldTime))(t).Next
	}
	g := reloaded(t, w.cfg, w.members[0])
	for epoch, names := range want {
		list, ok := g.history.members(g.pub, epoch)
		if kept := epoch >= g.resumption[0].epoch; ok != kept {
			t.Errorf("members of epoch %d known: %v, want %v", epoch, ok, kept)
		}
		var got []string
		for _, c := range list {
			got = append(got, string(c.Identity))
		}
		slices.Sort(got)
		if ok && !slices.Equal(got, names) {
			t.Errorf("members of epoch %d: %q, want %q", epoch, got, names)
		}
	}
	if n := len(g.history.past); n > DefaultResumptionEpochs {
		t.Errorf("%d who left are remembered, at most one an epoch has", n)
	}
}

// A state that an older version saved, without the history, loads, saves to the same
// bytes, knows the members of its epoch, and learns from then on.
func TestStateWithoutHistory(t *testing.T) {
	w := newWorld(t, worldOptions{})
	g := *w.members[1]
	g.history = nil
	old := reloaded(t, w.cfg, &g)
	if old.history != nil {
		t.Fatal("a history was made up")
	}
	if list, ok := old.history.members(old.pub, old.Epoch()); !ok || len(list) != 4 {
		t.Errorf("the present epoch has %d members, known %v", len(list), ok)
	}
	if _, ok := old.history.members(old.pub, old.Epoch()-1); ok {
		t.Error("the members of an epoch before are said to be known")
	}
	p := must(w.members[0].Commit(CommitOptions{Remove: []tree.LeafIndex{3}}, worldTime))(t)
	next, ev, err := old.Process(p.Commit, worldTime)
	must(ev, err)(t)
	for epoch, n := range map[uint64]int{next.Epoch(): 3, next.Epoch() - 1: 4} {
		if list, ok := next.history.members(next.pub, epoch); !ok || len(list) != n {
			t.Errorf("epoch %d has %d members, known %v, want %d", epoch, len(list), ok, n)
		}
	}
}
