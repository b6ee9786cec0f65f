package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"quicproquo/client"
	"quicproquo/client/content"
	"quicproquo/client/vault"
	"quicproquo/testcluster"
)

// person is somebody with a client on a real cluster.
type person struct {
	*client.Client
	t       testing.TB
	name    string
	cluster *testcluster.Cluster
	profile client.Profile
	nodes   []*testcluster.Node
}

// besideOthers has a test run beside others where the machine has room for more than one
// cluster: not in the race run, which is the short one.
func besideOthers(t *testing.T) {
	if !testing.Short() {
		t.Parallel()
	}
}

// meet registers somebody whose client begins at one node and knows all.
func meet(tb testing.TB, c *testcluster.Cluster, name string, settings client.Settings) *person {
	tb.Helper()
	p := &person{t: tb, name: name, cluster: c}
	settings.Invitations = client.FromEverybody // requests have tests of their own
	p.profile = client.Profile{Dir: filepath.Join(tb.TempDir(), name), Settings: settings}
	p.open(client.Create)
	if err := p.Register(within(tb, time.Minute), name, []byte("password of "+name)); err != nil {
		tb.Fatalf("register %s: %v", name, err)
	}
	tb.Cleanup(func() {
		if err := p.Close(); err != nil {
			tb.Errorf("close %s's client: %v", name, err)
		}
	})
	return p
}

// open opens the profile with one of client.Create and client.Open.
func (p *person) open(how func(client.Profile) (*client.Client, error)) {
	p.t.Helper()
	options, err := p.cluster.ClientOptions(p.nodes...)
	if err != nil {
		p.t.Fatal(err)
	}
	p.profile.Options, p.profile.Key = options, testKey()
	if p.Client, err = how(p.profile); err != nil {
		p.t.Fatalf("open %s's profile: %v", p.name, err)
	}
}

// restart closes the client and opens its profile again.
func (p *person) restart() {
	p.t.Helper()
	if err := p.Close(); err != nil {
		p.t.Fatalf("close %s's client: %v", p.name, err)
	}
	p.open(client.Open)
	if err := p.Start(); err != nil {
		p.t.Fatalf("start %s's client: %v", p.name, err)
	}
}

func testKey() vault.Key { return vault.Raw(bytes.Repeat([]byte{7}, 32)) }

// leaveToFullRun skips what the race run, which is -short, would learn nothing from.
func leaveToFullRun(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("go test without -short runs it; in the race run TestTalkThroughFaults has the same goroutines at work, and more at a time")
	}
}

func within(tb testing.TB, d time.Duration) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), d)
	tb.Cleanup(cancel)
	return ctx
}

// dm returns the conversation with another.
func (p *person) dm(with *person) *client.Conversation {
	p.t.Helper()
	v, err := p.DM(within(p.t, time.Minute), with.name)
	if err != nil {
		p.t.Fatalf("%s opens a conversation with %s: %v", p.name, with.name, err)
	}
	return v
}

func (p *person) say(v *client.Conversation, text string) content.ID {
	p.t.Helper()
	id, err := v.Send(p.t.Context(), content.Text{Text: text})
	if err != nil {
		p.t.Fatalf("%s says %q: %v", p.name, text, err)
	}
	return id
}

// find awaits a conversation of a name.
func (p *person) find(name string) (v *client.Conversation) {
	p.t.Helper()
	p.await("a conversation called "+name, func() (err error) {
		if v, err = p.Find(name); err != nil {
			v, err = p.Find("#" + name) // a group that another has named
		}
		return err
	})
	return v
}

func (p *person) await(what string, ok func() error) {
	p.t.Helper()
	if err := p.Start(); err != nil {
		p.t.Fatal(err)
	}
	if err := testcluster.Await(within(p.t, time.Minute), what+" at "+p.name, ok); err != nil {
		p.t.Fatal(err)
	}
}

// texts returns what a conversation has heard, notices left out.
func texts(v *client.Conversation) (list []string, err error) {
	entries, err := v.History(0, 100_000)
	for _, e := range entries {
		if e.Kind != "notice" {
			list = append(list, e.Sender+": "+e.Text)
		}
	}
	return list, err
}

// reads awaits that a conversation has heard exactly this.
func (p *person) reads(v *client.Conversation, want ...string) {
	p.t.Helper()
	p.await(fmt.Sprintf("the lines %q", want), func() error {
		got, err := texts(v)
		if err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("got %q", got)
		}
		return err
	})
}

// sees awaits a notice with these words.
func (p *person) sees(v *client.Conversation, words string) {
	p.t.Helper()
	p.await("the notice “"+words+"”", func() error {
		entries, err := v.History(0, 1000)
		var got []string
		for _, e := range entries {
			if e.Kind == "notice" {
				if strings.Contains(e.Text, words) {
					return err
				}
				got = append(got, e.Text)
			}
		}
		return errors.Join(err, fmt.Errorf("got %q", got))
	})
}

// Two people talk, each through a node of their own; the words come once, in order,
// and the sender learns that they did.
func TestDM(t *testing.T) {
	besideOthers(t)
	c := testcluster.StartT(t, testcluster.Options{})
	alice, bob := meet(t, c, "alice", client.Settings{}), meet(t, c, "bob", client.Settings{})
	to := alice.dm(bob)
	alice.say(to, "hello bob")
	back := bob.find("alice")
	bob.reads(back, "alice: hello bob")
	bob.say(back, "hello alice")
	alice.reads(to, "alice: hello bob", "bob: hello alice")
	alice.await("that bob got it", func() error {
		entries, err := to.History(0, 10)
		for _, e := range entries {
			if e.Text == "hello bob" && e.Status == "delivered" {
				return err
			}
		}
		return errors.Join(err, fmt.Errorf("got %+v", entries))
	})
	if again := alice.dm(bob); again.ID() != to.ID() {
		t.Errorf("the second conversation with bob is %s, want %s", again.ID(), to.ID())
	}
}

// A group grows and shrinks; who was removed reads nothing more.
func TestGroup(t *testing.T) {
	besideOthers(t)
	c := testcluster.StartT(t, testcluster.Options{})
	alice, bob, carol := meet(t, c, "alice", client.Settings{}), meet(t, c, "bob", client.Settings{}), meet(t, c, "carol", client.Settings{})
	group, err := alice.CreateGroup(within(t, time.Minute), "friends", "bob")
	if err != nil {
		t.Fatal(err)
	}
	alice.say(group, "one")
	bobs := bob.find("friends")
	bob.reads(bobs, "alice: one")
	if err := group.Invite(within(t, time.Minute), "carol"); err != nil {
		t.Fatal(err)
	}
	carols := carol.find("friends")
	carol.say(carols, "two")
	bob.reads(bobs, "alice: one", "carol: two")
	alice.reads(group, "alice: one", "carol: two")
	if err := group.Rename(within(t, time.Minute), "good friends"); err != nil {
		t.Fatal(err)
	}
	carol.sees(carols, "good friends")
	if err := group.Remove(within(t, time.Minute), "carol"); err != nil {
		t.Fatal(err)
	}
	carol.sees(carols, "removed carol")
	alice.say(group, "three")
	bob.reads(bobs, "alice: one", "carol: two", "alice: three")
	if err := carol.Sync(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	carol.reads(carols, "carol: two")
	if _, err := carols.Send(t.Context(), content.Text{Text: "four"}); !errors.Is(err, client.ErrNotMember) {
		t.Errorf("carol says something after her removal: %v, want ErrNotMember", err)
	}
}
