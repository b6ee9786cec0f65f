package client

import (
	"encoding/json"
	"testing"
	"time"

	"quicproquo/client/conn"
	"quicproquo/client/vault"
	"quicproquo/crypto/mls"
	"quicproquo/crypto/mls/tree"
)

// rekeys returns when the client will renew its keys in its only conversation, after a
// look at what is due.
func (o *offline) rekeys() (at time.Time, intended bool) {
	o.t.Helper()
	err := o.turn(func(t *turn) error {
		list, err := t.Conversations()
		if err == nil {
			err = t.renew(list[0])
		}
		if err != nil {
			return err
		}
		intents, err := t.IntentsOf(list[0].ID)
		for _, i := range intents {
			if i.Kind == wishRekey {
				at, intended = i.Next, true
			}
		}
		return err
	})
	if err != nil {
		o.t.Fatal(err)
	}
	return at, intended
}

// A quiet member of a busy group renews its own leaf by the age of that leaf, though
// others begin an epoch every day; a leaf of unknown age soon, but not at once.
func TestOwnLeafIsRenewedByItsAge(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	bob, alice := newOffline(t, "bob", Settings{}), newActor(t, "alice")
	bob.knows(alice)
	alice.founds(groupData("friends", alice))
	bob.invited(alice)
	for d := 1; d <= 7; d++ {
		bob.at = bob.at.Add(day)
		commit, _ := alice.commits(mls.CommitOptions{})
		bob.gets(commit)
		if at, intended := bob.rekeys(); intended != (d >= 7) {
			t.Fatalf("on day %d a renewal at %v is intended: %t, want it from day 7", d, at, intended)
		}
	}
	// The user does not wait for the day that was chosen.
	bob.inGroup(func(t *turn, row *talk) error { _, err := t.intend(row, wish{Kind: wishRekey}); return err })
	if at, _ := bob.rekeys(); at.After(bob.at) {
		t.Errorf("the user wants new keys now, and gets them at %v", at)
	}
	bob.inGroup(func(x *turn, row *talk) error {
		list, err := x.IntentsOf(row.ID)
		if err != nil {
			return err
		}
		if err := x.build(list[0], &wish{Kind: wishRekey}, prepared{}); err != nil {
			return err
		}
		p, err := x.Pending(row.ID)
		if err != nil || p == nil {
			t.Fatalf("no commit was made: %v", err)
		}
		var call conn.Commit
		if err := json.Unmarshal(p.Call, &call); err != nil {
			return err
		}
		alice.hears(call.Deliveries[0].Payload)
		return x.adopt(row.ID, p)
	})
	for d := range 8 { // and once more
		if at, intended := bob.rekeys(); intended != (d >= 7) {
			t.Errorf("%d days after a renewal another is intended for %v: %t, want it from day 7", d, at, intended)
		}
		bob.at = bob.at.Add(day)
		commit, _ := alice.commits(mls.CommitOptions{})
		bob.gets(commit)
	}
	bob.notes(bob.at)
	bob.inGroup(func(x *turn, row *talk) error {
		if _, err := x.options(row, &wish{Kind: wishRekey, Due: true}, prepared{}); err != ErrMoot { //nolint:errorlint // it is not wrapped
			t.Errorf("a renewal that is no longer due: %v, want ErrMoot", err)
		}
		return nil
	})
	// An earlier version of this program did not note it; or the clock was wrong then.
	for _, noted := range []time.Time{{}, bob.at.Add(300 * day)} {
		bob.notes(noted)
		at, intended := bob.rekeys()
		if !intended || !noted.IsZero() && at.After(bob.at.Add(day)) ||
			noted.IsZero() && (at.Before(bob.at.Add(day/3)) || at.After(bob.at.Add(3*day))) {
			t.Errorf("keys that were renewed at %v are renewed at %v (%t), now is %v; want some time in the next days", noted, at, intended, bob.at)
		}
	}
}

// notes has the vault say when the leaf in the only conversation was renewed, and drops
// what is intended there.
func (o *offline) notes(renewed time.Time) {
	o.t.Helper()
	clear(o.talks)
	err := o.vault.Update(func(tx *vault.Tx) error {
		list, err := tx.Conversations()
		if err != nil {
			return err
		}
		g, err := tx.Group(list[0].ID)
		if err != nil {
			return err
		}
		g.Renewed = renewed
		intents, err := tx.IntentsOf(list[0].ID)
		if err != nil {
			return err
		}
		for _, i := range intents {
			if err := tx.DeleteIntent(i.ID); err != nil {
				return err
			}
		}
		return tx.SetGroup(list[0].ID, g)
	})
	if err != nil {
		o.t.Fatal(err)
	}
}

// A leaf is as old as the key package that it came with: who was invited with one that
// had waited for long renews it soon, yet not at the same time as all who were invited.
func TestInvitedLeafIsAsOldAsItsKeyPackage(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for _, waited := range []time.Duration{day, 6 * day, 8 * day} {
		bob, alice := newOffline(t, "bob", Settings{}), newActor(t, "alice")
		bob.knows(alice)
		alice.founds(groupData("friends", alice))
		kp, _ := bob.keyPackage(false)
		bob.at = bob.at.Add(waited)
		_, welcome := alice.adds(kp)
		bob.gets(welcome)
		for old := waited; old < 7*day; old += time.Hour {
			if at, intended := bob.rekeys(); intended {
				t.Fatalf("%v after its key package was made a renewal at %v is intended, want none before 7 days", old, at)
			}
			bob.at = bob.at.Add(time.Hour)
		}
		if at, intended := bob.rekeys(); !intended || at.Before(bob.at.Add(day/2)) || at.After(bob.at.Add(2*day)) {
			t.Fatalf("a leaf that came with an old key package is renewed at %v (%t), now is %v; want it spread over a day", at, intended, bob.at)
		}
	}
}

// Keys of a group that is over are zero in memory: those that the vault had, and those
// of the turn that ended it.
func TestKeysOfAGroupThatIsOverAreErased(t *testing.T) {
	t.Parallel()
	bob, alice := newOffline(t, "bob", Settings{}), newActor(t, "alice")
	bob.knows(alice)
	alice.founds(groupData("friends", alice))
	bob.invited(alice)
	var held *mls.Group
	bob.inGroup(func(_ *turn, row *talk) error { held = row.group; return nil })
	export := func() string {
		secret, err := held.Export("test", nil, 32)
		if err != nil {
			t.Fatal(err)
		}
		return string(secret)
	}
	before := export()
	said := alice.says(text("the last words"))
	commit, _ := alice.commits(mls.CommitOptions{Remove: []tree.LeafIndex{held.Self()}})
	bob.gets(said, commit)
	if bob.state("friends").State != "removed" {
		t.Fatal("bob was not removed")
	}
	if export() == before {
		t.Error("the keys of a group that bob was removed from are still in memory")
	}
}

// inGroup runs a transaction on the client's only conversation.
func (o *offline) inGroup(f func(*turn, *talk) error) {
	o.t.Helper()
	err := o.turn(func(t *turn) error {
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
		o.t.Fatal(err)
	}
}
