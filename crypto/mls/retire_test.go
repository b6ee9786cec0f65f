package mls

import (
	"bytes"
	"errors"
	"testing"

	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/suite"
)

// send has a member encrypt a text.
func (w *world) send(from int, text string) []byte {
	w.t.Helper()
	next, msg, err := w.members[from].Encrypt([]byte(text), nil)
	must(next, err)(w.t)
	w.members[from] = next
	return msg
}

// pastWorld keeps past epochs.
func pastWorld(t *testing.T) *world {
	return newWorld(t, worldOptions{cfg: Config{PrivateHandshake: true, PastEpochs: 3}})
}

// What was read while a commit was on its way can't be read again after it was adopted,
// in this epoch or the one before, and its key is nowhere; what was not read yet can.
func TestContinuePast(t *testing.T) {
	w := pastWorld(t)
	older := [][]byte{w.send(1, "older, read"), w.send(1, "older, late")}
	p := must(w.members[2].Commit(CommitOptions{}, worldTime))(t) // another epoch, to have an older one
	for _, i := range []int{0, 1, 3} {
		w.deliver(i, p.Commit)
	}
	w.members[2] = p.Next
	msgs := [][]byte{w.send(1, "read"), w.send(1, "late"), w.send(3, "read too")}
	p = must(w.members[0].Commit(CommitOptions{}, worldTime))(t)
	stored := p.Next.ForgetPast().Marshal()
	before := must(Unmarshal(w.cfg, p.Next.Marshal()))(t)
	w.members[0] = p.Current
	for _, m := range [][]byte{msgs[0], msgs[2], older[0]} {
		w.deliver(0, m)
	}
	own := w.send(0, "said meanwhile")
	next := must(must(Unmarshal(w.cfg, stored))(t).ContinuePast(w.members[0]))(t)
	next = must(Unmarshal(w.cfg, next.Marshal()))(t)
	for _, m := range [][]byte{msgs[0], msgs[2], older[0]} {
		_, _, err := next.Process(m, worldTime)
		wantRule(t, err, rule.FrameGenerationUsed)
		if _, _, err := before.Process(m, worldTime); err != nil {
			t.Errorf("the copy that was made with the commit can't read it either: %v; the test shows nothing", err)
		}
	}
	if _, ev, err := next.Process(own, worldTime); err != nil {
		t.Errorf("our own message of meanwhile: %v, want an echo", err)
	} else if _, ok := ev.(*Echo); !ok {
		t.Errorf("our own message of meanwhile is %T, want an echo", ev)
	}
	for _, m := range [][]byte{msgs[1], older[1]} {
		if _, _, err := next.Process(m, worldTime); err != nil {
			t.Errorf("a late message: %v", err)
		}
	}
}

// ContinuePast refuses a state that is not of the next epoch of the same group.
func TestContinuePastRefuses(t *testing.T) {
	w, other := pastWorld(t), pastWorld(t)
	p := must(w.members[0].Commit(CommitOptions{}, worldTime))(t)
	foreign := must(other.members[0].Commit(CommitOptions{}, worldTime))(t)
	forged := *p.Next
	forged.resumption = foreign.Next.resumption
	for what, pair := range map[string][2]*Group{
		"itself": {p.Next, p.Next}, "the epoch before": {p.Current, p.Next}, "another group": {foreign.Next, p.Current},
		"another past": {&forged, p.Current},
	} {
		if _, err := pair[0].ContinuePast(pair[1]); !errors.Is(err, ErrNotSuccessor) {
			t.Errorf("%s: %v, want ErrNotSuccessor", what, err)
		}
	}
}

// A past epoch has no ratchet of ours, whichever way it became past.
func TestPastCannotSend(t *testing.T) {
	w := pastWorld(t)
	w.send(0, "a")
	w.send(3, "b")
	p := must(w.members[0].Commit(CommitOptions{}, worldTime))(t)
	next := must(p.Next.ForgetPast().ContinuePast(p.Current))(t)
	var received []*Group
	for _, i := range []int{1, 3} { // 1 has sent nothing in this epoch, 3 has
		w.deliver(i, p.Commit)
		received = append(received, w.members[i])
	}
	for i, g := range append(received, p.Next, next) {
		past := g.past[len(g.past)-1]
		if _, _, err := past.secrets.Next(past.self, 1); err == nil {
			t.Errorf("state %d can make the keys of messages of a past epoch", i)
		}
		if _, _, err := past.secrets.Next((past.self+1)%4, 1); err != nil {
			t.Errorf("state %d can't read the others' messages of a past epoch: %v", i, err)
		}
	}
}

// States of earlier versions kept our ratchets in past epochs: they are gone once such a
// state is loaded.
func TestPastCannotSendAfterLoad(t *testing.T) {
	w := pastWorld(t)
	w.send(1, "said")
	g := w.members[0]
	secrets := g.secrets
	p := must(w.members[1].Commit(CommitOptions{}, worldTime))(t)
	w.deliver(0, p.Commit)
	g = w.members[0]
	g.past[0].secrets = secrets
	if _, _, err := g.past[0].secrets.Next(g.past[0].self, 1); err != nil {
		t.Fatalf("the state has no ratchet of ours to begin with: %v", err)
	}
	loaded := must(Unmarshal(w.cfg, g.Marshal()))(t)
	if _, _, err := loaded.past[0].secrets.Next(loaded.past[0].self, 1); err == nil {
		t.Error("a state that was loaded can make the keys of messages of a past epoch")
	}
	if again := loaded.Marshal(); !bytes.Equal(again, must(Unmarshal(w.cfg, again))(t).Marshal()) {
		t.Error("what was loaded has another encoding the next time")
	}
}

// What a later state does not use of an earlier one is zero, and what it does use is as
// it was: late messages, resumption PSKs and the present epoch work.
func TestRetire(t *testing.T) {
	w := pastWorld(t)
	late := w.send(1, "late")
	w.send(0, "sent")
	old := w.members[0]
	p := must(w.members[1].Commit(CommitOptions{}, worldTime))(t)
	w.deliver(0, p.Commit)
	w.members[1] = p.Next
	next := w.members[0]
	kept := map[*byte]bool{}
	next.eachSecret(func(s suite.Secret) { kept[&s[0]] = true })
	state := next.Marshal()
	all, dead := 0, 0
	old.Retire(next)
	old.eachSecret(func(s suite.Secret) {
		all++
		if !kept[&s[0]] {
			if dead++; !bytes.Equal(s, make([]byte, len(s))) {
				t.Errorf("a secret of the old state is not zero")
			}
		}
	})
	if dead < 10 || dead == all {
		t.Errorf("%d of %d secrets of the old state are dead, want most of them, and the past epoch's alive", dead, all)
	}
	if !bytes.Equal(next.Marshal(), state) {
		t.Error("the new state has changed")
	}
	if _, _, err := next.Process(late, worldTime); err != nil {
		t.Errorf("a late message: %v", err)
	}
	w.deliver(0, w.send(1, "present"))
	next = w.members[0]
	next.Retire(nil)
	next.eachSecret(func(s suite.Secret) {
		if !bytes.Equal(s, make([]byte, len(s))) {
			t.Error("a secret of a group that is over is not zero")
		}
	})
}
