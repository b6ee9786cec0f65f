package client

import (
	"slices"
	"testing"

	"quicproquo/client/conn"
	"quicproquo/client/groupstate"
	"quicproquo/client/vault"
	"quicproquo/crypto/mls"
)

// What is read while our commit is on its way uses its key up: neither what is kept of
// the commit nor the epoch that it begins can read it again. What comes late can be
// read, and so it is when the profile was closed between any two of the steps.
func TestReadWhilePending(t *testing.T) {
	t.Parallel()
	for _, closed := range []bool{false, true} {
		bob, alice := newOffline(t, "bob", Settings{}), newActor(t, "alice")
		bob.knows(alice)
		alice.founds(dmData())
		bob.invited(alice)
		read, late := alice.says(text("read")), alice.says(text("late"))
		step := func(f func(*turn, *talk) error) {
			t.Helper()
			err := bob.turn(func(t *turn) error {
				list, err := t.Conversations()
				if err != nil {
					return err
				}
				row, err := t.talk(list[0].ID)
				if err != nil {
					return err
				}
				return f(t, row)
			})
			if err != nil {
				t.Fatal(err)
			}
			if closed { // what is in memory is lost: all is read from the vault again
				clear(bob.talks)
			}
		}
		cannotRead := func(where string, state []byte) {
			t.Helper()
			g, err := mls.Unmarshal(bob.config(), state)
			if err != nil {
				t.Fatal(err)
			}
			p, err := groupstate.Unwrap(read)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := g.Process(p.Message, bob.at); err == nil {
				t.Errorf("%s can read what was read", where)
			}
		}
		step(func(t *turn, row *talk) error {
			i := &vault.Intent{Conversation: row.ID, Kind: wishRekey, Args: []byte("{}"), Created: t.now}
			if err := t.AddIntent(i); err != nil {
				return err
			}
			return t.build(i, &wish{Kind: wishRekey}, prepared{})
		})
		bob.gets(read)
		step(func(x *turn, row *talk) error {
			p, err := x.Pending(row.ID)
			if err != nil || p == nil {
				t.Fatalf("no commit is on its way: %v", err)
			}
			cannotRead("what is kept of the commit", p.Next)
			return x.adopt(row.ID, p)
		})
		step(func(x *turn, row *talk) error {
			if p, err := x.Pending(row.ID); p != nil || err != nil {
				t.Errorf("the commit is still on its way: %v", err)
			}
			cannotRead("the new epoch", row.group.Marshal())
			return nil
		})
		bob.gets(late)
		if got := bob.said("alice"); !slices.Equal(got, []string{"alice: read", "alice: late"}) {
			t.Errorf("bob reads %q, want both once", got)
		}
	}
}

// A way back that is adopted after the thread was lost, even if its wish is gone by
// then, begins anew: the epoch has no past, and messages that are said in it are read.
func TestAdoptedReturnHasNoPast(t *testing.T) {
	t.Parallel()
	for _, gone := range []bool{false, true} {
		bob, alice := newOffline(t, "bob", Settings{}), newActor(t, "alice")
		bob.knows(alice)
		alice.founds(dmData())
		bob.invited(alice)
		lost := alice.says(text("lost"))
		alice.commits(mls.CommitOptions{}) // bob never gets it
		info, err := alice.group.GroupInfo(mls.GroupInfoOptions{})
		if err != nil {
			t.Fatal(err)
		}
		bob.inGroup(func(x *turn, row *talk) error {
			made, err := mls.ExternalJoin(bob.config(), bob.identity, info, mls.ExternalOptions{Resync: true}, x.now)
			if err != nil {
				return err
			}
			alice.hears(groupstate.Wrap(made.Commit))
			i := &vault.Intent{Conversation: row.ID, Kind: wishRejoin, Args: []byte("{}"), Created: x.now}
			if err := x.AddIntent(i); err != nil {
				return err
			}
			if err := x.keepPending(row, i, made.Next, &conn.Commit{GroupID: row.GroupID, Epoch: alice.group.Epoch() - 1}); err != nil || !gone {
				return err
			}
			return x.DeleteIntent(i.ID)
		})
		bob.inGroup(func(x *turn, row *talk) error {
			p, err := x.Pending(row.ID)
			if err != nil || p == nil {
				t.Fatalf("no commit is on its way: %v", err)
			}
			return x.adopt(row.ID, p)
		})
		bob.gets(lost, alice.says(text("found")))
		if got := bob.said("alice"); !slices.Equal(got, []string{"alice: found"}) {
			t.Errorf("bob reads %q, want what was said after his return only", got)
		}
	}
}
