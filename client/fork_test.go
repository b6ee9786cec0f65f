package client

import (
	"slices"
	"strings"
	"testing"
	"time"

	"quicproquo/client/groupstate"
	"quicproquo/crypto/mls"
	"quicproquo/crypto/mls/tree"
)

// A member who was removed by a commit of ours works with the node: that commit, they say,
// never won. What they offer as the true group is vouched for by nobody but who was
// removed, and leads nowhere; the way back of a member who stays does.
func TestRemovedMemberUndoesNothing(t *testing.T) {
	t.Parallel()
	for _, who := range []string{"eve", "carol"} {
		alice, bob, name := joined(t, "alice", false)
		data, _ := groupData(name, alice)
		data.SetAdmin(bob.Account().Key, true)
		ext := data.Extensions(nil)
		made, _ := alice.commits(mls.CommitOptions{Extensions: &ext})
		bob.gets(made)
		eve, carol := newActor(t, "eve"), newActor(t, "carol")
		bob.knows(eve, carol)
		bob.gets(eve.joins(alice))
		joining := carol.joins(alice)
		bob.gets(joining)
		eve.hears(joining)
		bob.gets(alice.says(text("hello")))
		past := (*groupstate.Known)(nil).Next(nil, alice.group)
		remove := bob.wishes(name, wish{Kind: wishRemove, Accounts: []AccountKey{eve.account}})
		bob.tries(remove, prepared{})
		bob.adopts(name)
		if n := bob.members(name); n != 3 {
			t.Fatalf("the group has %d members after the removal, want 3", n)
		}
		by := map[string]*actor{"eve": eve, "carol": carol}[who]
		before := by.group
		rival, _ := by.commits(mls.CommitOptions{})
		past = past.Next(before, by.group)
		bob.gets(rival)
		rejoin := bob.intends(name, wishRejoin)
		if who == "carol" {
			bob.comesBack(name, rejoin, by, past)
			continue
		}
		for range 3 {
			bob.tries(rejoin, prepared{record: by.record(past), current: true})
			if bob.pending(name) != nil {
				t.Fatal("bob follows who he has removed into a group of her own")
			}
		}
	}
}

// A member sends one of the others a commit that the cluster never had, so that it goes
// on in an epoch that nobody else has: as soon as another member says or changes anything
// it finds the way back, however far it was led, and whoever was thrown out there.
func TestMemberWhoLeadsAside(t *testing.T) {
	t.Parallel()
	for what, aside := range map[string]func(carol *actor, bob *offline, alice *actor){
		"one epoch": func(carol *actor, bob *offline, _ *actor) {
			made, _ := carol.commits(mls.CommitOptions{})
			bob.gets(made)
		},
		"many epochs": func(carol *actor, bob *offline, _ *actor) {
			for range 40 {
				made, _ := carol.commits(mls.CommitOptions{})
				bob.gets(made, carol.says(text("come with me")))
			}
		},
		"without the admin": func(carol *actor, bob *offline, alice *actor) {
			made, _ := carol.commits(mls.CommitOptions{Remove: []tree.LeafIndex{carol.leaf(alice.account)}})
			bob.gets(made, carol.says(text("she is gone")))
		},
	} {
		for _, told := range []string{"a message", "a commit", "several commits"} {
			t.Run(what+", then "+told, func(t *testing.T) {
				t.Parallel()
				alice, bob, name := joined(t, "alice", false)
				carol := newActor(t, "carol")
				bob.knows(carol)
				bob.gets(carol.joins(alice))
				bob.gets(alice.says(text("hello")))
				past := (*groupstate.Known)(nil).Next(nil, alice.group)
				aside(carol, bob, alice)
				said := 1
				if told != "a message" {
					said = map[string]int{"a commit": 1, "several commits": 4}[told]
				}
				for range said {
					before := alice.group
					made, _ := alice.commits(mls.CommitOptions{})
					past = past.Next(before, alice.group)
					if told != "a message" {
						bob.gets(made)
					}
				}
				bob.gets(alice.says(text("where are you?")))
				bob.comesBack(name, bob.intends(name, wishRejoin), alice, past)
				bob.gets(alice.says(text("there you are")))
				if said := bob.said(name); said[len(said)-1] != "alice: there you are" {
					t.Errorf("bob reads %q, want what alice says in the end", said)
				}
				if !slices.ContainsFunc(bob.history(name), func(e Entry) bool {
					return e.Text == "carol: sent this device a change that the others do not have; what was said here since then has not reached them"
				}) {
					t.Errorf("bob's history does not say who has led him aside: %+v", bob.history(name))
				}
				if n := bob.keepsEarlier(name); n != 0 {
					t.Errorf("%d bytes of before are kept though the cluster has accepted the return", n)
				}
				if n := bob.members(name); n != 3 {
					t.Errorf("the group has %d members, want alice, bob and carol", n)
				}
			})
		}
	}
}

// unproven reports whether something is kept of before an epoch that nobody has confirmed.
func (o *offline) unproven(name string, epoch uint64) (kept bool) {
	o.t.Helper()
	of := o.find(name).id
	err := o.look(func(t *turn) error {
		row, err := t.talk(of)
		kept = err == nil && row.earlier.Unproven(epoch)
		return err
	})
	if err != nil {
		o.t.Fatal(err)
	}
	return kept
}

// What was known before a commit of another's is kept until somebody else than its maker,
// who was there before, shows that he has it, or the cluster accepts a commit of ours; for a
// month at the longest. In a conversation of two nothing is kept.
func TestBeforeAnothersCommit(t *testing.T) {
	t.Parallel()
	for _, scene := range []struct {
		name string
		kept bool
		does func(alice, carol *actor, bob *offline)
	}{
		{"nothing", true, func(*actor, *actor, *offline) {}},
		{"a word of its maker", true, func(_, carol *actor, bob *offline) { bob.gets(carol.says(text("come with me"))) }},
		{"a word of somebody whom its maker has added since", true, func(_, carol *actor, bob *offline) {
			dave := newActor(bob.t, "dave")
			bob.knows(dave)
			bob.gets(dave.joins(carol))
			bob.gets(dave.says(text("so it is")))
		}},
		{"a word of another", false, func(alice, _ *actor, bob *offline) { bob.gets(alice.says(text("here"))) }},
		{"a commit of another", false, func(alice, _ *actor, bob *offline) {
			made, _ := alice.commits(mls.CommitOptions{})
			bob.gets(made)
		}},
		{"a commit of ours", false, func(_, _ *actor, bob *offline) { bob.won("friends") }},
		{"a month", false, func(_, _ *actor, bob *offline) { bob.later(groupstate.MaxEarlierAge + time.Minute) }},
	} {
		t.Run(scene.name, func(t *testing.T) {
			t.Parallel()
			alice, bob, _ := joined(t, "alice", false)
			carol := newActor(t, "carol")
			bob.knows(carol)
			bob.gets(carol.joins(alice))
			bob.gets(alice.says(text("hello")), carol.says(text("hello")))
			if n := bob.keepsEarlier("friends"); n != 0 {
				t.Fatalf("%d bytes are kept of before carol was added, who has spoken", n)
			}
			made, _ := carol.commits(mls.CommitOptions{})
			alice.hears(made)
			bob.gets(made)
			began := alice.group.Epoch()
			scene.does(alice, carol, bob)
			bob.forgets()
			if kept := bob.unproven("friends", began); kept != scene.kept {
				t.Errorf("what was known before is kept: %t, want %t", kept, scene.kept)
			}
		})
	}
	alice, bob, name := joined(t, "alice", true)
	made, _ := alice.commits(mls.CommitOptions{})
	bob.gets(made)
	if n := bob.keepsEarlier(name); n != 0 {
		t.Errorf("%d bytes of before are kept in a conversation of two", n)
	}
}

// A member who is no admin throws another out. Who is thrown out keeps the conversation: if
// the cluster never had that commit, it goes on as if there had been none. If it had, there
// is no way back, and the user is told; an admin's word ends the conversation.
func TestThrownOut(t *testing.T) {
	t.Parallel()
	for _, by := range []string{"carol, told to bob alone", "carol", "alice"} {
		t.Run(by, func(t *testing.T) {
			t.Parallel()
			alice, bob, name := joined(t, "alice", false)
			carol := newActor(t, "carol")
			bob.knows(carol)
			bob.gets(carol.joins(alice))
			bob.gets(alice.says(text("hello")))
			past := (*groupstate.Known)(nil).Next(nil, alice.group)
			who := map[bool]*actor{true: alice, false: carol}[by == "alice"]
			made, _ := who.commits(mls.CommitOptions{Remove: []tree.LeafIndex{who.leaf(bob.Account().Key)}})
			bob.gets(made)
			broken := " (against the rules: only an admin may do that)"
			if by == "alice" {
				broken = ""
			}
			if last := bob.last(name); last.Text != who.name+" removed bob"+broken {
				t.Errorf("bob is told %q, want who has removed him%s", last.Text, broken)
			}
			if by == "alice" {
				if info := bob.state(name); info.State != "removed" {
					t.Errorf("after an admin has removed bob the group is %s, want removed", info.State)
				}
				return
			}
			rejoin := bob.intends(name, wishRejoin)
			if by == "carol" {
				for range 4 * returnTries { // each second time is to see whether it is merely late
					bob.tries(rejoin, prepared{record: carol.record(past), current: true})
				}
				if info := bob.state(name); info.State != "broken" || !strings.Contains(info.Reason, "we are no longer a member") {
					t.Errorf("after the cluster has taken it the group is %s (%s), want broken, and why", info.State, info.Reason)
				}
				return
			}
			bob.tries(rejoin, prepared{record: alice.record(past), current: true})
			next, _ := alice.commits(mls.CommitOptions{})
			bob.gets(next, alice.says(text("still here")))
			if said := bob.said(name); said[len(said)-1] != "alice: still here" {
				t.Errorf("bob reads %q, want what alice says after it", said)
			}
			if info := bob.state(name); info.State != "active" || info.Members != 3 {
				t.Errorf("the group is %s with %d members, want active with 3", info.State, info.Members)
			}
		})
	}
}
