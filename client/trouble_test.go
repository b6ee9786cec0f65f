package client_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"quicproquo/client"
	"quicproquo/client/conn"
	"quicproquo/client/vault"
	"quicproquo/crypto/mls"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
	"quicproquo/testcluster"
)

// Clocks that are off by a day, in both directions, hinder nobody: key packages are
// good for a day before they were made, and nothing is ordered by clocks.
func TestClocksOffByADay(t *testing.T) {
	leaveToFullRun(t)
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{})
	const day = 24 * time.Hour
	people := map[time.Duration]*person{}
	for _, off := range []time.Duration{-day, 0, day} {
		p := &person{t: t, name: fmt.Sprintf("p%d", int(off/day)+1), cluster: c}
		p.profile = client.Profile{
			Dir: filepath.Join(t.TempDir(), p.name), Now: func() time.Time { return time.Now().Add(off) },
			Settings: client.Settings{Invitations: client.FromEverybody},
		}
		p.open(client.Create)
		if err := p.Register(within(t, time.Minute), p.name, []byte("password")); err != nil {
			t.Fatalf("with a clock off by %s: %v", off, err)
		}
		t.Cleanup(func() { _ = p.Close() })
		people[off] = p
	}
	for offA, a := range people {
		for offB, b := range people {
			if offA == offB {
				continue
			}
			text := fmt.Sprintf("%s to %s", a.name, b.name)
			a.say(a.dm(b), text)
			b.hears(b.find(a.name), text)
		}
	}
	group, err := people[day].CreateGroup(within(t, time.Minute), "clocks", people[0].name, people[-day].name)
	if err != nil {
		t.Fatal(err)
	}
	if err := group.Rekey(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	for _, p := range people {
		v := p.find("clocks")
		p.say(v, "from "+p.name)
		for _, other := range people {
			other.hears(other.find("clocks"), "from "+p.name)
		}
	}
}

// Somebody whose key packages are all taken is still reached: the last resort stands
// in until the next top-up.
func TestKeyPackagesExhausted(t *testing.T) {
	leaveToFullRun(t)
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{})
	bob := meet(t, c, "bob", client.Settings{KeyPackages: 2})
	bob.stopped()
	const friends = 5
	for i := range friends {
		p := meet(t, c, fmt.Sprintf("friend%d", i), client.Settings{})
		p.say(p.dm(bob), "hello from "+p.name)
		if err := p.Flush(within(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range friends {
		name := fmt.Sprintf("friend%d", i)
		bob.hears(bob.find(name), "hello from "+name)
	}
	bob.await("new key packages", func() error {
		k, err := bob.KeysStatus(t.Context())
		if err == nil && (k.Remaining < 2 || !k.HasLastResort) {
			err = fmt.Errorf("%d key packages, last resort %t", k.Remaining, k.HasLastResort)
		}
		return err
	})
}

// Whoever has no device that could be in a group can't be written to, is not invited,
// and the reason says so; the conversation it was about goes on.
func TestIncompatibleClient(t *testing.T) {
	leaveToFullRun(t)
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{})
	alice, bob := meet(t, c, "alice", client.Settings{}), meet(t, c, "bob", client.Settings{})
	strangers := map[string]foreign{
		"bare":  registered(t, c, "bare"),  // has no key packages
		"other": registered(t, c, "other"), // has one that our groups can't use
	}
	strangers["other"].uploads(t)
	ctx := within(t, 2*time.Minute)
	group, err := alice.CreateGroup(ctx, "friends", "bob")
	if err != nil {
		t.Fatal(err)
	}
	bobs := bob.find("friends")
	for name, want := range map[string]string{"bare": "E059", "other": "incompatible"} {
		short, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, dmErr := alice.DM(short, name)
		for what, err := range map[string]error{"a conversation": dmErr, "an invitation": group.Invite(short, name)} {
			switch {
			case err == nil:
				t.Errorf("%s with %s was made", what, name)
			case want == "incompatible" && what == "a conversation" && !errors.Is(err, client.ErrIncompatible):
				t.Errorf("%s with %s: %v, want ErrIncompatible", what, name, err)
			case want == "E059" && !strings.Contains(err.Error(), want) && !strings.Contains(err.Error(), "not done yet"):
				t.Errorf("%s with %s: %v, want that it waits for key packages", what, name, err)
			}
		}
		cancel()
	}
	alice.say(group, "we go on")
	bob.hears(bobs, "we go on")
}

// hears awaits a text in a conversation.
func (p *person) hears(v *client.Conversation, text string) {
	p.t.Helper()
	p.await(fmt.Sprintf("the text %q", text), func() error {
		got, err := texts(v)
		if err == nil && !slices.ContainsFunc(got, func(s string) bool { return strings.HasSuffix(s, ": "+text) }) {
			err = fmt.Errorf("got %q", got)
		}
		return err
	})
}

// A profile that comes from a backup goes on in all its conversations without using a
// key of the backup again, though the original has gone on meanwhile.
func TestRestoredProfile(t *testing.T) {
	leaveToFullRun(t)
	t.Parallel()
	for _, meanwhile := range []string{"nothing", "messages", "new epochs by others"} {
		t.Run(meanwhile, func(t *testing.T) { restoredProfile(t, meanwhile) })
	}
}

func restoredProfile(t *testing.T, meanwhile string) {
	t.Helper()
	c := testcluster.StartT(t, testcluster.Options{})
	alice, bob := meet(t, c, "alice", client.Settings{}), meet(t, c, "bob", client.Settings{})
	ctx := within(t, 2*time.Minute)
	alice.say(alice.dm(bob), "before")
	if _, err := alice.CreateGroup(ctx, "friends", "bob"); err != nil {
		t.Fatal(err)
	}
	bob.hears(bob.find("alice"), "before")
	if err := errors.Join(alice.Flush(ctx), alice.Close()); err != nil {
		t.Fatal(err)
	}
	var backup bytes.Buffer
	v, err := vault.Open(alice.profile.Dir, testKey())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(v.Export(&backup, testKey(), nil), v.Close()); err != nil {
		t.Fatal(err)
	}
	alice.open(client.Open)
	if meanwhile != "nothing" { // the original uses keys that the backup has too
		alice.say(alice.mustFind("bob"), "the original goes on")
		alice.say(alice.mustFind("friends"), "here too")
		if err := alice.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if meanwhile == "new epochs by others" {
		if err := bob.find("friends").Rekey(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := alice.Close(); err != nil {
		t.Fatal(err)
	}
	alice.profile.Dir = filepath.Join(t.TempDir(), "restored")
	if err := vault.Import(alice.profile.Dir, &backup, testKey(), nil); err != nil {
		t.Fatal(err)
	}
	alice.open(client.Open)
	if err := alice.Start(); err != nil {
		t.Fatal(err)
	}
	for name, bobs := range map[string]string{"bob": "alice", "friends": "friends"} {
		alice.say(alice.mustFind(name), "restored, to "+name)
		bob.hears(bob.find(bobs), "restored, to "+name)
		bob.sees(bob.find(bobs), "alice came back")
		bob.say(bob.find(bobs), "welcome back, "+name)
		alice.hears(alice.mustFind(name), "welcome back, "+name)
	}
	for e, err := range bob.Consume("check") {
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == client.EventInvalid {
			t.Errorf("bob is told of something invalid: %s", e.Note)
		}
	}
}

// foreign is an account without our engine: a bare connection, and its key.
type foreign struct {
	*conn.Conn
	seed []byte
}

func registered(t *testing.T, c *testcluster.Cluster, name string) foreign {
	t.Helper()
	options, err := c.ClientOptions()
	if err != nil {
		t.Fatal(err)
	}
	caller, err := conn.Dial(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = caller.Close() })
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx := within(t, time.Minute)
	if _, err := caller.Register(ctx, name, []byte("password"), key); err != nil {
		t.Fatal(err)
	}
	who := conn.Credentials{Username: name, Password: []byte("password"), Account: conn.AccountKey(key.Public().(ed25519.PublicKey)), Key: key}
	if _, _, err := caller.Login(ctx, who); err != nil {
		t.Fatal(err)
	}
	return foreign{caller, key.Seed()}
}

// uploads gives the cluster a good key package that knows nothing of our groups.
func (f foreign) uploads(t *testing.T) {
	t.Helper()
	s, err := suite.Lookup(suite.X25519AES128SHA256Ed25519)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := s.NewSigner(f.seed)
	if err != nil {
		t.Fatal(err)
	}
	id := &mls.Identity{Signer: signer, Credential: tree.BasicCredential([]byte("somebody"))}
	kp, err := id.NewKeyPackage(time.Now(), mls.KeyPackageOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.UploadKeyPackages(within(t, time.Minute), [][]byte{kp.Message()}, nil); err != nil {
		t.Fatal(err)
	}
}
