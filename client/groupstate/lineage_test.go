package groupstate_test

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"quicproquo/client/groupstate"
	"quicproquo/crypto/identity"
	"quicproquo/crypto/mls"
	wire "quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

var noon = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

var config = &mls.Config{Auth: groupstate.Authenticator{}, PrivateHandshake: true}

// device is somebody's device in groups, with what it knows of one.
type device struct {
	t       testing.TB
	name    string
	account ed25519.PrivateKey
	id      *mls.Identity
	who     groupstate.Member
	group   *mls.Group
	known   *groupstate.Known
}

func newDevice(tb testing.TB, name string) *device {
	tb.Helper()
	_, account, err := ed25519.GenerateKey(nil)
	if err != nil {
		tb.Fatal(err)
	}
	return deviceOf(tb, name, account, 1)
}

// deviceOf is one of several devices of an account.
func deviceOf(tb testing.TB, name string, account ed25519.PrivateKey, n byte) *device {
	tb.Helper()
	s, err := suite.Lookup(suite.X25519AES128SHA256Ed25519)
	if err != nil {
		tb.Fatal(err)
	}
	signer, err := s.GenerateSigner()
	if err != nil {
		tb.Fatal(err)
	}
	c := groupstate.Credential{Member: groupstate.Member{Account: [32]byte(account.Public().(ed25519.PublicKey)), Device: [16]byte{n}}}
	signature, err := identity.Device(c.Account, c.Device, [32]byte(signer.Public())).Sign(account)
	if err != nil {
		tb.Fatal(err)
	}
	copy(c.Signature[:], signature)
	return &device{t: tb, name: name, account: account, who: c.Member, id: &mls.Identity{
		Signer: signer, Credential: c.MLS(), Extensions: []tree.ExtensionType{groupstate.ExtensionType},
		Proposals: []tree.ProposalType{tree.ProposalSelfRemove},
	}}
}

func (d *device) enter(g *mls.Group) { d.known, d.group = d.known.Next(d.group, g), g }

// found makes a group with this device as its only member and admin.
func (d *device) found(id string, kind groupstate.Kind, title string) {
	d.t.Helper()
	data := &groupstate.Data{Kind: kind, Title: title}
	if kind == groupstate.KindGroup {
		data.SetAdmin(d.who.Account, true)
		if err := data.SetGrant([]byte(id), 0, [][32]byte{d.who.Account}, d.id); err != nil {
			d.t.Fatal(err)
		}
	}
	g, err := mls.Create(config, d.id, []byte(id), data.Extensions(nil), noon)
	if err != nil {
		d.t.Fatal(err)
	}
	d.enter(g)
}

// commit commits and gives it to others, but to those who are away.
func (d *device) commit(opt mls.CommitOptions, others ...*device) *mls.Pending {
	d.t.Helper()
	p, err := d.group.Commit(opt, noon)
	if err != nil {
		d.t.Fatalf("%s commits: %v", d.name, err)
	}
	for _, o := range others {
		g, _, err := o.group.Process(p.Commit, noon)
		if err != nil {
			d.t.Fatalf("%s takes %s's commit: %v", o.name, d.name, err)
		}
		o.enter(g)
	}
	d.enter(p.Next)
	return p
}

// add lets devices in; who is in already gets the commit. change may alter the data,
// and grant says whether the committer signs them.
func (d *device) add(joiners []*device, grant bool, change func(*groupstate.Data), others ...*device) {
	d.t.Helper()
	opt := mls.CommitOptions{}
	var kps []*mls.KeyPackage
	roster := d.known.Accounts
	for _, j := range joiners {
		kp, err := j.id.NewKeyPackage(noon, mls.KeyPackageOptions{})
		if err != nil {
			d.t.Fatal(err)
		}
		kps = append(kps, kp)
		opt.Add = append(opt.Add, kp.Public)
		roster = append(slices.Clip(roster), j.who.Account)
	}
	opt.Extensions = d.extensions(roster, grant, change)
	tie := d.known.TieWelcome(d.group.ID(), d.group.Epoch()+1, d.who, func(a [32]byte) bool {
		return slices.ContainsFunc(joiners, func(j *device) bool { return j.who.Account == a })
	})
	if tie != nil {
		opt.InfoExtensions = tree.Extensions{{Type: groupstate.InfoExtensionType, Data: tie}}
	}
	p := d.commit(opt, others...)
	for i, j := range joiners {
		g, err := mls.Join(config, kps[i:i+1], p.Welcome, mls.JoinOptions{}, noon)
		if err != nil {
			d.t.Fatalf("%s joins: %v", j.name, err)
		}
		j.group, j.known = g, j.known.Next(nil, g)
	}
}

func (d *device) extensions(roster [][32]byte, grant bool, change func(*groupstate.Data)) *tree.Extensions {
	d.t.Helper()
	data, err := groupstate.DataOf(d.group.Public().Context().Extensions)
	if err != nil {
		d.t.Fatal(err)
	}
	data = data.Clone()
	if change != nil {
		change(data)
	}
	if grant {
		roster = slices.Clone(roster)
		slices.SortFunc(roster, func(a, b [32]byte) int { return slices.Compare(a[:], b[:]) })
		if err := data.SetGrant(d.group.ID(), d.group.Epoch()+1, slices.Compact(roster), d.id); err != nil {
			d.t.Fatal(err)
		}
	}
	ext := data.Extensions(d.group.Public().Context().Extensions)
	return &ext
}

func (d *device) leaf(who *device) tree.LeafIndex {
	d.t.Helper()
	for _, m := range d.group.Members() {
		if c, err := groupstate.ParseCredential(m.Leaf.Credential); err == nil && c.Member == who.who {
			return m.Index
		}
	}
	d.t.Fatalf("%s is not in %s's group", who.name, d.name)
	return 0
}

// removes removes somebody, with an admin's grant.
func (d *device) removes(who *device, others ...*device) {
	d.t.Helper()
	roster := slices.DeleteFunc(slices.Clone(d.known.Accounts), func(a [32]byte) bool { return a == who.who.Account })
	d.commit(mls.CommitOptions{Remove: []tree.LeafIndex{d.leaf(who)}, Extensions: d.extensions(roster, true, nil)}, others...)
}

// seal makes the way back into a device's group as it is there.
func (d *device) seal() []byte {
	d.t.Helper()
	b, err := groupstate.SealReturn(d.group, d.known, nil, 1<<20)
	if err != nil {
		d.t.Fatal(err)
	}
	return b
}

// sealPast is seal, tied to what was held before only.
func (d *device) sealPast(held *groupstate.Known) []byte {
	d.t.Helper()
	b, err := groupstate.SealReturn(d.group, held, nil, 1<<20)
	if err != nil {
		d.t.Fatal(err)
	}
	return b
}

// phone adds a second device of somebody's to everybody's group.
func (d *device) phone(of *device, others ...*device) *device {
	d.t.Helper()
	phone := deviceOf(d.t, of.name+"'s phone", of.account, 2)
	d.add([]*device{phone}, false, nil, others...)
	return phone
}

// takes judges a way back as the client does: opened, verified, allowed, tied.
func (d *device) takes(sealed []byte) error {
	back, err := groupstate.OpenReturn(d.group, nil, sealed)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	var refused error
	_, err = mls.ExternalJoin(config, d.id, back.GroupInfo, mls.ExternalOptions{Resync: true, Check: func(p *mls.PublicGroup, m mls.Member) error {
		offer, err := groupstate.OfferOf(p, m)
		if err == nil {
			err = d.known.Allows(offer)
		}
		if err == nil {
			err = back.Continues(d.group.ID(), d.known)
		}
		refused = err
		return err
	}}, noon)
	if refused != nil {
		return refused
	}
	return err
}

func trio(t *testing.T) (alice, bob, carol *device) {
	t.Helper()
	alice, bob, carol = newDevice(t, "alice"), newDevice(t, "bob"), newDevice(t, "carol")
	alice.found("the group's id 16", groupstate.KindGroup, "friends")
	alice.add([]*device{bob, carol}, true, nil)
	return alice, bob, carol
}

// Whoever was away comes back by the word of those who may give it, however long it
// was; what does not prove that it continues the group is refused, and what is another
// group certainly can't be accepted by anybody.
func TestLineage(t *testing.T) {
	type scene struct {
		name string
		play func(t *testing.T) (away *device, sealed []byte)
		want error // nil: taken
	}
	for _, s := range []scene{
		{"an admin's changes, one epoch", func(t *testing.T) (*device, []byte) {
			alice, bob, carol := trio(t)
			alice.removes(carol)
			return bob, alice.seal()
		}, nil},
		{"a hundred epochs", func(t *testing.T) (*device, []byte) {
			alice, bob, carol := trio(t)
			for range 50 {
				alice.commit(mls.CommitOptions{}, carol)
				carol.commit(mls.CommitOptions{}, alice)
			}
			return bob, carol.seal()
		}, nil},
		{"a member's word after an admin's changes, with the admin's grant", func(t *testing.T) (*device, []byte) {
			alice, bob, carol := trio(t)
			dave := newDevice(t, "dave")
			alice.add([]*device{dave}, true, func(d *groupstate.Data) { d.Title = "best friends" }, carol)
			carol.commit(mls.CommitOptions{}, alice, dave)
			return bob, carol.seal()
		}, nil},
		{"a member's word after an admin's changes without a grant", func(t *testing.T) (*device, []byte) {
			alice, bob, carol := trio(t)
			dave := newDevice(t, "dave")
			alice.add([]*device{dave}, false, nil, carol)
			carol.commit(mls.CommitOptions{}, alice, dave)
			return bob, carol.seal()
		}, groupstate.ErrLineage},
		{"a member's own changes", func(t *testing.T) (*device, []byte) {
			_, bob, carol := trio(t)
			carol.add([]*device{newDevice(t, "eve")}, false, nil)
			return bob, carol.seal()
		}, groupstate.ErrLineage},
		{"a member's own changes with its own grant", func(t *testing.T) (*device, []byte) {
			_, bob, carol := trio(t)
			carol.add([]*device{newDevice(t, "eve")}, true, nil)
			return bob, carol.seal()
		}, groupstate.ErrLineage},
		{"a member makes itself admin and grants", func(t *testing.T) (*device, []byte) {
			_, bob, carol := trio(t)
			carol.commit(mls.CommitOptions{Extensions: carol.extensions(carol.known.Accounts, true, func(d *groupstate.Data) { d.SetAdmin(carol.who.Account, true) })})
			return bob, carol.seal()
		}, groupstate.ErrLineage},
		{"a member drops the others but keeps an old grant", func(t *testing.T) (*device, []byte) {
			alice, bob, carol := trio(t)
			carol.commit(mls.CommitOptions{Remove: []tree.LeafIndex{carol.leaf(alice)}})
			return bob, carol.seal()
		}, groupstate.ErrLineage},
		{"a newcomer's word: it held no epoch that the other held", func(t *testing.T) (*device, []byte) {
			alice, bob, carol := trio(t)
			dave := newDevice(t, "dave")
			alice.add([]*device{dave}, true, func(d *groupstate.Data) { d.SetAdmin(dave.who.Account, true) }, carol)
			dave.commit(mls.CommitOptions{}, alice, carol)
			return bob, dave.seal()
		}, groupstate.ErrAnother},
		{"another group of the same id by a stranger who knows the leaf", func(t *testing.T) (*device, []byte) {
			_, bob, _ := trio(t)
			mallory := newDevice(t, "mallory")
			mallory.found("the group's id 16", groupstate.KindGroup, "friends")
			mallory.addOld(bob)
			return bob, mallory.seal()
		}, groupstate.ErrAnother},
		{"another group of the same id by a member who was removed", func(t *testing.T) (*device, []byte) {
			alice, bob, carol := trio(t)
			alice.removes(carol, bob)
			carol.group, carol.known = nil, nil
			carol.found("the group's id 16", groupstate.KindGroup, "friends")
			carol.addOld(bob)
			return bob, carol.seal()
		}, groupstate.ErrAnother},
		{"another group of the same id by an admin without the old keys", func(t *testing.T) (*device, []byte) {
			alice, bob, _ := trio(t)
			alice.group, alice.known = nil, nil
			alice.found("the group's id 16", groupstate.KindGroup, "friends")
			alice.addOld(bob)
			for alice.group.Epoch() <= bob.group.Epoch() {
				alice.commit(mls.CommitOptions{})
			}
			return bob, alice.seal()
		}, groupstate.ErrTie},
		{"a conversation of two that got a third", func(t *testing.T) (*device, []byte) {
			alice, bob := newDevice(t, "alice"), newDevice(t, "bob")
			alice.found("a channel of 16.", groupstate.KindDM, "")
			alice.add([]*device{bob}, false, nil)
			alice.add([]*device{newDevice(t, "eve")}, false, nil)
			return bob, alice.seal()
		}, groupstate.ErrAnother},
		{"a removed device of a member, tied to the last epoch that it held", func(t *testing.T) (*device, []byte) {
			alice, bob, carol := trio(t)
			phone := alice.phone(carol, bob, carol)
			held := phone.known
			alice.commit(mls.CommitOptions{Remove: []tree.LeafIndex{alice.leaf(phone)}}, bob, carol)
			phone.commit(mls.CommitOptions{})
			phone.commit(mls.CommitOptions{})
			return bob, phone.sealPast(held)
		}, groupstate.ErrAnother},
		{"a removed device of an admin, after many epochs and a restart", func(t *testing.T) (*device, []byte) {
			alice, bob, carol := trio(t)
			phone := alice.phone(alice, bob, carol)
			held := phone.known
			alice.commit(mls.CommitOptions{Remove: []tree.LeafIndex{alice.leaf(phone)}}, bob, carol)
			for range 40 {
				alice.commit(mls.CommitOptions{}, bob, carol)
			}
			for range 50 {
				phone.commit(mls.CommitOptions{})
			}
			saved, err := groupstate.ParseKnown(bob.known.AppendTo(nil))
			if err != nil {
				t.Fatal(err)
			}
			bob.known = saved
			return bob, phone.sealPast(held)
		}, groupstate.ErrAnother},
		{"a device that was removed and is back", func(t *testing.T) (*device, []byte) {
			alice, bob, carol := trio(t)
			phone := alice.phone(carol, bob, carol)
			alice.commit(mls.CommitOptions{Remove: []tree.LeafIndex{alice.leaf(phone)}}, bob, carol)
			alice.add([]*device{phone}, false, nil, bob, carol)
			phone.commit(mls.CommitOptions{}, alice, carol)
			return bob, phone.seal()
		}, nil},
		{"a device that is new here", func(t *testing.T) (*device, []byte) {
			alice, bob, carol := trio(t)
			phone := alice.phone(carol, carol)
			phone.commit(mls.CommitOptions{}, alice, carol)
			return bob, alice.seal()
		}, nil},
		{"a group that became a conversation of two", func(t *testing.T) (*device, []byte) {
			alice, bob := newDevice(t, "alice"), newDevice(t, "bob")
			alice.found("the group's id 16", groupstate.KindGroup, "friends")
			alice.add([]*device{bob}, true, nil)
			alice.commit(mls.CommitOptions{Extensions: alice.extensions(alice.known.Accounts, true, func(d *groupstate.Data) { d.Kind = groupstate.KindDM })})
			return bob, alice.seal()
		}, groupstate.ErrAnother},
		{"a member takes in whom an admin has removed, with the grant of before", func(t *testing.T) (*device, []byte) {
			alice, bob, carol := trio(t)
			dave := newDevice(t, "dave")
			alice.add([]*device{dave}, true, nil, bob, carol)
			alice.removes(carol, bob, dave)
			old, _ := groupstate.DataOf(carol.group.Public().Context().Extensions)
			dave.add([]*device{carol}, false, func(d *groupstate.Data) { d.Grant = old.Grant })
			return bob, dave.seal()
		}, groupstate.ErrLineage},
		{"a member drops the admin and keeps a grant that the other has not seen", func(t *testing.T) (*device, []byte) {
			alice, bob, carol := trio(t)
			alice.commit(mls.CommitOptions{Extensions: alice.extensions(alice.known.Accounts, true, func(d *groupstate.Data) { d.Title = "new" })}, carol)
			carol.commit(mls.CommitOptions{Remove: []tree.LeafIndex{carol.leaf(alice)}})
			return bob, carol.seal()
		}, groupstate.ErrLineage},
		{"a member changes what an admin has signed, and the grant's digests with it", func(t *testing.T) (*device, []byte) {
			alice, bob, carol := trio(t)
			alice.commit(mls.CommitOptions{Extensions: alice.extensions(alice.known.Accounts, true, func(d *groupstate.Data) { d.Title = "new" })}, carol)
			carol.add([]*device{newDevice(t, "eve")}, false, func(d *groupstate.Data) { d.Title = "mine" })
			carol.commit(mls.CommitOptions{Extensions: carol.extensions(nil, false, func(d *groupstate.Data) { groupstate.ForgeGrant(d, carol.known.Accounts) })})
			return bob, carol.seal()
		}, groupstate.ErrLineage},
		{"a member grants in an admin's name", func(t *testing.T) (*device, []byte) {
			alice, bob, carol := trio(t)
			carol.add([]*device{newDevice(t, "eve")}, false, nil)
			posing := *carol.id
			posing.Credential = alice.id.Credential
			carol.commit(mls.CommitOptions{Extensions: carol.extensions(nil, false, func(d *groupstate.Data) {
				if err := d.SetGrant(carol.group.ID(), carol.group.Epoch()+1, carol.known.Accounts, &posing); err != nil {
					t.Fatal(err)
				}
			})})
			return bob, carol.seal()
		}, groupstate.ErrLineage},
	} {
		t.Run(s.name, func(t *testing.T) {
			away, sealed := s.play(t)
			err := away.takes(sealed)
			if s.want == nil && err != nil || !errors.Is(err, s.want) {
				t.Errorf("%s got %v, want %v", away.name, err, s.want)
			}
		})
	}
}

// addOld adds a device with the leaf that it has in another group: its key is public.
func (d *device) addOld(who *device) {
	d.t.Helper()
	kp, err := who.id.NewKeyPackage(noon, mls.KeyPackageOptions{})
	if err != nil {
		d.t.Fatal(err)
	}
	// The victim's client would know the private key of this leaf: give it that.
	p := d.commit(mls.CommitOptions{Add: []*wire.KeyPackage{kp.Public}})
	g, err := mls.Join(config, []*mls.KeyPackage{kp}, p.Welcome, mls.JoinOptions{}, noon)
	if err != nil {
		d.t.Fatal(err)
	}
	who.group = g // what it knows stays that of the true group
}

// Who was removed and is added again by an admin continues; a welcome into a group of
// the same id by anybody else does not, nor does one of the same inviter that is not
// tied to what was held.
func TestWelcomeContinues(t *testing.T) {
	check := func(who *device, known *groupstate.Known, by *device) error {
		offer, err := groupstate.OfferOf(who.group.Public(), mls.Member{Leaf: by.group.Public().Tree().Leaf(by.group.Self())})
		if err != nil {
			return err
		}
		return known.CheckWelcome(who.group, offer)
	}
	alice, bob, carol := trio(t)
	held := bob.known
	alice.removes(bob, carol)
	alice.commit(mls.CommitOptions{}, carol)
	alice.add([]*device{bob}, true, nil, carol)
	if err := check(bob, held, alice); err != nil {
		t.Errorf("added again by the admin: %v, want that it continues", err)
	}
	alice.removes(bob, carol)
	carol.add([]*device{bob}, false, nil, alice)
	if err := check(bob, held, carol); !errors.Is(err, groupstate.ErrLineage) {
		t.Errorf("added again by a member who is no admin: %v, want ErrLineage", err)
	}
	// Nor may a member who is none lead others into a group that only it goes on with,
	// though people and data are the same there and it is tied to the present epoch.
	_, bob, carol = trio(t)
	held = bob.known
	carol.commit(mls.CommitOptions{Remove: []tree.LeafIndex{carol.leaf(bob)}})
	carol.add([]*device{bob}, false, nil)
	if err := check(bob, held, carol); !errors.Is(err, groupstate.ErrLineage) || errors.Is(err, groupstate.ErrTie) {
		t.Errorf("added again by a member, with the same people: %v, want that no admin vouches for it", err)
	}
	alice, bob, carol = trio(t)
	phone := alice.phone(alice, bob, carol)
	alice.commit(mls.CommitOptions{Remove: []tree.LeafIndex{alice.leaf(phone)}}, bob, carol)
	held = bob.known
	phone.commit(mls.CommitOptions{Remove: []tree.LeafIndex{phone.leaf(bob)}})
	phone.add([]*device{bob}, true, nil)
	if err := check(bob, held, phone); !errors.Is(err, groupstate.ErrAnother) {
		t.Errorf("added again by an admin's device that was removed: %v, want ErrAnother", err)
	}
	alice.group, alice.known = nil, nil
	alice.found("the group's id 16", groupstate.KindGroup, "friends")
	for range 8 {
		alice.commit(mls.CommitOptions{})
	}
	alice.add([]*device{bob}, true, nil)
	if err := check(bob, held, alice); !errors.Is(err, groupstate.ErrTie) {
		t.Errorf("a welcome by the admin who has lost the old keys: %v, want ErrTie", err)
	}
	mallory := newDevice(t, "mallory")
	mallory.found("the group's id 16", groupstate.KindGroup, "friends")
	for range 8 {
		mallory.commit(mls.CommitOptions{})
	}
	mallory.add([]*device{bob}, true, nil)
	if err := check(bob, held, mallory); !errors.Is(err, groupstate.ErrAnother) {
		t.Errorf("a stranger's group of the same id: %v, want ErrAnother", err)
	}
}

// A member who comes back proves that it held an epoch; the proof is for its device,
// group and epoch only.
func TestReturningIsTied(t *testing.T) {
	alice, bob, carol := trio(t)
	id := alice.group.ID()
	said := bob.known.TieReturning(id, 7, bob.who)
	if err := alice.known.CheckReturning(id, 7, bob.who, said); err != nil {
		t.Errorf("bob's proof: %v, want it taken", err)
	}
	changed := slices.Clone(said)
	changed[len(changed)-1] ^= 1
	for name, err := range map[string]error{
		"for another epoch":    alice.known.CheckReturning(id, 8, bob.who, said),
		"for another's device": alice.known.CheckReturning(id, 7, carol.who, said),
		"for another group":    alice.known.CheckReturning([]byte("another"), 7, bob.who, said),
		"that is changed":      alice.known.CheckReturning(id, 7, bob.who, changed),
		"that is missing":      alice.known.CheckReturning(id, 7, bob.who, nil),
	} {
		if !errors.Is(err, groupstate.ErrTie) {
			t.Errorf("a proof %s: %v, want ErrTie", name, err)
		}
	}
}

// What is known survives its encoding, and Zero erases the keys that nobody keeps.
func TestKnownIsSaved(t *testing.T) {
	alice, bob, carol := trio(t)
	alice.removes(carol, bob)
	for range 40 {
		alice.commit(mls.CommitOptions{}, bob)
	}
	raw := bob.known.AppendTo(nil)
	back, err := groupstate.ParseKnown(append(slices.Clone(raw), "of a newer version"...))
	if err != nil {
		t.Fatal(err)
	}
	if got := back.AppendTo(nil); !slices.Equal(got, raw) {
		t.Errorf("what is known changes when it is saved:\n %x\n %x", got, raw)
	}
	if keys := groupstate.LineageKeys(bob.known); len(keys) > 32+3 {
		t.Errorf("%d keys are kept after 42 epochs, want the last 32 and those of leaves", len(keys))
	}
	old := bob.known
	alice.commit(mls.CommitOptions{}, bob)
	kept, gone := 0, 0
	before := groupstate.LineageKeys(old)
	old.Zero(bob.known)
	for epoch, key := range before {
		zero := !slices.ContainsFunc(key, func(b byte) bool { return b != 0 })
		if _, still := groupstate.LineageKeys(bob.known)[epoch]; still == zero {
			t.Errorf("the key of epoch %d: kept %t, erased %t", epoch, still, zero)
		}
		if zero {
			gone++
		} else {
			kept++
		}
	}
	if gone == 0 || kept == 0 {
		t.Errorf("%d keys erased, %d kept, want some of both", gone, kept)
	}
}

// What ends the last 128 epochs at the cluster is kept, for one that has forgotten some;
// what was kept before is erased. Programs before this kept nothing of it.
func TestKnownKeepsProofs(t *testing.T) {
	alice := newDevice(t, "alice")
	alice.found("the group's id 16", groupstate.KindGroup, "friends")
	first, err := groupstate.Proof(alice.group)
	if err != nil {
		t.Fatal(err)
	}
	begun := alice.group.Epoch()
	held, kept := alice.known.Proof(begun)
	if !kept || !slices.Equal(held, first) {
		t.Fatalf("the proof of epoch %d is %x (%t), want %x", begun, held, kept, first)
	}
	for range 127 {
		alice.commit(mls.CommitOptions{})
	}
	if _, kept := alice.known.Proof(begun); !kept {
		t.Errorf("the proof of epoch %d is gone after 127 others, want that of 128 epochs kept", begun)
	}
	before := alice.known
	alice.commit(mls.CommitOptions{})
	if _, kept := alice.known.Proof(begun); kept {
		t.Errorf("the proof of epoch %d is there after 128 others", begun)
	}
	before.Zero(alice.known)
	if slices.ContainsFunc(held, func(b byte) bool { return b != 0 }) {
		t.Errorf("the proof that is not kept is %x in memory, want zeros", held)
	}
	if now, _ := alice.known.Proof(alice.group.Epoch()); !slices.ContainsFunc(now, func(b byte) bool { return b != 0 }) {
		t.Error("the present epoch's proof was erased, too")
	}

	raw := alice.known.AppendTo(nil)
	old, err := groupstate.ParseKnown(raw[:len(raw)-1-128*(8+32)-2]) // nor which devices have left; the list's length has two bytes
	if err != nil {
		t.Fatalf("what a program before this one wrote: %v", err)
	}
	if _, kept := old.Proof(alice.group.Epoch()); kept {
		t.Error("a proof is found where none was written")
	}
}

// Bytes that are not what is known are refused, and what is taken means one thing.
func FuzzParseKnown(f *testing.F) {
	d := newDevice(f, "alice")
	d.found("the group's id 16", groupstate.KindGroup, "friends")
	f.Add(d.known.AppendTo(nil))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := groupstate.ParseKnown(b)
		if err != nil {
			return
		}
		again, err := groupstate.ParseKnown(k.AppendTo(nil))
		if err != nil || !slices.Equal(again.AppendTo(nil), k.AppendTo(nil)) {
			t.Errorf("what was read from %x is not what is written (%v)", b, err)
		}
	})
}

// Whatever the server makes of a way back is refused, unless it is the way back.
func FuzzOpenReturn(f *testing.F) {
	alice, bob := newDevice(f, "alice"), newDevice(f, "bob")
	alice.found("a channel of 16.", groupstate.KindDM, "")
	alice.add([]*device{bob}, false, nil)
	sealed := alice.seal()
	f.Add(0, byte(0))
	for _, at := range []int{0, 5, 9, 20, len(sealed) / 2, len(sealed) - 1} {
		f.Add(at, byte(1))
	}
	f.Fuzz(func(t *testing.T, at int, flip byte) {
		b := slices.Clone(sealed)
		b[(at%len(b)+len(b))%len(b)] ^= flip
		back, err := groupstate.OpenReturn(bob.group, nil, b)
		if flip == 0 && err != nil {
			t.Fatalf("the way back itself: %v", err)
		}
		if flip != 0 && err == nil {
			t.Errorf("with byte %d changed it opens, to epoch %d", at, back.Epoch)
		}
	})
}
