package client

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"quicproquo/client/groupstate"
	"quicproquo/crypto/mls"
	wire "quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/tree"
)

// A member takes the group's data out of its context and then says that its client does
// not know them: no commit can bring them back while it is in. An admin's client goes on
// all the same with whatever it wants, without that member, and the data are back; in a
// conversation of two the other stays, and commits go on without them.
func TestMemberWhoCanNotHoldTheData(t *testing.T) {
	t.Parallel()
	for _, dm := range []bool{false, true} {
		for _, w := range []wish{{Kind: wishRekey}, {Kind: wishRename, Title: "renamed"}, {Kind: wishTimer, Seconds: 60}, {Kind: wishInvite}, {Kind: wishDevices}} {
			if dm && w.Kind != wishRekey {
				continue
			}
			t.Run(fmt.Sprintf("dm %t, %s", dm, w.Kind), func(t *testing.T) {
				t.Parallel()
				mallory, carol, bob := newActor(t, "mallory"), newActor(t, "carol"), newOffline(t, "bob", Settings{Invitations: FromEverybody})
				bob.knows(mallory, carol)
				name, data, id := "friends", (*groupstate.Data)(nil), []byte(nil)
				if data, id = groupData(name, mallory); dm {
					name = "mallory"
					data, id = dmData()
				}
				data.SetAdmin(bob.account(), !dm)
				link, err := groupstate.NewLinkSecret()
				if err != nil {
					t.Fatal(err)
				}
				if !dm {
					data.Link = link
				}
				mallory.founds(data, id)
				bob.invited(mallory)
				none := tree.Extensions{}
				emptied, _ := mallory.commits(mls.CommitOptions{Extensions: &none})
				mallory.identity.Extensions = nil
				unable, _ := mallory.commits(mls.CommitOptions{})
				bob.gets(emptied, unable)
				if leaf := mallory.group.OwnLeaf(); leaf.Capabilities.SupportsExtension(groupstate.ExtensionType) {
					t.Fatal("mallory's leaf supports the data: this tests nothing")
				}
				p := prepared{}
				if w.Kind == wishInvite || w.Kind == wishDevices {
					kp, err := carol.identity.NewKeyPackage(bob.at, mls.KeyPackageOptions{})
					if err != nil {
						t.Fatal(err)
					}
					p.add = []*wire.KeyPackage{kp.Public}
					w.Accounts = []AccountKey{carol.account}
				}
				bob.tries(bob.wishes(name, w), p)
				call := bob.adopts(name)
				next, ev, err := mallory.group.Process(call.Deliveries[0].Payload[1:], bob.at)
				if err != nil {
					t.Fatalf("mallory's client, which is right about MLS, refuses bob's commit: %v", err)
				}
				began, ok := ev.(*mls.EpochStarted)
				if !ok || began.RemovedUs == dm {
					t.Fatalf("the commit is %+v, want that mallory is out: %t", ev, !dm)
				}
				bob.inGroup(func(_ *turn, row *talk) error {
					_, err := groupstate.DataOf(row.group.Public().Context().Extensions)
					if (err == nil) == dm {
						t.Errorf("the group's data: %v, want them back: %t", err, !dm)
					}
					return nil
				})
				if dm {
					mallory.group = next
					bob.gets(mallory.says(text("still here")))
					bob.reads(name, "mallory: still here")
					return
				}
				told := func(e Entry) bool { return e.Text == "bob removed mallory, "+unfitNote }
				if w.Kind == wishRename {
					name = w.Title
				}
				if !slices.ContainsFunc(bob.history(name), told) {
					t.Errorf("bob's history does not say why mallory was removed")
				}
				bob.inGroup(func(_ *turn, row *talk) error {
					if data := row.data(); data.Listed(mallory.account) || len(data.Link) == 0 || string(data.Link) == string(link) {
						t.Errorf("mallory is an admin: %t, has the group's link: %t, want neither", data.Listed(mallory.account), string(data.Link) == string(link))
					}
					return nil
				})
			})
		}
	}
}

// What can't be agreed on in such a conversation of two is refused with a reason, and not
// said to be done.
func TestNothingIsAgreedWithWhoCanNotHoldIt(t *testing.T) {
	t.Parallel()
	mallory, bob, _ := joined(t, "mallory", true)
	none := tree.Extensions{}
	emptied, _ := mallory.commits(mls.CommitOptions{Extensions: &none})
	mallory.identity.Extensions = nil
	unable, _ := mallory.commits(mls.CommitOptions{})
	bob.gets(emptied, unable)
	timer := bob.wishes("mallory", wish{Kind: wishTimer, Seconds: 60})
	told := bob.waiter(timer)
	bob.tries(timer, prepared{})
	if err, done := bob.ended(told); !done || !errors.Is(err, ErrIncompatible) {
		t.Errorf("who waits for the timer is told %v (%t), want ErrIncompatible", err, done)
	}
}
