package client_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"quicproquo/client"
	"quicproquo/client/content"
	"quicproquo/testcluster"
)

// Both open the conversation at the same time: there is one, and both hear
// everything.
func TestBothOpenADM(t *testing.T) {
	leaveToFullRun(t)
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{})
	alice, bob := meet(t, c, "alice", client.Settings{}), meet(t, c, "bob", client.Settings{})
	var wg sync.WaitGroup
	for _, pair := range [][2]*person{{alice, bob}, {bob, alice}} {
		wg.Go(func() {
			v, err := pair[0].DM(within(t, time.Minute), pair[1].name)
			if err != nil {
				t.Errorf("%s: %v", pair[0].name, err)
				return
			}
			if _, err := v.Send(t.Context(), content.Text{Text: "from " + pair[0].name}); err != nil {
				t.Errorf("%s: %v", pair[0].name, err)
			}
		})
	}
	wg.Wait()
	for _, p := range []*person{alice, bob} {
		other := map[string]string{"alice": "bob", "bob": "alice"}[p.name]
		p.await("both lines", func() error {
			v, err := p.Find(other)
			if err != nil {
				return err
			}
			got, err := texts(v)
			if err == nil && len(got) != 2 {
				err = fmt.Errorf("got %q", got)
			}
			return err
		})
		if list, err := p.Conversations(); err != nil || len(list) != 1 {
			t.Errorf("%s has %d conversations (%v), want 1", p.name, len(list), err)
		}
	}
}

// A client that was closed sends what it was told to, and gets what came meanwhile.
func TestRestart(t *testing.T) {
	leaveToFullRun(t)
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{})
	alice, bob := meet(t, c, "alice", client.Settings{}), meet(t, c, "bob", client.Settings{})
	to := alice.dm(bob)
	alice.say(to, "one")
	back := bob.find("alice")
	bob.reads(back, "alice: one")
	if err := bob.Close(); err != nil {
		t.Fatal(err)
	}
	alice.say(to, "two")
	alice.restart()
	to = alice.find("bob")
	alice.say(to, "three")
	if err := alice.Flush(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	bob.open(client.Open)
	back = bob.find("alice")
	bob.reads(back, "alice: one", "alice: two", "alice: three")
	bob.say(back, "four")
	alice.reads(to, "alice: one", "alice: two", "alice: three", "bob: four")
}

// By its link people come in until it is replaced; a member who leaves is let go
// without being asked.
func TestLinkAndLeave(t *testing.T) {
	leaveToFullRun(t)
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{})
	alice, bob, carol := meet(t, c, "alice", client.Settings{}), meet(t, c, "bob", client.Settings{}), meet(t, c, "carol", client.Settings{})
	ctx := within(t, 2*time.Minute)
	group, err := alice.CreateGroup(ctx, "open house")
	if err != nil {
		t.Fatal(err)
	}
	link, err := group.Link(ctx, true)
	if err != nil {
		t.Fatal(err)
	}
	bobs, err := bob.JoinLink(ctx, link)
	if err != nil {
		t.Fatalf("bob joins by link: %v", err)
	}
	bob.say(bobs, "knock")
	alice.reads(group, "bob: knock")
	alice.sees(group, "bob joined by the group's link")
	if info, err := bobs.Info(); err != nil || info.Title != "open house" || info.Admin {
		t.Errorf("bob sees %+v (%v), want the title and no admin", info, err)
	}
	if err := bobs.Rename(ctx, "mine"); !errors.Is(err, client.ErrNotAdmin) {
		t.Errorf("bob renames the group: %v, want ErrNotAdmin", err)
	}
	if err := group.Promote(ctx, "bob"); err != nil {
		t.Fatal(err)
	}
	bob.sees(bobs, bob.name+" an admin")
	if err := bobs.Rename(ctx, "our house"); err != nil {
		t.Errorf("bob renames the group as admin: %v", err)
	}
	if _, err := bobs.Link(ctx, false); err != nil {
		t.Fatal(err)
	}
	if _, err := carol.JoinLink(ctx, link); err == nil {
		t.Error("carol came in by a link that is off")
	}
	if err := group.Leave(ctx); err != nil {
		t.Fatalf("alice leaves: %v", err)
	}
	bob.sees(bobs, "alice left")
	if members, err := bobs.Members(); err != nil || len(members) != 1 {
		t.Errorf("%d members are left (%v), want bob", len(members), err)
	}
}

// Who asks for the same change at the same time as others gets it, or what they
// wanted too.
func TestCommitRaces(t *testing.T) {
	besideOthers(t)
	c := testcluster.StartT(t, testcluster.Options{})
	names := []string{"alice", "bob", "carol"}
	var people []*person
	for _, name := range names {
		people = append(people, meet(t, c, name, client.Settings{}))
	}
	ctx := within(t, 3*time.Minute)
	group, err := people[0].CreateGroup(ctx, "racers", names[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names[1:] {
		if err := group.Promote(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	var rooms []*client.Conversation
	for _, p := range people {
		v := p.find("racers")
		rooms = append(rooms, v)
		p.await("to be an admin", func() error {
			if info, err := v.Info(); err != nil || !info.Admin {
				return errors.Join(err, fmt.Errorf("it is %+v", info))
			}
			return nil
		})
	}
	var wg sync.WaitGroup
	for i, p := range people {
		v := rooms[i]
		wg.Go(func() {
			for n := range 3 {
				if err := v.Rename(ctx, fmt.Sprintf("by %s %d", p.name, n)); err != nil {
					t.Errorf("%s renames: %v", p.name, err)
				}
				if err := v.Rekey(ctx); err != nil {
					t.Errorf("%s renews keys: %v", p.name, err)
				}
				people[i].say(v, fmt.Sprintf("%s %d", p.name, n))
			}
		})
	}
	wg.Wait()
	people[0].await("one epoch and all lines at all", func() error {
		var states []string
		for _, p := range people {
			list, err := p.Conversations()
			if err != nil || len(list) != 1 {
				return errors.Join(err, fmt.Errorf("%d conversations", len(list)))
			}
			info, err := list[0].Info()
			if err != nil {
				return err
			}
			got, err := texts(list[0])
			if err != nil || len(got) != 9 {
				return errors.Join(err, fmt.Errorf("%s has %d lines", p.name, len(got)))
			}
			states = append(states, fmt.Sprintf("%d %s %s", info.Epoch, info.Title, info.State))
		}
		for _, s := range states[1:] {
			if s != states[0] {
				return errors.New(strings.Join(states, ", "))
			}
		}
		return nil
	})
}
