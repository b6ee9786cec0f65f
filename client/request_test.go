package client

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"quicproquo/client/conn"
	"quicproquo/client/content"
	"quicproquo/client/groupstate"
	"quicproquo/client/vault"
	"quicproquo/crypto/mls"
	"quicproquo/crypto/mls/tree"
)

// state is what the conversation of a name is in.
func (o *offline) state(name string) Info {
	o.t.Helper()
	info, err := o.find(name).Info()
	if err != nil {
		o.t.Fatal(err)
	}
	return info
}

// asked is what waits for a yes or no.
func (o *offline) asked() []RequestInfo {
	o.t.Helper()
	list, err := o.Requests()
	if err != nil {
		o.t.Fatal(err)
	}
	return list
}

// events are what a program gets, by kind.
func (o *offline) events() (kinds []EventKind) {
	o.t.Helper()
	for e, err := range o.Consume("test") {
		if err != nil {
			o.t.Fatal(err)
		}
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

// answers runs what Accept does without a cluster.
func (o *offline) answers(f func(t *turn, row *talk) error) {
	o.t.Helper()
	request := o.asked()[0]
	err := o.turn(func(t *turn) error {
		row, err := t.asked(request.ID)
		if err != nil {
			return err
		}
		return f(t, row)
	})
	if err != nil {
		o.t.Fatal(err)
	}
}

// What a person who is no contact asks waits: nothing goes out, programs get nothing of
// it, and a yes makes up for both.
func TestRequestWaits(t *testing.T) {
	bob, mallory := newOffline(t, "bob", Settings{}), newActor(t, "mallory")
	mallory.founds(dmData())
	bob.invited(mallory)
	bob.gets(mallory.says(content.Message{Body: content.Text{Text: "hello"}}), mallory.says(content.Message{Body: content.Typing{Active: true}}))
	list := bob.asked()
	if len(list) != 1 || list[0].Kind != "dm" || list[0].ByKey != mallory.account {
		t.Fatalf("the requests are %+v, want mallory's", list)
	}
	if got := bob.events(); !slices.Equal(got, []EventKind{EventRequest}) {
		t.Errorf("programs get %v, want that there is a request", got)
	}
	if outbox, intents := bob.waits(); outbox+intents != 0 {
		t.Errorf("%d messages and %d changes go out before the yes", outbox, intents)
	}
	v, err := bob.Find(list[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Send(t.Context(), content.Text{Text: "who is that?"}); !errors.Is(err, ErrRequest) {
		t.Errorf("bob answers before the yes: %v, want ErrRequest", err)
	}
	seen, err := v.History(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.MarkRead(t.Context(), seen[0].Seq); err != nil {
		t.Fatal(err)
	}
	if due := receiptsDue(t, bob.Client); due != 0 {
		t.Errorf("%d receipts go out before the yes", due)
	}
	bob.answers(func(t *turn, row *talk) error { return t.acceptRequest(row) })
	if got := bob.events(); !slices.Equal(got, []EventKind{EventMessage}) {
		t.Errorf("after the yes programs get %v, want the message", got)
	}
	if due := receiptsDue(t, bob.Client); due != 1 {
		t.Errorf("%d receipts go out after the yes, want one", due)
	}
	if kinds := bob.receiptKinds(); !slices.Equal(kinds, []content.ReceiptKind{content.Read}) {
		t.Errorf("the receipts after the yes are of the kinds %v, want that what was looked at before is read", kinds)
	}
	if len(bob.asked()) != 0 {
		t.Error("the request is still there after the yes")
	}
	// Now mallory is a contact: what it asks next is no request.
	data, id := groupData("friends", mallory)
	mallory.founds(data, id)
	bob.invited(mallory)
	if info := bob.state("friends"); info.State != "active" {
		t.Errorf("a contact's group is in state %s, want active", info.State)
	}
}

// receiptKinds are the receipts that are to be sent, of whichever conversation.
func (o *offline) receiptKinds() (kinds []content.ReceiptKind) {
	o.t.Helper()
	err := o.look(func(t *turn) error {
		list, err := t.ReceiptConversations(stateActive)
		for _, id := range list {
			due, failed := t.DueReceipts(id, 1000)
			err = errors.Join(err, failed)
			for _, d := range due {
				kinds = append(kinds, content.ReceiptKind(d.Kind))
			}
		}
		return err
	})
	if err != nil {
		o.t.Fatal(err)
	}
	return kinds
}

// Nothing of who is blocked comes through: no invitation, and no message either.
func TestBlockedIsNotHeard(t *testing.T) {
	bob, mallory := newOffline(t, "bob", Settings{Invitations: FromEverybody}), newActor(t, "mallory")
	mallory.founds(groupData("friends", mallory))
	bob.invited(mallory)
	if err := bob.BlockAccount(mallory.account); err != nil {
		t.Fatal(err)
	}
	bob.gets(mallory.says(content.Message{Body: content.Text{Text: "hello"}}))
	bob.reads("friends")
	mallory.founds(groupData("more friends", mallory))
	bob.invited(mallory)
	if _, err := bob.Find("#more friends"); !errors.Is(err, ErrNoConversation) {
		t.Errorf("the blocked one's invitation: %v, want ErrNoConversation", err)
	}
}

// A bare name never leads to what somebody else has named, however it came to the name.
func TestNamesOfOthersTakeNothing(t *testing.T) {
	bob, alice := newOffline(t, "bob", Settings{Invitations: FromEverybody}), newActor(t, "alice")
	alice.founds(groupData("carol", alice))
	bob.invited(alice)
	for _, name := range []string{"carol", "CAROL", "@carol"} {
		if _, err := bob.Find(name); err == nil {
			t.Errorf("%q leads to alice's group", name)
		}
	}
	if _, err := bob.Find("carol"); !errors.Is(err, ErrNamedByOther) {
		t.Errorf("carol: %v, want ErrNamedByOther, which says what to do", err)
	}
	v, err := bob.Find("#carol")
	if err != nil {
		t.Fatal(err)
	}
	if err := v.SetAlias("books"); err != nil {
		t.Fatal(err)
	}
	if _, err := bob.Find("books"); err != nil {
		t.Errorf("bob's own name for it: %v", err)
	}
	// A title of bob's own that another changes does not take the new name over.
	err = bob.turn(func(t *turn) error {
		row, err := t.talk(v.id)
		if err == nil {
			row.NamedBy = t.c.account()
			t.changed(row)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bob.Find("carol"); err != nil {
		t.Errorf("a group that bob has named carol: %v", err)
	}
	data, _ := groupData("dave", alice)
	ext := data.Extensions(nil)
	commit, _ := alice.commits(mls.CommitOptions{Extensions: &ext})
	bob.gets(commit)
	if _, err := bob.Find("dave"); !errors.Is(err, ErrNamedByOther) {
		t.Errorf("renamed by alice: %v, want ErrNamedByOther", err)
	}
	bob.knows(&actor{t: t, name: "erin", account: AccountKey{9}})
	if err := v.SetAlias("erin"); !errors.Is(err, ErrAmbiguous) {
		t.Errorf("a contact's username as the name of a group: %v, want ErrAmbiguous", err)
	}
}

// A welcome never replaces a conversation that is in use: not by who was removed from
// it, nor by anybody else who makes a group of the same id. It stands aside, with the
// name of who has made it.
func TestWelcomeNeverReplaces(t *testing.T) {
	bob, alice, mallory := newOffline(t, "bob", Settings{Invitations: FromEverybody}), newActor(t, "alice"), newActor(t, "mallory")
	data, id := groupData("friends", alice)
	alice.founds(data, id)
	bob.invited(alice)
	bob.gets(mallory.joins(alice))
	commit, _ := alice.commits(mls.CommitOptions{Remove: []tree.LeafIndex{alice.leaf(mallory.account)}})
	bob.gets(commit)
	before := bob.state("friends")
	for _, who := range []*actor{mallory, newActor(t, "eve")} {
		who.founds(data, id)
		for range 9 { // further than the true group is
			who.commits(mls.CommitOptions{})
		}
		bob.invited(who)
		if after := bob.state("friends"); after.Epoch != before.Epoch || after.Members != before.Members || after.State != "active" {
			t.Fatalf("after the welcome of %s the group is %+v, want it as it was, %+v", who.name, after, before)
		}
		requests := bob.asked()
		if len(requests) == 0 || requests[len(requests)-1].ByKey != who.account || requests[len(requests)-1].Reason == "" {
			t.Errorf("the requests are %+v, want that of %s with a reason", requests, who.name)
		}
		kept := requests[len(requests)-1].ID
		err := bob.turn(func(t *turn) error {
			i, err := t.invitation(kept)
			if err == nil {
				_, err = t.acceptInvitation(i)
			}
			return err
		})
		if err == nil {
			t.Errorf("the invitation of %s is accepted in place of a group that bob is in", who.name)
		}
	}
	bob.gets(alice.says(content.Message{Body: content.Text{Text: "still us"}}))
	if got := bob.said("friends"); len(got) != 1 || !strings.HasSuffix(got[0], ": still us") {
		t.Errorf("bob reads %q, want what alice says in the true group", got)
	}
}

// Who has lost a conversation of two begins it anew. That is one question, whose yes goes
// on with the new keys, and whose no leaves nothing that a later yes could take.
func TestLostKeysAreOneQuestion(t *testing.T) {
	t.Parallel()
	for _, yes := range []bool{true, false} {
		bob, alice := newOffline(t, "bob", Settings{}), newActor(t, "alice")
		bob.knows(alice)
		data, channel := dmData()
		alice.founds(data, channel)
		bob.invited(alice)
		for range 2 { // the second time before bob has answered
			again := newID()
			alice.founds(data, append(bytes.Clone(channel), again[:]...))
			bob.invited(alice)
		}
		requests := bob.asked()
		if len(requests) != 1 || requests[0].Kind != "keys" || requests[0].ByKey != alice.account || !strings.Contains(requests[0].Reason, "compare the safety number") {
			t.Fatalf("bob is asked %+v, want one question about new keys", requests)
		}
		if yes {
			bob.answers(func(t *turn, row *talk) error { _, err := t.acceptKeys(row); return err })
			bob.gets(alice.says(text("it is me")))
			bob.reads("alice", "alice: it is me")
		} else {
			bob.answers(func(t *turn, row *talk) error { _, err := t.decline(row); return err })
			if info := bob.state("alice"); info.State != "broken" {
				t.Errorf("after the no the conversation is %s, want broken", info.State)
			}
		}
		if left := bob.asked(); len(left) != 0 {
			t.Errorf("after the answer (yes: %t) bob is asked %+v", yes, left)
		}
	}
}

// The peer of a conversation of two who comes back without a proof that it held its
// keys may be somebody else with its device key: the user is asked, and nothing is said
// before the answer.
func TestReturnWithoutProofAsks(t *testing.T) {
	for _, proof := range []bool{true, false} {
		bob, alice := newOffline(t, "bob", Settings{}), newActor(t, "alice")
		bob.knows(alice)
		data, id := dmData()
		alice.founds(data, id)
		bob.invited(alice)
		known := (*groupstate.Known)(nil).Next(nil, alice.group)
		info, err := alice.group.GroupInfo(mls.GroupInfoOptions{})
		if err != nil {
			t.Fatal(err)
		}
		opt := mls.ExternalOptions{Resync: true}
		if proof {
			opt.AAD = known.TieReturning(id, alice.group.Epoch(), groupstate.Member{Account: alice.account, Device: alice.device})
		}
		made, err := mls.ExternalJoin(alice.config, alice.identity, info, opt, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		bob.gets(groupstate.Wrap(made.Commit))
		want := map[bool]string{true: "active", false: "unproven"}[proof]
		info2 := bob.state("alice")
		if info2.State != want {
			t.Errorf("with a proof (%t) the conversation is %s, want %s", proof, info2.State, want)
		}
		_, err = bob.find("alice").Send(t.Context(), content.Text{Text: "hello"})
		if proof == errors.Is(err, ErrUnproven) {
			t.Errorf("with a proof (%t) bob says something: %v", proof, err)
		}
		if proof {
			continue
		}
		if !strings.Contains(info2.Reason, "compare the safety number") {
			t.Errorf("the reason is %q, want what to do", info2.Reason)
		}
		bob.answers(func(t *turn, row *talk) error { _, err := t.acceptKeys(row); return err })
		if info := bob.state("alice"); info.State != "active" {
			t.Errorf("after the yes the conversation is %s, want active", info.State)
		}
	}
}

// Data that nobody can read leave the last readable ones in force: the title, the
// admins and the timer stay, the list goes on, and an admin's next change mends them.
func TestUnreadableDataLeaveTheLast(t *testing.T) {
	for name, spoil := range map[string]func(tree.Extensions) tree.Extensions{
		"junk": func(tree.Extensions) tree.Extensions {
			return tree.Extensions{{Type: groupstate.ExtensionType, Data: []byte("junk")}}
		},
		"missing": func(tree.Extensions) tree.Extensions { return tree.Extensions{} },
	} {
		bob, alice := newOffline(t, "bob", Settings{Invitations: FromEverybody}), newActor(t, "alice")
		data, id := groupData("friends", alice)
		data.SetAdmin(bob.account(), true)
		alice.founds(data, id)
		bob.invited(alice)
		ext := spoil(alice.group.Public().Context().Extensions)
		commit, _ := alice.commits(mls.CommitOptions{Extensions: &ext})
		bob.gets(commit, alice.says(content.Message{Body: content.Text{Text: "after it"}}))
		info := bob.state("friends")
		if info.Title != "friends" || !info.Admin || info.State != "active" {
			t.Errorf("%s data: the group is %+v, want its title and admins as before", name, info)
		}
		if got := bob.said("friends"); len(got) != 1 || !strings.HasSuffix(got[0], ": after it") {
			t.Errorf("%s data: bob reads %q, want what came after them", name, got)
		}
		err := bob.turn(func(t *turn) error {
			row, err := t.talkOf(id)
			if err != nil {
				return err
			}
			opt, err := t.options(row, &wish{Kind: wishRename, Title: "mended"}, prepared{})
			if err != nil {
				return err
			}
			made, err := row.group.Commit(*opt, t.now)
			if err != nil {
				return err
			}
			mended, err := groupstate.DataOf(made.Next.Public().Context().Extensions)
			if err == nil && (mended.Title != "mended" || len(mended.Admins) != 2) {
				err = errors.New("the admins are not those of before")
			}
			return err
		})
		if err != nil {
			t.Errorf("%s data: bob, an admin, renames the group: %v", name, err)
		}
	}
}

// Keys that can't be read break their conversation and no other: the list, what comes
// and what is said elsewhere go on.
func TestUnreadableKeysBreakOneConversation(t *testing.T) {
	bob, alice := newOffline(t, "bob", Settings{Invitations: FromEverybody}), newActor(t, "alice")
	data, id := groupData("broken", alice)
	alice.founds(data, id)
	bob.invited(alice)
	said := alice.says(content.Message{Body: content.Text{Text: "into the broken one"}})
	alice.founds(groupData("whole", alice))
	bob.invited(alice)
	err := bob.vault.Update(func(tx *vault.Tx) error {
		row, err := tx.ConversationOf(id)
		if err != nil {
			return err
		}
		return tx.SetGroup(row.ID, &vault.Group{Epoch: 1, Founded: true, Started: bob.at, Fixed: []byte("junk"), Moving: []byte("junk")})
	})
	if err != nil {
		t.Fatal(err)
	}
	clear(bob.talks)
	bob.gets(said, alice.says(content.Message{Body: content.Text{Text: "into the whole one"}}))
	if info := bob.state("broken"); info.State != "broken" || !strings.Contains(info.Reason, "can't be read") {
		t.Errorf("the broken conversation is %s (%s), want broken with a reason", info.State, info.Reason)
	}
	if got := bob.said("whole"); len(got) != 1 {
		t.Errorf("the other conversation has %q, want what came for it", got)
	}
	if list, err := bob.Conversations(); err != nil || len(list) != 2 {
		t.Errorf("the list has %d conversations (%v), want both", len(list), err)
	}
	if _, err := bob.find("whole").Send(t.Context(), content.Text{Text: "goes on"}); err != nil {
		t.Errorf("something is said in the other one: %v", err)
	}
}

// What fails while a message is processed is undone, in the vault and in memory, and
// the rest of the batch gets its own.
func TestFailureStaysApart(t *testing.T) {
	bob, alice := newOffline(t, "bob", Settings{Invitations: FromEverybody}), newActor(t, "alice")
	alice.founds(groupData("friends", alice))
	bob.invited(alice)
	reason := errors.New("on purpose")
	err := bob.turn(func(t *turn) error {
		row, err := t.talkOf(alice.group.ID())
		if err != nil {
			return err
		}
		failure, err := t.apart(func() error {
			row.Title = "half done"
			t.changed(row)
			if err := t.event(row, EventInvalid, 0, notice{Note: "half done"}); err != nil {
				return err
			}
			if err := t.SetCursor(conn.ChannelID{7}, 7); err != nil {
				return err
			}
			return reason
		})
		if err != nil || !errors.Is(failure, reason) {
			return errors.Join(errors.New("the failure does not come back"), err, failure)
		}
		_, err = t.apart(func() error { return t.SetCursor(conn.ChannelID{8}, 8) })
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if info := bob.state("friends"); info.Title != "friends" {
		t.Errorf("the title is %q, want it undone", info.Title)
	}
	if slices.Contains(bob.events(), EventInvalid) {
		t.Error("the event of what was undone is there")
	}
	var cursors []vault.Cursor
	if err := bob.look(func(t *turn) (err error) { cursors, err = t.Cursors(); return err }); err != nil {
		t.Fatal(err)
	}
	for _, c := range cursors {
		if c.Channel == (conn.ChannelID{7}) {
			t.Error("what failed is in the vault")
		}
	}
	if !slices.ContainsFunc(cursors, func(c vault.Cursor) bool { return c.Channel == conn.ChannelID{8} }) {
		t.Error("what followed is not in the vault")
	}
}
