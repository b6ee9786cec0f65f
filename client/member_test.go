package client

import (
	"errors"
	"slices"
	"testing"
	"time"

	"quicproquo/client/conn"
	"quicproquo/client/content"
	"quicproquo/client/vault"
	"quicproquo/crypto/mls"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// text is a message that can be named later.
func text(s string) content.Message {
	return content.Message{ID: newID(), Body: content.Text{Text: s}}
}

// A member changes only what it said itself: others' messages are neither edited nor
// deleted by it, their reactions stay, and nobody is told of a change.
func TestOthersMessagesStay(t *testing.T) {
	t.Parallel()
	alice, mallory := newActor(t, "alice"), newActor(t, "mallory")
	bob := newOffline(t, "bob", Settings{})
	bob.knows(alice, mallory)
	alice.founds(groupData("friends", alice))
	mallory.joins(alice)
	kp, _ := bob.keyPackage(false)
	commit, welcome := alice.adds(kp)
	mallory.hears(commit)
	bob.gets(welcome)
	first := text("the first")
	bob.gets(alice.says(first), alice.says(content.Message{Body: content.Reaction{To: first.ID, Emoji: "👍"}}))
	for _, body := range []content.Body{
		content.Edit{To: first.ID, Text: "forged"},
		content.Delete{To: first.ID},
		content.Reaction{To: first.ID, Emoji: "👍", Remove: true},
		content.Receipt{Kind: content.Read, IDs: []content.ID{first.ID}},
	} {
		before := bob.lastEvent()
		bob.gets(mallory.says(content.Message{Body: body}))
		if _, reaction := body.(content.Reaction); !reaction && bob.lastEvent() != before {
			t.Errorf("mallory's %T of alice's message is told as an event", body)
		}
	}
	// A message of the same id is another message.
	bob.gets(mallory.says(content.Message{ID: first.ID, Body: content.Text{Text: "the second"}}))
	bob.reads("friends", "alice: the first", "mallory: the second")
	e := bob.entry("friends", "the first")
	if e.Edited || e.Deleted || e.Status != "" {
		t.Errorf("alice's message is %+v, want it as she said it", e)
	}
	if len(e.Reactions) != 1 || e.Reactions[0].By != "alice" {
		t.Errorf("its reactions are %+v, want alice's alone", e.Reactions)
	}
	// Its author does all of it.
	bob.gets(alice.says(content.Message{Body: content.Edit{To: first.ID, Text: "changed"}}),
		alice.says(content.Message{Body: content.Reaction{To: first.ID, Emoji: "👍", Remove: true}}))
	if e := bob.entry("friends", "changed"); !e.Edited || len(e.Reactions) != 0 {
		t.Errorf("after alice's own edit it is %+v, want it edited and without reaction", e)
	}
	bob.gets(alice.says(content.Message{Body: content.Delete{To: first.ID}}))
	bob.reads("friends", "alice: ", "mallory: the second")
	// What is deleted comes back by no edit.
	bob.gets(alice.says(content.Message{Body: content.Edit{To: first.ID, Text: "again"}}))
	bob.reads("friends", "alice: ", "mallory: the second")
}

// What a member who is no admin proposes is not committed, and nothing that we say
// waits for it; who proposed it is told. An admin's proposal is.
func TestProposalsOfMembersAndAdmins(t *testing.T) {
	t.Parallel()
	alice, mallory := newActor(t, "alice"), newActor(t, "mallory")
	bob := newOffline(t, "bob", Settings{})
	bob.knows(alice, mallory)
	alice.founds(groupData("friends", alice))
	mallory.joins(alice)
	kp, _ := bob.keyPackage(false)
	commit, welcome := alice.adds(kp)
	mallory.hears(commit)
	bob.gets(welcome)
	_, intents := bob.waits()

	bob.gets(mallory.proposed(mallory.group.ProposeRemove(mallory.leaf(alice.account), nil, time.Now())))
	if _, now := bob.waits(); now != intents {
		t.Errorf("a member's proposal to remove alice is to be committed: %d changes wait, want %d", now, intents)
	}
	if last := bob.last("friends"); last.Kind != "notice" || last.Notice != EventInvalid || last.Text != "mallory: a proposal by a member who is no admin was ignored" {
		t.Errorf("the last entry is %+v, want a notice that says whose proposal was ignored", last)
	}
	bob.gets(alice.proposed(alice.group.ProposeRemove(alice.leaf(mallory.account), nil, time.Now())))
	if _, now := bob.waits(); now != intents+1 {
		t.Errorf("an admin's proposal to remove mallory: %d changes wait, want %d", now, intents+1)
	}
	// Whoever wants to go may go.
	carol := newOffline(t, "carol", Settings{})
	carol.knows(alice)
	dave := newActor(t, "dave")
	alice.founds(groupData("leaving", alice))
	dave.joins(alice)
	ckp, _ := carol.keyPackage(false)
	commit, welcome = alice.adds(ckp)
	dave.hears(commit)
	carol.gets(welcome)
	carol.gets(dave.proposed(dave.group.ProposeLeave(nil, time.Now())))
	if _, now := carol.waits(); now != 1 {
		t.Errorf("dave's wish to leave: %d changes wait, want 1", now)
	}
}

// A conversation of two is of two accounts, in its own channel: anything else that
// says it is one is none.
func TestConversationOfTwoHasTwo(t *testing.T) {
	t.Parallel()
	alice, mallory := newActor(t, "alice"), newActor(t, "mallory")
	bob := newOffline(t, "bob", Settings{})
	bob.knows(alice, mallory)
	other := newID()
	for what, c := range map[string]struct {
		third   bool
		id      []byte
		channel conn.ChannelID
	}{
		"of three accounts":               {third: true},
		"in the channel of another":       {channel: other},
		"founded anew in another channel": {id: make([]byte, 32), channel: other},
		"with an id that is no channel's": {id: make([]byte, 24)},
	} {
		data, id := dmData()
		if c.id != nil {
			id = c.id
		}
		alice.founds(data, id)
		if c.third {
			mallory.joins(alice)
		}
		kp, _ := bob.keyPackage(false)
		_, welcome := alice.adds(kp)
		bob.getsIn(c.channel, welcome)
		if list, err := bob.Conversations(); err != nil || len(list) != 0 {
			t.Errorf("a conversation of two %s was entered (%v), want a refusal", what, err)
		}
	}
	data, id := dmData()
	alice.founds(data, id)
	kp, _ := bob.keyPackage(false)
	_, welcome := alice.adds(kp)
	bob.getsIn(conn.ChannelID(id), welcome)
	bob.reads("alice")
}

// The key package that a welcome has used is gone, with its private keys: the same
// welcome, or another for it, opens nothing. The last resort stays.
func TestUsedKeyPackagesAreDeleted(t *testing.T) {
	t.Parallel()
	alice := newActor(t, "alice")
	bob := newOffline(t, "bob", Settings{})
	bob.knows(alice)
	once, ref := bob.keyPackage(false)
	last, lastRef := bob.keyPackage(true)
	alice.founds(groupData("one", alice))
	_, welcome := alice.adds(once)
	bob.gets(welcome)
	bob.reads("one")
	if bob.has(ref) {
		t.Error("the key package that was used is still there")
	}
	alice.founds(groupData("two", alice))
	_, welcome = alice.adds(once)
	bob.gets(welcome)
	if list, err := bob.Conversations(); err != nil || len(list) != 1 {
		t.Errorf("a key package was used twice: %d conversations (%v), want 1", len(list), err)
	}
	for _, title := range []string{"three", "four"} {
		alice.founds(groupData(title, alice))
		_, welcome = alice.adds(last)
		bob.gets(welcome)
		bob.reads(title)
	}
	if !bob.has(lastRef) {
		t.Error("the last resort is gone")
	}
}

// receiptsDue counts the receipts that go out as soon as a node can be reached.
func receiptsDue(t *testing.T, c *Client) (n int) {
	t.Helper()
	err := c.look(func(tx *turn) error {
		list, err := tx.ReceiptConversations(stateActive)
		for _, id := range list {
			due, failed := tx.DueReceipts(id, 1000)
			if failed != nil {
				return failed
			}
			n += len(due)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Receipts tell the sender what became of a message of a conversation of two, unless
// they are switched off; in groups there are none.
func TestReceiptsAreSwitchedOff(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name            string
		off, group      bool
		delivered, read int
	}{
		{"on", false, false, 1, 1}, // the receipt of reading takes the other's place
		{"off", true, false, 0, 0},
		{"in a group", false, true, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			alice := newActor(t, "alice")
			bob := newOffline(t, "bob", Settings{NoReceipts: c.off})
			bob.knows(alice)
			title, data := "alice", func() { alice.founds(dmData()) }
			if c.group {
				title, data = "friends", func() { alice.founds(groupData("friends", alice)) }
			}
			data()
			bob.invited(alice)
			bob.gets(alice.says(text("hello")))
			if due := receiptsDue(t, bob.Client); due != c.delivered {
				t.Errorf("after it came %d receipts wait to be sent, want %d", due, c.delivered)
			}
			v := bob.find(title)
			if err := v.MarkRead(t.Context(), bob.last(title).Seq); err != nil {
				t.Fatal(err)
			}
			if due := receiptsDue(t, bob.Client); due != c.read {
				t.Errorf("after it was read %d receipts wait to be sent, want %d", due, c.read)
			}
			if info, err := v.Info(); err != nil || info.Unread != 0 {
				t.Errorf("%d are unread (%v), want none", info.Unread, err)
			}
		})
	}
}

// What disappears is gone from the vault, history and search, after its time and not
// before.
func TestExpiredIsDeleted(t *testing.T) {
	t.Parallel()
	alice := newActor(t, "alice")
	bob := newOffline(t, "bob", Settings{})
	bob.knows(alice)
	alice.founds(dmData())
	bob.invited(alice)
	short, long := text("short lived"), text("for ever")
	short.ExpireAfter = time.Minute
	bob.gets(alice.says(short), alice.says(long))
	bob.at = bob.at.Add(59 * time.Second)
	bob.keepsUp()
	bob.reads("alice", "alice: short lived", "alice: for ever")
	bob.at = bob.at.Add(2 * time.Second)
	bob.keepsUp()
	bob.reads("alice", "alice: for ever")
	if found, err := bob.Search("lived", 10); err != nil || len(found) != 0 {
		t.Errorf("a search finds %+v (%v) after its time, want nothing", found, err)
	}
	if left := bob.kept("alice", short.ID); left != nil {
		t.Errorf("the vault still has %+v", left)
	}
}

// A leaf whose account has not signed it is nobody's: a welcome to a group with one
// opens nothing, and a commit that brings one is refused.
func TestUnsignedCredentials(t *testing.T) {
	t.Parallel()
	alice, mallory := newActor(t, "alice"), newActor(t, "mallory")
	careless := &mls.Config{Auth: anybody{}, PrivateHandshake: true}
	bob := newOffline(t, "bob", Settings{})
	bob.knows(alice)
	mallory.config = careless
	mallory.claims(alice.account, mallory.key)
	mallory.founds(dmData())
	bob.invited(mallory)
	if list, err := bob.Conversations(); err != nil || len(list) != 0 {
		t.Fatalf("mallory poses as alice, and bob has %d conversations (%v), want none", len(list), err)
	}
	alice.config = careless
	alice.founds(groupData("friends", alice))
	bob.invited(alice)
	before := bob.members("friends")
	bob.gets(mallory.joins(alice))
	if got := bob.members("friends"); got != before {
		t.Errorf("a leaf that its account has not signed came in: %d members, want %d", got, before)
	}
}

// What somebody asks who is no contact waits for an answer: nothing goes out, and a
// name never leads to what the stranger calls it. Who is blocked is not heard at all.
func TestStrangersAsk(t *testing.T) {
	t.Parallel()
	mallory := newActor(t, "mallory")
	bob := newOffline(t, "bob", Settings{})
	if err := bob.turn(func(t *turn) error { return t.meet(mallory.account, mallory.name) }); err != nil {
		t.Fatal(err)
	}
	mallory.founds(dmData())
	bob.invited(mallory)
	bob.gets(mallory.says(text("hello")))
	v := bob.find("mallory")
	if info, err := v.Info(); err != nil || info.State != "request" {
		t.Errorf("a stranger's conversation is %q (%v), want a request", info.State, err)
	}
	if err := v.MarkRead(t.Context(), bob.last("mallory").Seq); err != nil {
		t.Error(err)
	}
	if outbox, intents := bob.waits(); outbox != 0 || intents != 0 {
		t.Errorf("%d messages and %d changes go out to a stranger, want none", outbox, intents)
	}
	dm := mallory.group
	mallory.founds(groupData("alice", mallory))
	bob.invited(mallory)
	if _, err := bob.Find("alice"); !errors.Is(err, ErrNamedByOther) {
		t.Errorf("the name that mallory gave to a group leads somewhere (%v), want %v", err, ErrNamedByOther)
	}
	if err := bob.BlockAccount(mallory.account); err != nil {
		t.Fatal(err)
	}
	before, err := bob.Conversations()
	if err != nil {
		t.Fatal(err)
	}
	mallory.founds(groupData("again", mallory))
	bob.invited(mallory)
	if now, err := bob.Conversations(); err != nil || len(now) != len(before) {
		t.Errorf("who is blocked invites: %d conversations (%v), want %d", len(now), err, len(before))
	}
	mallory.group = dm
	bob.gets(mallory.says(text("still here")))
	bob.reads("mallory", "mallory: hello")
	// In a group with others the blocked one is not heard, and they are.
	alice := newActor(t, "alice")
	bob.knows(alice)
	alice.founds(groupData("friends", alice))
	mallory.joins(alice)
	kp, _ := bob.keyPackage(false)
	commit, welcome := alice.adds(kp)
	mallory.hears(commit)
	bob.gets(welcome, mallory.says(text("and here")), alice.says(text("hello")))
	bob.reads("friends", "alice: hello")
}

// anybody believes every credential.
type anybody struct{}

func (anybody) Validate(tree.Credential, suite.SignaturePublicKey, time.Time) error { return nil }
func (anybody) Successor(_, _ tree.Credential) error                                { return nil }

// last is the newest entry of a conversation.
func (o *offline) last(name string) Entry {
	o.t.Helper()
	list := o.history(name)
	if len(list) == 0 {
		o.t.Fatalf("the conversation %s has no entries", name)
	}
	return list[len(list)-1]
}

// entry is the one with a text.
func (o *offline) entry(name, text string) Entry {
	o.t.Helper()
	list := o.history(name)
	i := slices.IndexFunc(list, func(e Entry) bool { return e.Text == text })
	if i < 0 {
		o.t.Fatalf("no entry of the conversation %s has the text %q: %+v", name, text, list)
	}
	return list[i]
}

// lastEvent is the number of the newest event.
func (o *offline) lastEvent() (id uint64) {
	o.t.Helper()
	err := o.look(func(t *turn) error {
		list, err := t.Events(0, 100_000)
		for _, e := range list {
			id = max(id, e.ID)
		}
		return err
	})
	if err != nil {
		o.t.Fatal(err)
	}
	return id
}

// has reports whether the vault has the key package of a reference.
func (o *offline) has(ref []byte) (there bool) {
	o.t.Helper()
	err := o.look(func(t *turn) error {
		row, err := t.KeyPackage(ref)
		there = row != nil
		return err
	})
	if err != nil {
		o.t.Fatal(err)
	}
	return there
}

// kept is what the vault has of a message, nil if nothing.
func (o *offline) kept(name string, id content.ID) (row *vault.Message) {
	o.t.Helper()
	v := o.find(name)
	err := o.look(func(t *turn) (err error) { row, err = t.MessageOf(v.id, id); return err })
	if err != nil {
		o.t.Fatal(err)
	}
	return row
}

// keepsUp does what is due now.
func (o *offline) keepsUp() {
	o.t.Helper()
	if err := o.turn(func(t *turn) error { return errors.Join(t.keepUp(), t.tidy()) }); err != nil {
		o.t.Fatal(err)
	}
}

// members is how many accounts a conversation has.
func (o *offline) members(name string) int {
	o.t.Helper()
	info, err := o.find(name).Info()
	if err != nil {
		o.t.Fatal(err)
	}
	return info.Members
}
