package client

import (
	"slices"
	"testing"

	"quicproquo/client/conn"
	"quicproquo/client/groupstate"
	"quicproquo/crypto/mls"
	"quicproquo/schemas"
)

// A member of the group makes a way back that is wrong in one of its fields, and the
// cluster keeps it as the record: whoever has fallen behind is not led anywhere else, goes
// on looking, and comes back by the next true one.
func TestWayBackOfAMemberWhoLies(t *testing.T) {
	t.Parallel()
	sealed := func(t *testing.T, g *mls.Group, past *groupstate.Known) []byte {
		t.Helper()
		b, err := groupstate.SealReturn(g, past, nil, schemas.MaxGroupInfo)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	type scene struct {
		alice        *actor
		past         *groupstate.Known
		old, present []byte
		other        *mls.Group // another group in which both are
	}
	for what, wrong := range map[string]func(t *testing.T, s *scene) []byte{
		"none":               func(*testing.T, *scene) []byte { return nil },
		"of a later version": func(_ *testing.T, s *scene) []byte { return append([]byte{9}, s.present[1:]...) },
		"of no version":      func(_ *testing.T, s *scene) []byte { return append([]byte{0}, s.present[1:]...) },
		"of another epoch outside": func(_ *testing.T, s *scene) []byte {
			b := slices.Clone(s.present)
			b[8] ^= 1
			return b
		},
		"cut":         func(_ *testing.T, s *scene) []byte { return s.present[:len(s.present)/2] },
		"cut by one":  func(_ *testing.T, s *scene) []byte { return s.present[:len(s.present)-1] },
		"with a tail": func(_ *testing.T, s *scene) []byte { return append(slices.Clone(s.present), 0) },
		"the last byte wrong": func(_ *testing.T, s *scene) []byte {
			b := slices.Clone(s.present)
			b[len(b)-1] ^= 1
			return b
		},
		"shares wrong": func(_ *testing.T, s *scene) []byte {
			b := slices.Clone(s.present)
			b[40] ^= 1
			return b
		},
		"of an epoch that is over": func(_ *testing.T, s *scene) []byte { return s.old },
		"without ties": func(t *testing.T, s *scene) []byte {
			return sealed(t, s.alice.group, nil)
		},
		"tied to another past": func(t *testing.T, s *scene) []byte {
			return sealed(t, s.alice.group, (*groupstate.Known)(nil).Next(nil, s.other))
		},
		"of another group": func(t *testing.T, s *scene) []byte {
			return sealed(t, s.other, s.past)
		},
	} {
		for _, dm := range []bool{false, true} {
			t.Run(what, func(t *testing.T) {
				t.Parallel()
				alice, bob := newActor(t, "alice"), newOffline(t, "bob", Settings{Invitations: FromEverybody})
				bob.knows(alice)
				name := "friends"
				data, id := groupData(name, alice)
				if dm {
					data, id = dmData()
					name = "alice"
				}
				other, _ := groupData("elsewhere", alice)
				second := newID()
				alice.founds(other, second[:])
				bob.invited(alice)
				s := &scene{alice: alice, other: alice.group}
				alice.founds(data, id)
				bob.invited(alice)
				s.past = (*groupstate.Known)(nil).Next(nil, alice.group)
				s.old = sealed(t, alice.group, s.past)
				step := func() []byte {
					before := alice.group
					commit, _ := alice.commits(mls.CommitOptions{})
					s.past = s.past.Next(before, alice.group)
					return commit
				}
				step() // bob never gets it
				s.present = sealed(t, alice.group, s.past)
				bad := wrong(t, s)
				rejoin := bob.wishes(name, wish{Kind: wishRejoin})
				for range 4 {
					bob.tries(rejoin, prepared{record: conn.Group{Epoch: alice.group.Epoch(), GroupInfo: bad}, current: true})
				}
				if p := bob.pending(name); p != nil {
					t.Fatal("bob follows it")
				}
				if info := bob.state("elsewhere"); info.State != "active" {
					t.Errorf("another conversation is %s (%s), want active", info.State, info.Reason)
				}
				step()
				bob.comesBack(name, rejoin, alice, s.past)
				bob.gets(alice.says(text("there you are")))
				bob.reads(name, "alice: there you are")
			})
		}
	}
}
