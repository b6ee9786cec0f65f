package client_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"quicproquo/client"
	"quicproquo/client/content"
	"quicproquo/crypto/mls"
	"quicproquo/crypto/mls/rogue"
	"quicproquo/testcluster"
	"quicproquo/testcluster/roguemember"
)

var (
	rogueKinds = flag.Int("rogue-kinds", 3, "attacks of each family that TestMemberWhoKeepsToNoRule takes; 0: all")
	rogueSeed  = flag.Uint64("rogue-seed", 1, "seed of its choices")
)

// goesBad makes a person one who keeps to no rule.
func (p *person) goesBad() *roguemember.Member {
	return &roguemember.Member{
		Client: p.Client, Dir: p.profile.Dir, Key: testKey, Open: func() (*client.Client, error) {
			p.open(client.Open)
			return p.Client, nil
		},
	}
}

// alwaysTried are attacks that have shown something, in all families that have them.
var alwaysTried = []string{"reinit as it should be", "update, capabilities: no extension", "extensions, none"}

// chosenKinds are some attacks of each family, in the order of their list.
func chosenKinds(n int, seed uint64) (chosen []rogue.Kind) {
	rng := rand.New(rand.NewPCG(seed, 2))
	families := map[string][]rogue.Kind{}
	var names []string
	for _, k := range rogue.Kinds() {
		if families[k.Family] == nil {
			names = append(names, k.Family)
		}
		families[k.Family] = append(families[k.Family], k)
	}
	for _, name := range names {
		all := families[name]
		rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for i, k := range all {
			if n == 0 || i < n || slices.Contains(alwaysTried, k.Name) {
				chosen = append(chosen, k)
			}
		}
	}
	return chosen
}

// Whatever a member sends into a group, through the real server: everybody's receiving
// and everybody's list work, other conversations never notice, and the group goes on or
// says that it is broken.
func TestMemberWhoKeepsToNoRule(t *testing.T) {
	leaveToFullRun(t)
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{})
	// The same people found more groups with each other than a cluster lets anybody.
	for _, pause := range []string{"key_claim_secs", "group_found_secs"} {
		if _, _, err := c.LeaderT(t).Engine().Propose(within(t, time.Minute), testcluster.SettingEntry(pause, 0)); err != nil {
			t.Fatal(err)
		}
	}
	alice, bob := meet(t, c, "alice", client.Settings{}), meet(t, c, "bob", client.Settings{})
	mallory, trudy := meet(t, c, "mallory", client.Settings{}), meet(t, c, "trudy", client.Settings{})
	dm := alice.dm(bob)
	mallory.dm(trudy)
	trudy.find("mallory")
	kinds := chosenKinds(*rogueKinds, *rogueSeed)
	var mine, theirs []string // ids: who commits can change a title
	began := time.Now()
	for i := range kinds {
		g, err := alice.CreateGroup(within(t, time.Minute), groupTitle(i), "bob", "mallory")
		if err != nil {
			t.Fatal(err)
		}
		mine = append(mine, g.ID())
	}
	for i := range kinds {
		theirs = append(theirs, bob.find(groupTitle(i)).ID())
		mallory.find(groupTitle(i))
	}
	t.Logf("%d groups in %v", len(kinds), time.Since(began))
	grips := mallory.strikes(t, trudy, bob, kinds)
	t.Logf("struck after %v", time.Since(began))
	alice.say(dm, "still here")
	for _, p := range []*person{alice, bob} {
		p.unharmed(t)
		p.restart()
		p.unharmed(t)
	}
	if dm, err := alice.Find("bob"); err != nil {
		t.Fatal(err)
	} else if back := bob.find("alice"); err == nil {
		bob.reads(back, "alice: still here")
		bob.say(back, "me too")
		alice.reads(dm, "alice: still here", "bob: me too")
	}
	for i, k := range kinds {
		if grips[i] > 0 {
			alice.continues(t, bob, [2]string{mine[i], theirs[i]}, k)
		}
	}
	t.Logf("done after %v", time.Since(began))
}

func groupTitle(i int) string { return fmt.Sprintf("group %d", i) }

// strikes has a rogue make one attack on each group, and returns how many messages each
// consisted of.
func (p *person) strikes(t *testing.T, partner, victim *person, kinds []rogue.Kind) []int {
	t.Helper()
	friend := partner.identity(t)
	bad := p.goesBad()
	grips, err := bad.Take()
	if err != nil {
		t.Fatal(err)
	}
	sent := make([]int, len(kinds))
	for i, k := range kinds {
		at := slices.IndexFunc(grips, func(g *roguemember.Grip) bool { return g.Row.Title == groupTitle(i) })
		if at < 0 {
			t.Fatalf("the rogue is not in %s", groupTitle(i))
		}
		sent[i], err = grips[at].Strike(within(t, time.Minute), roguemember.Blow{
			Kind: k, Dice: rand.New(rand.NewPCG(*rogueSeed, uint64(i))), How: roguemember.How(i % 2),
			Victim: victim.Account().Key, Partner: friend,
		})
		if err != nil {
			t.Errorf("%s: %s: %v", k.Family, k.Name, err)
		}
	}
	return sent
}

// identity is how somebody is known in groups.
func (p *person) identity(t *testing.T) *mls.Identity {
	t.Helper()
	grips, err := p.goesBad().Take()
	if err != nil || len(grips) == 0 {
		t.Fatalf("%s has no keys: %v", p.name, err)
	}
	return grips[0].Identity()
}

// unharmed checks that somebody receives, and sees a list of all conversations.
func (p *person) unharmed(t *testing.T) {
	t.Helper()
	if err := p.Sync(within(t, 2*time.Minute)); err != nil {
		t.Errorf("%s receives nothing any more: %v", p.name, err)
	}
	list, err := p.Conversations()
	if err != nil {
		t.Errorf("%s has no list of conversations: %v", p.name, err)
	}
	for _, v := range list {
		if _, err := v.Info(); err != nil {
			t.Errorf("%s can't see what a conversation is: %v", p.name, err)
		}
	}
}

// continues checks that a group goes on for two people, or tells both that it does not.
func (p *person) continues(t *testing.T, other *person, ids [2]string, k rogue.Kind) {
	t.Helper()
	said := "after the attack"
	mine, err := p.Find(ids[0])
	if err != nil {
		t.Errorf("%s: %s: %s has lost the group: %v", k.Family, k.Name, p.name, err)
		return
	}
	theirs, err := other.Find(ids[1])
	if err != nil {
		t.Errorf("%s: %s: %s has lost the group: %v", k.Family, k.Name, other.name, err)
		return
	}
	if _, err := mine.Send(t.Context(), content.Text{Text: said}); err != nil && !errors.Is(err, client.ErrBroken) {
		t.Errorf("%s: %s: %s can't send: %v", k.Family, k.Name, p.name, err)
	}
	err = testcluster.Await(within(t, time.Minute), "the group to go on, or to be shown as broken", func() error {
		got, err := texts(theirs)
		if err == nil && slices.Contains(got, p.name+": "+said) {
			return nil
		}
		for _, v := range []*client.Conversation{mine, theirs} {
			if info, e := v.Info(); e == nil && info.State == "broken" && info.Reason != "" {
				return nil
			}
		}
		a, _ := mine.Info()
		b, _ := theirs.Info()
		return errors.Join(err, fmt.Errorf("%s is %s (%s), %s is %s (%s)", p.name, a.State, a.Reason, other.name, b.State, b.Reason))
	})
	if err != nil {
		t.Errorf("%s: %s: %v", k.Family, k.Name, err)
	}
}
