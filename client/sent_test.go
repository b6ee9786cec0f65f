package client_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"quicproquo/client"
	"quicproquo/client/content"
	"quicproquo/testcluster"
)

// Whether a message was sent is about this message: another conversation in trouble
// makes it neither wait nor fail, and the reason why one waits is its own.
func TestSentIsAboutThisMessage(t *testing.T) {
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{})
	alice, bob := meet(t, c, "alice", client.Settings{}), meet(t, c, "bob", client.Settings{})
	registered(t, c, "bare") // has no key packages: nobody can invite it
	group, err := alice.CreateGroup(within(t, time.Minute), "friends", "bob")
	if err != nil {
		t.Fatal(err)
	}
	to := alice.dm(bob)
	short, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	stuck, err := alice.DM(short, "bare")
	if err == nil {
		id := alice.say(stuck, "can you hear me?")
		if err := stuck.Sent(short, id); err == nil || !strings.Contains(err.Error(), "E059") {
			t.Errorf("a message to somebody without key packages: %v, want that E059 is why it waits", err)
		}
	} else if err := group.Invite(short, "bare"); err == nil {
		t.Fatal("somebody without key packages was invited")
	}
	if err := alice.Flush(short); err == nil {
		t.Fatal("nothing is in trouble")
	}
	if err := to.Sent(within(t, time.Minute), alice.say(to, "hello")); err != nil {
		t.Errorf("a message beside a conversation in trouble: %v", err)
	}
	reaction, err := to.Send(t.Context(), content.Reaction{To: alice.say(to, "look"), Emoji: "👍"})
	if err != nil {
		t.Fatal(err)
	}
	if err := to.Sent(within(t, time.Minute), reaction); err != nil {
		t.Errorf("a reaction beside a conversation in trouble: %v", err)
	}
	bob.hears(bob.find("alice"), "look")
}

// While no node can be reached a message waits, and so does one behind it.
func TestSentWithoutNodes(t *testing.T) {
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{})
	alice, bob := meet(t, c, "alice", client.Settings{}), meet(t, c, "bob", client.Settings{})
	to := alice.dm(bob)
	if err := alice.Flush(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	for _, n := range c.Nodes() {
		if err := n.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range []string{"one", "two"} {
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		err := to.Sent(short, alice.say(to, text))
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, client.ErrNotSent) || len(strings.Split(err.Error(), "\n")) < 2 {
			t.Errorf("%q without nodes: %v, want that it waits, and for what", text, err)
		}
	}
}

// What can't be sent any more has failed, and the sender is told why: who was removed
// meanwhile, and who speaks to devices that are gone.
func TestNotSent(t *testing.T) {
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{})
	alice, bob := meet(t, c, "alice", client.Settings{}), meet(t, c, "bob", client.Settings{NoReceipts: true})
	alice.dm(bob)
	if _, err := alice.CreateGroup(within(t, time.Minute), "friends", "bob"); err != nil {
		t.Fatal(err)
	}
	if err := alice.mustFind("friends").Promote(within(t, time.Minute), "bob"); err != nil {
		t.Fatal(err)
	}
	bobs := bob.find("friends")
	bob.find("alice")
	alice.stopped()
	bob.await("that bob is an admin", func() error { return bobs.Remove(within(t, time.Minute), "alice") })
	group := alice.mustFind("friends")
	id := alice.say(group, "am I still here?")
	waits := alice.queued()
	for i := range waits {
		if err := alice.Take(t.Context(), waits[i:i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := group.Sent(within(t, time.Minute), id); !errors.Is(err, client.ErrNotSent) || !errors.Is(err, client.ErrNotMember) {
		t.Errorf("a message to a group that has removed its sender: %v, want ErrNotSent and ErrNotMember", err)
	}
	if err := group.Sent(within(t, time.Minute), id); !errors.Is(err, client.ErrNotSent) {
		t.Errorf("asked again: %v, want ErrNotSent", err)
	}
	if err := bob.RevokeDevice(within(t, time.Minute), bob.Account().Device); err != nil {
		t.Fatal(err)
	}
	dm := alice.mustFind("bob")
	if err := dm.Sent(within(t, time.Minute), alice.say(dm, "and you?")); !errors.Is(err, client.ErrNotSent) {
		t.Errorf("a message to devices that are gone: %v, want ErrNotSent", err)
	}
	count, err := statuses(dm)
	if err != nil || count["failed"] != 1 {
		t.Errorf("its history says %v (%v), want one that has failed", count, err)
	}
}
