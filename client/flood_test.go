package client

import (
	"testing"
	"time"

	"quicproquo/client/conn"
	"quicproquo/client/content"
)

// A member, or a node that repeats what a member has said, floods a client with typing
// and receipts: nothing of it stands in the history or in the list, nothing is answered,
// receipts of somebody who was not asked change nothing, and what is said between them is
// read and acknowledged once.
func TestFloodOfTypingAndReceipts(t *testing.T) {
	t.Parallel()
	alice, bob, _ := joined(t, "alice", true)
	if _, err := bob.find("alice").Send(t.Context(), content.Text{Text: "mine"}); err != nil {
		t.Fatal(err)
	}
	before := len(bob.history("alice"))
	outbox, intents := bob.waits()
	var flood [][]byte
	for i := range 400 {
		flood = append(flood, alice.says(content.Message{Body: content.Typing{Active: i%2 == 0}}))
		receipt := content.Receipt{Kind: content.Read, IDs: []content.ID{newID(), newID()}}
		flood = append(flood, alice.says(content.Message{Body: receipt}))
	}
	word := alice.says(text("between them"))
	flood = append(flood[:400:400], append([][]byte{word}, flood[400:]...)...)
	began := time.Now()
	bob.gets(flood...)
	bob.gets(flood...) // once more, as a node can
	t.Logf("%d envelopes took %v", 2*len(flood), time.Since(began))
	bob.reads("alice", "bob: mine", "alice: between them")
	if n := len(bob.history("alice")); n != before+1 {
		t.Errorf("the history has %d entries, want one more than the %d of before", n, before)
	}
	if now, wanted := bob.waits(); now != outbox || wanted != intents {
		t.Errorf("%d messages and %d changes wait, want %d and %d: nothing is answered", now, wanted, outbox, intents)
	}
	info := bob.state("alice")
	if info.Unread != 1 {
		t.Errorf("%d messages are unread, want one", info.Unread)
	}
	err := bob.look(func(t *turn) error {
		due, err := t.ReceiptConversations(stateActive)
		if err == nil && len(due) != 1 {
			bob.t.Errorf("receipts are due in %d conversations, want one", len(due))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// When a message has come is told by the client's own clock, whatever the node or the sender says.
func TestReceivedByOurOwnClock(t *testing.T) {
	t.Parallel()
	alice, bob, _ := joined(t, "alice", true)
	bob.seqs[conn.ChannelID{}]++
	long := time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)
	batch := []conn.Envelope{{Seq: bob.seqs[conn.ChannelID{}], Received: long, Data: alice.says(content.Message{Sent: long, Body: content.Text{Text: "hello"}})}}
	if err := bob.Take(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	list := bob.history("alice")
	if last := list[len(list)-1]; last.Text != "hello" || last.Received.Sub(bob.at).Abs() > time.Minute {
		t.Errorf("%q is said to have come at %v, want %v", last.Text, last.Received, bob.at)
	}
}
