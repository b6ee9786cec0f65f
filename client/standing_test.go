package client

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"quicproquo/client/conn"
)

// The cluster is to be told of whom the user has accepted and of whom is blocked; but not
// that a member of a group is blocked in which the user still is: what it commits there
// all others need. It is told once, and of what was taken back.
func TestUntold(t *testing.T) {
	bob, alice, mallory := newOffline(t, "bob", Settings{}), newActor(t, "alice"), newActor(t, "mallory")
	mallory.founds(groupData("friends", mallory))
	bob.invited(mallory)
	said := func(want map[AccountKey]conn.Standing) {
		t.Helper()
		got := map[AccountKey]conn.Standing{}
		if err := bob.turn(func(t *turn) error {
			news, err := t.untold()
			for standing, list := range news {
				for _, key := range list {
					got[key] = standing
					err = errors.Join(err, t.SetTold(key, uint16(standing)))
				}
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(got, want) {
			t.Errorf("the cluster is to be told %v, want %v", got, want)
		}
	}
	block := func(key AccountKey, blocked bool) {
		t.Helper()
		if err := bob.turn(func(t *turn) error { return t.Block(key, blocked, t.now) }); err != nil {
			t.Fatal(err)
		}
	}
	said(map[AccountKey]conn.Standing{})
	if err := bob.turn(func(t *turn) error { return t.befriend(alice.account, t.c.account()) }); err != nil {
		t.Fatal(err)
	}
	said(map[AccountKey]conn.Standing{alice.account: conn.Contacts})
	said(map[AccountKey]conn.Standing{})
	block(alice.account, true)
	block(mallory.account, true) // asks bob into a group still
	said(map[AccountKey]conn.Standing{alice.account: conn.Blocked})
	if err := bob.BlockAccount(mallory.account); err != nil { // declines that
		t.Fatal(err)
	}
	said(map[AccountKey]conn.Standing{mallory.account: conn.Blocked})
	block(mallory.account, false)
	block(alice.account, false)
	said(map[AccountKey]conn.Standing{alice.account: conn.Contacts, mallory.account: conn.Stranger})
}

// What a sender had no share for is said, and no group is rejoined for it; what was lost
// brings one back.
func TestOverflowRejoinsNothing(t *testing.T) {
	for name, loss := range map[string]conn.Loss{
		"overflow": {Count: 3, First: 1, Last: 3, Overflow: 3},
		"a loss":   {Count: 3, First: 1, Last: 3, Overflow: 2},
	} {
		bob, alice := newOffline(t, "bob", Settings{Invitations: FromEverybody}), newActor(t, "alice")
		alice.founds(groupData("friends", alice))
		bob.invited(alice)
		if err := bob.turn(func(t *turn) error { return t.takeOne(&conn.Envelope{Seq: 3, Loss: loss}, 0) }); err != nil {
			t.Fatal(err)
		}
		rejoins := 0
		if err := bob.look(func(t *turn) error {
			list, err := t.Intents()
			for _, i := range list {
				if i.Kind == wishRejoin {
					rejoins++
				}
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if want := int(loss.Unexplained()); rejoins != want {
			t.Errorf("%s: %d groups are rejoined, want %d", name, rejoins, want)
		}
		if kinds := bob.events(); !slices.Contains(kinds, EventLoss) {
			t.Errorf("%s: the events are %v, and none says that something is missing", name, kinds)
		}
	}
}
