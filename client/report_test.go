package client_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"quicproquo/client"
	"quicproquo/client/content"
	"quicproquo/testcluster"
)

// statuses counts what became of a person's own messages in a conversation.
func statuses(v *client.Conversation) (count map[string]int, err error) {
	entries, err := v.History(0, 100_000)
	count = map[string]int{}
	for _, e := range entries {
		if e.Mine && e.Kind != "notice" {
			count[e.Status]++
		}
	}
	return count, err
}

// awaitStatus awaits that all of n messages of one's own have a status.
func (p *person) awaitStatus(v *client.Conversation, status string, n int) {
	p.t.Helper()
	p.await(fmt.Sprintf("that %d messages are %s", n, status), func() error {
		count, err := statuses(v)
		if err == nil && (count[status] != n || len(count) != 1) {
			err = fmt.Errorf("they are %v", count)
		}
		return err
	})
}

// readAll marks everything in a conversation as read.
func (p *person) readAll(v *client.Conversation) {
	p.t.Helper()
	entries, err := v.History(0, 1)
	if err == nil {
		err = v.MarkRead(p.t.Context(), entries[0].Seq)
	}
	if err != nil {
		p.t.Fatalf("%s marks all as read: %v", p.name, err)
	}
}

// Whatever others sent for people to read is reported as read: replies, too. What was
// read while no node could be reached is reported after the next start.
func TestReplyIsReportedRead(t *testing.T) {
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{})
	alice, bob := meet(t, c, "alice", client.Settings{}), meet(t, c, "bob", client.Settings{})
	to := alice.dm(bob)
	id := alice.say(to, "hello")
	back := bob.find("alice")
	bob.reads(back, "alice: hello")
	if _, err := back.Send(t.Context(), content.Reply{Text: "a reply", To: id}); err != nil {
		t.Fatal(err)
	}
	bob.say(back, "a text")
	alice.reads(to, "alice: hello", "bob: a reply", "bob: a text")
	bob.awaitStatus(back, "delivered", 2)
	alice.stopped()
	alice.readAll(alice.mustFind("bob"))
	alice.restart()
	bob.awaitStatus(back, "read", 2)
}

// Many messages that are read at once cost a few envelopes, and the oldest get their
// receipt like the newest.
func TestManyReadAtOnce(t *testing.T) {
	leaveToFullRun(t)
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{Network: testcluster.Direct()})
	alice, bob := meet(t, c, "alice", client.Settings{}), meet(t, c, "bob", client.Settings{})
	to := alice.dm(bob)
	bob.say(bob.find("alice"), "go on") // or alice were a stranger, with room for 625
	if err := bob.Flush(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	alice.reads(to, "bob: go on")
	bob.stopped()
	const messages = content.MaxReceiptIDs + 100
	for i := range messages {
		alice.say(to, fmt.Sprintf("message %d", i))
	}
	if err := alice.Flush(within(t, 5*time.Minute)); err != nil {
		t.Fatal(err)
	}
	alice.stopped()
	if err := bob.Sync(within(t, 2*time.Minute)); err != nil {
		t.Fatal(err)
	}
	bob.readAll(bob.mustFind("alice"))
	if err := bob.Flush(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	if got := len(alice.queued()); got > 12 {
		t.Errorf("%d envelopes tell of %d messages, want at most 12", got, messages)
	}
	alice.restart()
	alice.awaitStatus(alice.find("bob"), "read", messages)
}

// Receipts that are switched off are not sent, neither of delivery nor of reading, and
// not later when they are switched on again.
func TestReceiptsSwitchedOff(t *testing.T) {
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{})
	alice, bob := meet(t, c, "alice", client.Settings{}), meet(t, c, "bob", client.Settings{NoReceipts: true})
	to := alice.dm(bob)
	alice.say(to, "hello")
	back := bob.find("alice")
	bob.reads(back, "alice: hello")
	bob.readAll(back)
	bob.say(back, "seen")
	if err := bob.Flush(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	alice.reads(to, "alice: hello", "bob: seen")
	alice.awaitStatus(to, "sent", 1)
	if err := bob.Close(); err != nil {
		t.Fatal(err)
	}
	bob.profile.Settings.NoReceipts = false
	bob.open(client.Open)
	back = bob.find("alice")
	alice.say(to, "and now?")
	bob.reads(back, "alice: hello", "bob: seen", "alice: and now?")
	alice.await("that one message is delivered, the other is not", func() error {
		count, err := statuses(to)
		if err == nil && (count["delivered"] != 1 || count["sent"] != 1) {
			err = fmt.Errorf("they are %v", count)
		}
		return err
	})
}

// Typing never waits, and takes nothing from messages: what goes beyond the spare part
// of the rate is left out.
func TestTypingIsLeftOut(t *testing.T) {
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{})
	alice, bob := meet(t, c, "alice", client.Settings{}), meet(t, c, "bob", client.Settings{NoReceipts: true})
	to := alice.dm(bob)
	alice.say(to, "hello")
	bob.reads(bob.find("alice"), "alice: hello")
	bob.stopped()
	for range 50 {
		if err := to.Typing(within(t, time.Minute), true); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(bob.queued()); got == 0 || got > 10 {
		t.Errorf("%d of 50 typing indicators in a row were sent, want a few", got)
	}
}

// Nothing of this kind goes out where the user takes no part.
func TestNothingTellsAfterLeaving(t *testing.T) {
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{})
	alice, bob := meet(t, c, "alice", client.Settings{}), meet(t, c, "bob", client.Settings{})
	group, err := alice.CreateGroup(within(t, time.Minute), "friends", "bob")
	if err != nil {
		t.Fatal(err)
	}
	bobs := bob.find("friends")
	if err := bobs.Leave(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	alice.sees(group, "left")
	signals, stop := context.WithCancel(within(t, time.Minute))
	defer stop()
	seen := alice.Watch(signals)
	if err := bobs.Typing(within(t, time.Minute), true); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(2*time.Second, stop)
	for s := range seen {
		if s.Kind == client.SignalTyping {
			t.Errorf("%s types in a group that bob has left", s.Who)
		}
	}
}

// A typing indicator that nobody was there to see, and receipts that came to their end,
// leave nothing behind, neither where they were for nor elsewhere.
func TestTypingWhileAway(t *testing.T) {
	leaveToFullRun(t)
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{})
	alice, bob := meet(t, c, "alice", client.Settings{}), meet(t, c, "bob", client.Settings{})
	to := alice.dm(bob)
	alice.say(to, "hello")
	bob.reads(bob.find("alice"), "alice: hello")
	alice.awaitStatus(to, "delivered", 1)
	bob.stopped()
	if err := to.Typing(within(t, time.Minute), true); err != nil {
		t.Fatal(err)
	}
	if len(bob.queued()) == 0 {
		t.Fatal("no typing indicator was sent")
	}
	if err := testcluster.Await(within(t, 2*time.Minute), "the end of the typing indicator", func() error {
		if list := bob.queued(); len(list) > 0 && list[0].Loss.Count == 0 {
			return fmt.Errorf("%d envelopes wait", len(list))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	alice.say(to, "are you there?")
	bob.reads(bob.find("alice"), "alice: hello", "alice: are you there?")
	entries, err := bob.mustFind("alice").History(0, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Kind == "notice" && e.Notice != client.EventInvited {
			t.Errorf("bob is told: %s", e.Text)
		}
	}
}
