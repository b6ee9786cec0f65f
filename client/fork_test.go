package client

import (
	"testing"

	"quicproquo/client/room"
	"quicproquo/crypto/mls"
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
		past := (*room.Known)(nil).Next(nil, alice.group)
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
