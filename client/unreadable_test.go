package client

import (
	"slices"
	"testing"
	"time"

	"quicproquo/client/content"
)

// told is what an offline client is about to tell of what it could not read, by
// conversation; it is taken out of the outbox.
func (o *offline) told() (sums []content.ID) {
	o.t.Helper()
	err := o.turn(func(t *turn) error {
		list, err := t.Outgoing()
		for _, out := range list {
			m, failed := content.Decode(out.Content)
			if failed != nil {
				return failed
			}
			if body, is := m.Body.(content.Unreadable); is {
				sums = append(sums, body.Envelopes...)
				if err := t.DeleteOutgoing(out.ID); err != nil {
					return err
				}
			}
		}
		return err
	})
	if err != nil {
		o.t.Fatal(err)
	}
	return sums
}

// again says two things with the same key, as a copied profile does.
func (a *actor) again(first, second string) (one, two []byte) {
	a.t.Helper()
	before := a.group
	one = a.says(content.Message{Body: content.Text{Text: first}})
	a.group = before
	return one, a.says(content.Message{Body: content.Text{Text: second}})
}

// What a device will never be able to read it tells the sender of, once in a while: a key
// that was used already, an epoch whose keys are gone. What anybody can have sent, what
// comes twice, what can still be read and what comes in a request is no news.
func TestUnreadableIsTold(t *testing.T) {
	t.Parallel()
	bob := newActor(t, "bob")
	carol := newOffline(t, "carol", Settings{PastEpochs: 1})
	bob.founds(groupData("friends", bob))
	carol.knows(bob)
	carol.invited(bob)
	one, two := bob.again("read", "with the same key")
	carol.gets(one, one)
	junk := bob.says(content.Message{Body: content.Text{Text: "altered on the way"}})
	junk[len(junk)-1] ^= 1
	carol.gets(junk)
	if got := carol.told(); len(got) != 0 {
		t.Errorf("of what was read, came twice, or nobody has signed she tells %x, want nothing", got)
	}
	carol.gets(two)
	if got := carol.told(); !slices.Equal(got, []content.ID{envelopeSum(two)}) {
		t.Errorf("of a message whose key was used she tells %x, want %x", got, envelopeSum(two))
	}
	late := bob.says(content.Message{Body: content.Text{Text: "late"}})
	for range 3 {
		commit, _ := bob.adds()
		carol.gets(commit)
	}
	carol.gets(late)
	if got := carol.told(); len(got) != 0 {
		t.Errorf("within ten minutes she tells again: %x", got)
	}
	carol.at = carol.at.Add(unreadablePause)
	if err := carol.turn(func(t *turn) error { return t.keepUp() }); err != nil {
		t.Fatal(err)
	}
	if got := carol.told(); !slices.Equal(got, []content.ID{envelopeSum(late)}) {
		t.Errorf("of a message whose epoch is gone she tells %x, want %x", got, envelopeSum(late))
	}
	if got := carol.said("friends"); !slices.Equal(got, []string{"bob: read"}) {
		t.Errorf("carol has read %q", got)
	}
}

// Nobody is told by who sends no receipts, nor in a request.
func TestUnreadableIsNotTold(t *testing.T) {
	t.Parallel()
	for what, settings := range map[string]Settings{"without receipts": {NoReceipts: true}, "in a request": {}} {
		bob, carol := newActor(t, "bob"), newOffline(t, "carol", settings)
		bob.founds(groupData("friends", bob))
		if what != "in a request" {
			carol.knows(bob)
		}
		carol.invited(bob)
		one, two := bob.again("read", "with the same key")
		carol.gets(one, two)
		carol.at = carol.at.Add(unreadablePause)
		if err := carol.turn(func(t *turn) error { return t.keepUp() }); err != nil {
			t.Fatal(err)
		}
		if got := carol.told(); len(got) != 0 {
			t.Errorf("%s she tells %x, want nothing", what, got)
		}
	}
}

// However many can't be read, what is kept of them has an end.
func TestUnreadableIsBounded(t *testing.T) {
	t.Parallel()
	bob, carol := newActor(t, "bob"), newOffline(t, "carol", Settings{})
	bob.founds(groupData("friends", bob))
	carol.knows(bob)
	carol.invited(bob)
	err := carol.turn(func(t *turn) error {
		row, err := t.ConversationOf(bob.group.ID())
		if err != nil {
			return err
		}
		for range content.MaxUnreadable + 7 {
			if err := t.AddUnreadable(row.ID, newID(), content.MaxUnreadable); err != nil {
				return err
			}
		}
		return t.tellUnreadable()
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := carol.told(); len(got) != content.MaxUnreadable {
		t.Errorf("she tells of %d, want %d", len(got), content.MaxUnreadable)
	}
}

// A sender whose message a device could not read is told so, of that message, once, by
// whoever is in the conversation.
func TestSenderIsToldOfUnreadable(t *testing.T) {
	t.Parallel()
	alice, bob := newOffline(t, "alice", Settings{}), newActor(t, "bob")
	bob.founds(groupData("friends", bob))
	alice.knows(bob)
	alice.invited(bob)
	sent := func(text string) (sum content.ID) {
		t.Helper()
		if _, err := alice.find("friends").Send(t.Context(), content.Text{Text: text}); err != nil {
			t.Fatal(err)
		}
		err := alice.turn(func(t *turn) error {
			list, err := t.Outgoing()
			if err != nil {
				return err
			}
			sum = envelopeSum(list[0].Payload)
			return t.transmitted(list[0], nil, nil)
		})
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	first, second := sent("first"), sent("second")
	events := 0
	for range 2 {
		alice.gets(bob.says(content.Message{Body: content.Unreadable{Envelopes: []content.ID{newID(), second}}}))
	}
	for e, err := range alice.Consume("check") {
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == EventUnreadable {
			if events++; e.By != "bob" || e.Entry == nil || e.Entry.Text != "second" {
				t.Errorf("the event is by %s, of %+v", e.By, e.Entry)
			}
		}
	}
	if events != 1 {
		t.Errorf("alice is told %d times, want once", events)
	}
	for _, e := range alice.history("friends") {
		want := []string(nil)
		if e.Text == "second" {
			want = []string{"bob"}
		}
		if !slices.Equal(e.UnreadableBy, want) {
			t.Errorf("%q could not be read by %q, want %q", e.Text, e.UnreadableBy, want)
		}
	}

	// Somebody of another conversation says nothing about this one.
	eve := newActor(t, "eve")
	eve.founds(groupData("elsewhere", eve))
	alice.knows(eve)
	alice.invited(eve)
	alice.gets(eve.says(content.Message{Body: content.Unreadable{Envelopes: []content.ID{first}}}))
	for _, e := range alice.history("friends") {
		if e.Text == "first" && len(e.UnreadableBy) != 0 {
			t.Errorf("who is in another conversation says that %q could not be read", e.Text)
		}
	}
	alice.at = alice.at.Add(sentEnvelopeKept + time.Hour)
	if err := alice.turn(func(t *turn) error { return t.keepUp() }); err != nil {
		t.Fatal(err)
	}
	if err := alice.look(func(t *turn) error {
		seq, err := t.SentEnvelope(first)
		if seq != 0 {
			alice.t.Errorf("after %v it is still known which message an envelope was", sentEnvelopeKept)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}
