package client_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"quicproquo/client"
	"quicproquo/client/conn"
	"quicproquo/client/content"
	"quicproquo/client/vault"
	"quicproquo/schemas"
	"quicproquo/testcluster"
)

// copied is somebody's profile, copied while its client is closed for a moment.
func (p *person) copied() *person {
	p.t.Helper()
	if err := p.Close(); err != nil {
		p.t.Fatal(err)
	}
	c := &person{t: p.t, name: p.name, cluster: p.cluster, profile: p.profile}
	c.profile.Dir = filepath.Join(p.t.TempDir(), "copy")
	if err := errors.Join(os.CopyFS(c.profile.Dir, os.DirFS(p.profile.Dir)), os.Chmod(c.profile.Dir, 0o700)); err != nil {
		p.t.Fatal(err)
	}
	p.open(client.Open)
	return c
}

// stops demands that a client is told of another copy, and soon.
func (p *person) stops(what string) {
	p.t.Helper()
	began := time.Now()
	err := p.Sync(within(p.t, time.Minute))
	if !errors.Is(err, client.ErrCopied) && !conn.Is(err, schemas.Code_instanceReplaced) {
		p.t.Fatalf("%s: %v, want to be told of another copy", what, err)
	}
	if took := time.Since(began); took > 30*time.Second {
		p.t.Errorf("%s: told after %v", what, took)
	}
	for what, do := range map[string]func(context.Context) error{
		"start":  func(context.Context) error { return p.Start() },
		"flush":  p.Flush,
		"invite": func(ctx context.Context) error { return p.mustFind("friends").Invite(ctx, "carol") },
	} {
		if err := do(within(p.t, 20*time.Second)); !errors.Is(err, client.ErrCopied) && !conn.Is(err, schemas.Code_instanceReplaced) {
			p.t.Errorf("then, %s: %v, want the same", what, err)
		}
	}
}

// unsent is how many messages wait in somebody's vault, and how many of them have used a
// key.
func (p *person) unsent() (waiting, encrypted int) {
	p.t.Helper()
	if err := p.Close(); err != nil {
		p.t.Fatal(err)
	}
	v, err := vault.Open(p.profile.Dir, testKey())
	if err != nil {
		p.t.Fatal(err)
	}
	err = v.View(func(tx *vault.Tx) error {
		list, err := tx.Outgoing()
		for _, o := range list {
			if waiting++; len(o.Payload) > 0 {
				encrypted++
			}
		}
		return err
	})
	if err := errors.Join(err, v.Close()); err != nil {
		p.t.Fatal(err)
	}
	p.open(client.Open)
	return waiting, encrypted
}

// A profile that was copied is noticed: the second copy is told at its first call and
// says nothing; what it was given to say waits. When it is told to take over it comes
// back with new keys, and the first copy is told at its next call.
func TestCopiedProfile(t *testing.T) {
	leaveToFullRun(t)
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{})
	alice, bob := meet(t, c, "alice", client.Settings{}), meet(t, c, "bob", client.Settings{})
	ctx := within(t, 2*time.Minute)
	alice.say(alice.dm(bob), "before")
	if _, err := alice.CreateGroup(ctx, "friends", "bob"); err != nil {
		t.Fatal(err)
	}
	bobs := bob.find("alice")
	bob.hears(bobs, "before")
	if err := alice.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	second := alice.copied()
	alice.say(alice.mustFind("bob"), "the first goes on")
	if err := errors.Join(alice.Start(), alice.Flush(ctx)); err != nil {
		t.Fatal(err)
	}
	second.open(client.Open)
	defer func() {
		if err := second.Close(); err != nil {
			t.Error(err)
		}
	}()
	second.say(second.mustFind("bob"), "the second wants to say this")
	second.stops("the second copy at its first call")
	if waiting, encrypted := second.unsent(); waiting != 1 || encrypted != 0 {
		t.Errorf("on the second copy %d messages wait and %d are encrypted, want 1 and 0", waiting, encrypted)
	}
	alice.say(alice.mustFind("friends"), "the first still goes on")
	bob.hears(bob.find("friends"), "the first still goes on")
	got, err := texts(bobs)
	if err != nil || slices.Contains(got, "alice: the second wants to say this") {
		t.Errorf("bob has %q (%v) while the second copy has stopped", got, err)
	}
	alice.restart() // an honest one
	alice.say(alice.mustFind("bob"), "after a restart")
	bob.hears(bobs, "after a restart")

	if err := errors.Join(second.TakeOver(), second.Sync(ctx)); err != nil {
		t.Fatal(err)
	}
	bob.hears(bobs, "the second wants to say this")
	bob.sees(bobs, "alice came back")
	for name, bobs := range map[string]string{"bob": "alice", "friends": "friends"} {
		second.say(second.mustFind(name), "from the second, to "+name)
		bob.hears(bob.find(bobs), "from the second, to "+name)
		bob.say(bob.find(bobs), "welcome, "+name)
		second.hears(second.mustFind(name), "welcome, "+name)
	}
	alice.stops("the first copy, when the second has taken over")
	if _, err := alice.mustFind("bob").Send(t.Context(), content.Text{Text: "too late"}); err != nil {
		t.Errorf("what is said on the first copy waits: %v", err)
	}
	second.restart()
	second.say(second.mustFind("bob"), "and after a restart")
	bob.hears(bobs, "and after a restart")
	for e, err := range bob.Consume("check") {
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == client.EventInvalid {
			t.Errorf("bob is told of something invalid: %s", e.Note)
		}
	}
}
