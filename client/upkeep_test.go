package client

import (
	"testing"
	"time"

	"quicproquo/client/vault"
	"quicproquo/crypto/mls"
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
		return x.adopt(row.ID, p)
	})
	if at, intended := bob.rekeys(); intended {
		t.Errorf("right after a renewal another is intended for %v", at)
	}
	bob.inGroup(func(x *turn, row *talk) error {
		if _, err := x.options(row, &wish{Kind: wishRekey, Due: true}, prepared{}); err != ErrMoot { //nolint:errorlint // it is not wrapped
			t.Errorf("a renewal that is no longer due: %v, want ErrMoot", err)
		}
		return nil
	})
	// An earlier version of this program did not note it.
	clear(bob.talks)
	err := bob.vault.Update(func(tx *vault.Tx) error {
		list, err := tx.Conversations()
		if err != nil {
			return err
		}
		g, err := tx.Group(list[0].ID)
		if err != nil {
			return err
		}
		g.Renewed = time.Time{}
		return tx.SetGroup(list[0].ID, g)
	})
	if err != nil {
		t.Fatal(err)
	}
	if at, intended := bob.rekeys(); !intended || at.Before(bob.at.Add(day/3)) || at.After(bob.at.Add(3*day)) {
		t.Errorf("keys of unknown age are renewed at %v (%t), now is %v; want some time in the next days", at, intended, bob.at)
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
