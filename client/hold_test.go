package client_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"quicproquo/client"
	"quicproquo/client/conn"
	"quicproquo/client/groupstate"
	"quicproquo/crypto/codec"
	"quicproquo/testcluster"
)

// stray is a payload that looks like a message to a group that nobody here knows.
func stray(group string, epoch uint64, size int) []byte {
	b := codec.Uint16(codec.Uint16(nil, 1), 2) // MLS 1.0, a PrivateMessage
	b = codec.Uint64(codec.Bytes(b, []byte(group)), epoch)
	b = append(b, 1) // application data
	b = codec.Bytes(codec.Bytes(b, nil), make([]byte, 32))
	return groupstate.Wrap(codec.Bytes(b, make([]byte, size)))
}

// What belongs to no conversation has little room, and never takes that of messages
// whose epoch is only late: those are read when it comes.
func TestStrangersJunkIsBounded(t *testing.T) {
	leaveToFullRun(t)
	c := testcluster.StartT(t, testcluster.Options{})
	alice, bob := meet(t, c, "alice", client.Settings{}), meet(t, c, "bob", client.Settings{})
	ctx := within(t, 2*time.Minute)
	group, err := alice.CreateGroup(ctx, "friends", "bob")
	if err != nil {
		t.Fatal(err)
	}
	bob.find("friends")
	bob.stopped()
	taken := len(bob.queued())
	if err := group.Rekey(ctx); err != nil {
		t.Fatal(err)
	}
	alice.say(group, "of a later epoch")
	if err := alice.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	list := bob.queued()[taken:]
	if len(list) != 2 {
		t.Fatalf("%d envelopes wait for bob, want the commit and the message", len(list))
	}
	commit, late := list[0], list[1]
	next := commit.Seq - 1
	take := func(payloads ...[]byte) {
		t.Helper()
		var batch []conn.Envelope
		for _, p := range payloads {
			next++
			batch = append(batch, conn.Envelope{Seq: next, Data: p})
		}
		if err := bob.Take(ctx, batch); err != nil {
			t.Fatal(err)
		}
	}
	take(late.Data)
	for i := range 300 { // one more than there is room for, by number
		take(stray(fmt.Sprintf("group %011d", i), 5, 100))
	}
	held, err := bob.HeldEnvelopes()
	if err != nil || held.Stray != 256 || !held.StrayFull() {
		t.Errorf("held are %+v (%v), want 256 stray ones and no room for more", held, err)
	}
	if held.Envelopes != 1 {
		t.Errorf("%d genuine envelopes are held, want the one of the later epoch", held.Envelopes)
	}
	take(stray("group of a large", 5, 1<<20))
	if again, err := bob.HeldEnvelopes(); err != nil || again.StrayBytes > 1<<20 {
		t.Errorf("%d bytes of stray envelopes are held (%v), want 1 MiB at most", again.StrayBytes, err)
	}
	take(commit.Data)
	if got, err := texts(bob.mustFind("#friends")); err != nil || len(got) != 1 || !strings.HasSuffix(got[0], ": of a later epoch") {
		t.Errorf("bob has read %q (%v), want what was held for the epoch", got, err)
	}
}
