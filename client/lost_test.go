package client_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quicproquo/client"
	"quicproquo/client/content"
	"quicproquo/client/vault"
	"quicproquo/testcluster"
)

// backup returns a backup of somebody's profile as it is now.
func (p *person) backup() []byte {
	p.t.Helper()
	if err := p.Close(); err != nil {
		p.t.Fatal(err)
	}
	v, err := vault.Open(p.profile.Dir, testKey())
	if err != nil {
		p.t.Fatal(err)
	}
	var b bytes.Buffer
	if err := errors.Join(v.Export(&b, testKey(), nil), v.Close()); err != nil {
		p.t.Fatal(err)
	}
	p.open(client.Open)
	return b.Bytes()
}

// falls back to a backup: what came after it is lost.
func (p *person) falls(backup []byte) {
	p.t.Helper()
	if err := p.Close(); err != nil {
		p.t.Fatal(err)
	}
	p.profile.Dir = filepath.Join(p.t.TempDir(), "restored")
	if err := vault.Import(p.profile.Dir, bytes.NewReader(backup), testKey(), nil); err != nil {
		p.t.Fatal(err)
	}
	p.open(client.Open)
}

// Whoever has lost the keys of a conversation of two begins it again; the other, who
// still has them, is asked, says nothing before it has answered, and keeps its history.
func TestOneHasLostTheConversation(t *testing.T) {
	leaveToFullRun(t)
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{})
	alice, bob := meet(t, c, "alice", client.Settings{}), meet(t, c, "bob", client.Settings{})
	before := alice.backup()
	alice.say(alice.dm(bob), "before")
	bobs := bob.find("alice")
	bob.reads(bobs, "alice: before")
	bob.await("to have acknowledged", func() error { return bob.Flush(within(t, time.Minute)) })
	alice.falls(before)
	again := alice.dm(bob)
	alice.say(again, "I have lost my phone")
	bob.await("to be asked", func() error {
		info, err := bobs.Info()
		if err == nil && (info.State != "unproven" || !strings.Contains(info.Reason, "keys of this conversation with alice are new")) {
			err = fmt.Errorf("the conversation is %s (%s)", info.State, info.Reason)
		}
		return err
	})
	if _, err := bobs.Send(t.Context(), content.Text{Text: "who is that?"}); !errors.Is(err, client.ErrUnproven) {
		t.Errorf("bob says something before he has answered: %v, want ErrUnproven", err)
	}
	requests, err := bob.Requests()
	if err != nil || len(requests) != 1 {
		t.Fatalf("bob has the requests %v (%v), want one", requests, err)
	}
	v, err := bob.Accept(within(t, time.Minute), requests[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if v.ID() != bobs.ID() {
		t.Errorf("the accepted conversation is %s, want %s with its history", v.ID(), bobs.ID())
	}
	bob.reads(bobs, "alice: before", "alice: I have lost my phone")
	bob.say(bobs, "there you are")
	alice.reads(again, "alice: I have lost my phone", "bob: there you are")
	if left, err := bob.Requests(); err != nil || len(left) != 0 {
		t.Errorf("bob is still asked about %v (%v)", left, err)
	}
}

// Both have lost a conversation of two: it begins again, for both the same.
func TestBothHaveLostTheConversation(t *testing.T) {
	leaveToFullRun(t)
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{})
	alice, bob := meet(t, c, "alice", client.Settings{}), meet(t, c, "bob", client.Settings{})
	alices, bobs := alice.backup(), bob.backup()
	alice.say(alice.dm(bob), "before")
	bob.reads(bob.find("alice"), "alice: before")
	if err := errors.Join(alice.Flush(within(t, time.Minute)), bob.Flush(within(t, time.Minute))); err != nil {
		t.Fatal(err)
	}
	alice.falls(alices)
	bob.falls(bobs)
	again := alice.dm(bob)
	alice.say(again, "hello again")
	back := bob.find("alice")
	bob.reads(back, "alice: hello again")
	bob.say(back, "hello")
	alice.reads(again, "alice: hello again", "bob: hello")
}

// second is another device of somebody's account, with a profile of its own.
func (p *person) second(dir string) *person {
	p.t.Helper()
	if err := p.Close(); err != nil {
		p.t.Fatal(err)
	}
	var who *vault.Profile
	v, err := vault.Open(p.profile.Dir, testKey())
	if err == nil {
		err = errors.Join(v.View(func(tx *vault.Tx) (err error) { who, err = tx.Profile(); return err }), v.Close())
	}
	if err != nil {
		p.t.Fatal(err)
	}
	p.open(client.Open)
	next := &vault.Profile{Username: who.Username, AccountKey: who.AccountKey, DeviceKey: make([]byte, 32), Registered: true, Created: time.Now()}
	_, _ = rand.Read(next.Device[:])
	_, _ = rand.Read(next.DeviceKey)
	made, err := vault.Create(dir, testKey())
	if err == nil {
		err = errors.Join(made.Update(func(tx *vault.Tx) error { return tx.SetProfile(next) }), made.Close())
	}
	if err != nil {
		p.t.Fatal(err)
	}
	other := &person{t: p.t, name: p.name, cluster: p.cluster, profile: p.profile}
	other.profile.Dir = dir
	other.open(client.Open)
	if err := other.Login(within(p.t, time.Minute), p.name, []byte("password of "+p.name)); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = other.Close() })
	return other
}

func devicesIn(v *client.Conversation, name string) (n int, err error) {
	list, err := v.Members()
	for _, m := range list {
		if m.Username == name {
			n = len(m.Devices)
		}
	}
	return n, err
}

// A device that its account has revoked leaves a group with the next thing that any
// member does there, whatever it is.
func TestRevokedDeviceLeavesWithTheNextChange(t *testing.T) {
	leaveToFullRun(t)
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{})
	alice, bob := meet(t, c, "alice", client.Settings{}), meet(t, c, "bob", client.Settings{})
	phone := bob.second(filepath.Join(t.TempDir(), "phone"))
	for name, do := range map[string]func(context.Context, *client.Conversation) error{
		"renames": func(ctx context.Context, v *client.Conversation) error { return v.Rename(ctx, "renamed") },
		"rekeys":  func(ctx context.Context, v *client.Conversation) error { return v.Rekey(ctx) },
	} {
		ctx := within(t, 2*time.Minute)
		group, err := alice.CreateGroup(ctx, name, "bob")
		if err != nil {
			t.Fatal(err)
		}
		if n, err := devicesIn(group, "bob"); err != nil || n != 2 {
			t.Fatalf("bob has %d devices in the group (%v), want 2", n, err)
		}
		if err := bob.RevokeDevice(ctx, phone.Account().Device); err != nil {
			t.Fatal(err)
		}
		if err := do(ctx, group); err != nil {
			t.Fatal(err)
		}
		if n, err := devicesIn(group, "bob"); err != nil || n != 1 {
			t.Errorf("alice %s: bob has %d devices in the group (%v), want the one that is left", name, n, err)
		}
		phone = bob.second(filepath.Join(t.TempDir(), "another phone"))
	}
}

// Somebody who can't be invited keeps nobody else out: the others are in and can be
// talked to, the invitation says what is wrong, and can be taken back.
func TestOneCannotBeInvited(t *testing.T) {
	leaveToFullRun(t)
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{})
	alice, bob, carol := meet(t, c, "alice", client.Settings{}), meet(t, c, "bob", client.Settings{}), meet(t, c, "carol", client.Settings{})
	registered(t, c, "bare") // has no key packages
	registered(t, c, "other").uploads(t)
	ctx := within(t, 2*time.Minute)
	group, err := alice.CreateGroup(ctx, "friends", "bare", "bob", "other")
	if !errors.Is(err, client.ErrNotInvited) || !strings.Contains(err.Error(), "bare (") || !strings.Contains(err.Error(), "other (") {
		t.Fatalf("the group is made with %v, want ErrNotInvited that names bare and other", err)
	}
	alice.say(group, "hello bob")
	bob.hears(bob.find("friends"), "hello bob")
	if err := group.Invite(ctx, "carol"); err != nil {
		t.Errorf("carol is invited with %v while others can't be", err)
	}
	carol.find("friends")
	list, err := group.Invited()
	if err != nil || len(list) == 0 || list[0].Username != "bare" || !strings.Contains(list[0].Reason, "can't be invited") && !strings.Contains(list[0].Reason, "key packages") {
		t.Fatalf("invited are %+v (%v), want bare and why not yet", list, err)
	}
	if err := group.CancelInvite("bare"); err != nil {
		t.Error(err)
	}
	if err := group.CancelInvite("bare"); !errors.Is(err, client.ErrNotIn) {
		t.Errorf("taken back once more: %v, want ErrNotIn", err)
	}
	list, err = group.Invited()
	for _, one := range list {
		if one.Username == "bare" {
			t.Errorf("bare is still invited: %+v (%v)", one, err)
		}
	}
}
