package groupstate_test

import (
	"errors"
	"slices"
	"testing"

	"quicproquo/client/groupstate"
	"quicproquo/crypto/mls"
)

// However many commits of ours nobody confirms, few earlier keys are kept: the oldest,
// which others have seen, and the newest. They open a way back that is sealed to one of
// them, and no other; what is kept of them can be read again.
func TestEarlierLeavesAreBounded(t *testing.T) {
	t.Parallel()
	alice, bob := newDevice(t, "alice"), newDevice(t, "bob")
	alice.found("friends", groupstate.KindGroup, "friends")
	alice.add([]*device{bob}, true, nil)
	sealed := func() []byte {
		t.Helper()
		b, err := groupstate.SealReturn(alice.group, alice.known, nil, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	old := sealed()
	alice.commit(mls.CommitOptions{})
	apart := sealed() // bob's leaf is the first one there
	var earlier *groupstate.EarlierLeaves
	for range 10 {
		before, known := bob.group, bob.known
		bob.commit(mls.CommitOptions{})
		earlier = earlier.Next(known, before, bob.group, noon)
		var err error
		if earlier, err = groupstate.ParseEarlierLeaves(earlier.AppendTo(nil)); err != nil {
			t.Fatal(err)
		}
	}
	if n := groupstate.EarlierKeys(earlier); n > 4 {
		t.Errorf("%d earlier keys are kept, want 4 at most", n)
	}
	back, err := groupstate.OpenReturn(bob.group, earlier, apart)
	if err != nil || back.Past == nil || back.Past.Epoch != 1 {
		t.Errorf("the way back of the epoch beside ours is opened as %+v (%v), want one that continues epoch 1", back, err)
	}
	if back, err := groupstate.OpenReturn(bob.group, earlier, old); !errors.Is(err, groupstate.ErrReturn) {
		t.Errorf("the way back of the epoch before is opened as %+v (%v), want ErrReturn", back, err)
	}
	if _, err := groupstate.OpenReturn(bob.group, nil, apart); !errors.Is(err, groupstate.ErrReturn) {
		t.Errorf("without earlier keys the way back is opened: %v", err)
	}
}

// A founder who is alone keeps no earlier key: nobody can have sealed anything to it.
func TestFounderHasNoEarlierLeaf(t *testing.T) {
	t.Parallel()
	alice := newDevice(t, "alice")
	alice.found("friends", groupstate.KindGroup, "friends")
	before, known := alice.group, alice.known
	alice.commit(mls.CommitOptions{})
	if l := (*groupstate.EarlierLeaves)(nil).Next(known, before, alice.group, noon); l != nil {
		t.Errorf("%d earlier keys are kept", groupstate.EarlierKeys(l))
	}
}

// What was known before another's commit is erased with what replaces it.
func TestLedIsErased(t *testing.T) {
	t.Parallel()
	alice, bob, carol := trio(t)
	past := bob.known
	carol.commit(mls.CommitOptions{}, bob)
	l := (*groupstate.EarlierLeaves)(nil).Followed(past, bob.group, carol.who.Account, false, noon)
	const rest = 1 + 1 + 8 + 8 + 32 + 1 + 4 // before what was known
	if raw := l.AppendTo(nil); !slices.ContainsFunc(raw[rest:], func(b byte) bool { return b != 0 }) {
		t.Fatal("nothing is kept: this tests nothing")
	}
	l.Zero(l)
	if raw := l.AppendTo(nil); !slices.ContainsFunc(raw[rest:], func(b byte) bool { return b != 0 }) {
		t.Error("what is still needed is erased")
	}
	l.Zero(l.Proven(bob.group.Epoch(), alice.who.Account))
	if raw := l.AppendTo(nil); slices.ContainsFunc(raw[rest:], func(b byte) bool { return b != 0 }) {
		t.Errorf("what nobody needs is %x in memory, want zeros", raw[rest:])
	}
}

// What is kept of earlier keys is read whole or not at all, and written as it was.
func FuzzEarlierLeaves(f *testing.F) {
	alice, bob := newDevice(f, "alice"), newDevice(f, "bob")
	alice.found("friends", groupstate.KindGroup, "friends")
	alice.add([]*device{bob}, true, nil)
	before, known := alice.group, alice.known
	alice.commit(mls.CommitOptions{})
	f.Add((*groupstate.EarlierLeaves)(nil).Next(known, before, alice.group, noon).AppendTo(nil))
	f.Add([]byte{1, 0})
	carol := newDevice(f, "carol")
	alice.add([]*device{carol}, true, nil)
	followed := (*groupstate.EarlierLeaves)(nil).Followed(alice.known, alice.group, bob.who.Account, true, noon).AppendTo(nil)
	f.Add(followed)
	followed[1+1+8+8+32] = 2 // neither true nor false
	f.Add(followed)
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := groupstate.ParseEarlierLeaves(b)
		if err != nil {
			return
		}
		if again := l.AppendTo(nil); string(again) != string(b) {
			t.Errorf("%x is written again as %x", b, again)
		}
	})
}
