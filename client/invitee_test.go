package client

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"quicproquo/client/conn"
	"quicproquo/client/content"
	"quicproquo/client/groupstate"
	"quicproquo/client/internal/scripted"
	"quicproquo/client/vault"
	"quicproquo/crypto/mls"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
	"quicproquo/schemas"
)

// What the cluster hands out as the key package of an invitee is his, of our suite and
// of a client that knows our groups, or it is not used.
func TestKeyPackagesOfInvitees(t *testing.T) {
	t.Parallel()
	alice, mallory := newActor(t, "alice"), newActor(t, "mallory")
	packageOf := func(id *mls.Identity) []byte {
		t.Helper()
		kp, err := id.NewKeyPackage(time.Now(), mls.KeyPackageOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return kp.Message()
	}
	unaware := *alice.identity
	unaware.Extensions = nil
	other, err := mls.NewIdentity(suite.X25519AES128SHA256Ed25519, []byte("alice"))
	if err != nil {
		t.Fatal(err)
	}
	other.Extensions, other.Credential = alice.identity.Extensions, alice.identity.Credential
	nameless := *alice.identity
	nameless.Credential = tree.BasicCredential([]byte("alice"))
	alice.founds(groupData("friends", alice))
	for what, b := range map[string][]byte{
		"another account's":         packageOf(mallory.identity),
		"of another suite":          packageOf(other),
		"without our extension":     packageOf(&unaware),
		"with a foreign name":       packageOf(&nameless),
		"a message to a group":      alice.says(text("hello"))[1:],
		"nothing":                   nil,
		"cut":                       packageOf(alice.identity)[:100],
		"no MLSMessage of any sort": []byte("hello"),
	} {
		if kp, _, err := checkPackage(b, alice.account); err == nil {
			t.Errorf("a key package that is %s is used: %+v", what, kp.Leaf.Credential)
		}
	}
	if _, _, err := checkPackage(packageOf(alice.identity), alice.account); err != nil {
		t.Errorf("alice's own key package: %v", err)
	}
}

// Whoever removes somebody replaces the group's link and takes the right to decide
// away: the removed one does not come back by what he knows.
func TestRemovalReplacesTheLink(t *testing.T) {
	t.Parallel()
	alice, mallory := newActor(t, "alice"), newActor(t, "mallory")
	bob := newOffline(t, "bob", Settings{})
	bob.knows(alice, mallory)
	data, id := groupData("friends", alice, mallory)
	data.SetAdmin(bob.account(), true)
	old, err := groupstate.NewLinkSecret()
	if err != nil {
		t.Fatal(err)
	}
	data.Link = old
	alice.founds(data, id)
	mallory.joins(alice)
	bob.invited(alice)
	v := bob.find("friends")
	err = bob.turn(func(turn *turn) error {
		row, err := turn.talk(v.id)
		if err != nil {
			return err
		}
		opt, err := turn.options(row, &wish{Kind: wishRemove, Accounts: []AccountKey{mallory.account}}, prepared{})
		if err != nil {
			return err
		}
		if want := []tree.LeafIndex{alice.leaf(mallory.account)}; !slices.Equal(opt.Remove, want) {
			t.Errorf("the leaves %v are removed, want %v", opt.Remove, want)
		}
		if opt.Extensions == nil {
			t.Fatal("the group's data stay as they are")
		}
		next, err := groupstate.DataOf(*opt.Extensions)
		if err != nil {
			return err
		}
		if len(next.Link) != groupstate.LinkSecretSize || slices.Equal(next.Link, old) {
			t.Errorf("the link's secret is %x, want a new one in place of %x", next.Link, old)
		}
		if next.Listed(mallory.account) || !next.Listed(alice.account) {
			t.Errorf("the admins are %x, want mallory gone and alice still there", next.Admins)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What strangers send for groups that nobody here has takes a little room, and none of
// the room of what is only early.
func TestStrangersJunkIsBounded(t *testing.T) {
	t.Parallel()
	alice, mallory := newActor(t, "alice"), newActor(t, "mallory")
	bob := newOffline(t, "bob", Settings{})
	bob.knows(alice)
	alice.founds(dmData())
	bob.invited(alice)
	held := func() int {
		t.Helper()
		s, err := bob.Status(t.Context())
		if !errors.Is(err, ErrNoServer) {
			t.Fatal(err)
		}
		return s.Held
	}
	mallory.founds(groupData("nobody's", mallory))
	var junk [][]byte
	for range maxStray + 10 {
		junk = append(junk, mallory.says(text("junk")))
	}
	bob.gets(junk...)
	if got := held(); got != maxStray {
		t.Errorf("%d strange envelopes are held, want %d", got, maxStray)
	}
	// What alice says in an epoch that is not here yet is kept all the same.
	commit, _ := alice.commits(mls.CommitOptions{})
	early := alice.says(text("early"))
	bob.gets(early)
	if got := held(); got != maxStray+1 {
		t.Errorf("%d envelopes are held after alice's, want %d", got, maxStray+1)
	}
	bob.gets(commit)
	bob.reads("alice", "alice: early")

	carol := newOffline(t, "carol", Settings{})
	large := content.Message{Body: content.Text{Text: strings.Repeat("x", content.MaxText)}}
	size := 0
	for size <= maxStrayBytes+content.MaxText {
		payload := mallory.says(large)
		size += len(payload)
		carol.gets(payload)
	}
	var bytes int64
	err := carol.look(func(t *turn) error {
		_, _, stray, err := t.CountHeld(mallory.group.ID())
		bytes = stray.Bytes
		return err
	})
	if err != nil || bytes > maxStrayBytes || bytes == 0 {
		t.Errorf("%d bytes of junk are held (%v), want some and at most %d", bytes, err, maxStrayBytes)
	}
}

// A name whose key has changed at the cluster is not trusted: neither to write to nor to
// invite, until the user says so; and what was compared counts for the old key alone.
func TestChangedKeyIsNotTrusted(t *testing.T) {
	_, first := newKey(t)
	_, second := newKey(t)
	answer := first
	scripted.Run(t, 1, func(r scripted.Request) scripted.Reply {
		if r.Method == scripted.ResolveUser {
			return scripted.Reply{Raw: resolved(t, answer)}
		}
		return scripted.Reply{}
	}, func(c *scripted.Cluster) {
		bob := newOffline(c.T, "bob", Settings{})
		to, err := conn.Dial(scriptedOptions(c))
		if err != nil {
			c.T.Fatal(err)
		}
		bob.conn = to
		defer func() {
			bob.conn = nil
			if err := to.Close(); err != nil {
				c.T.Error(err)
			}
		}()
		to.SetSession(scriptedSession())
		who := *bob.who
		who.Registered = true
		if err := bob.turn(func(t *turn) error { return t.SetProfile(&who) }); err != nil {
			c.T.Fatal(err)
		}
		bob.who = &who
		ctx := c.T.Context()
		if got, err := bob.Contact(ctx, "alice"); err != nil || got.Key != first {
			c.T.Fatalf("alice is %x (%v), want %x", got.Key, err, first)
		}
		if err := bob.SetVerified("alice", true); err != nil {
			c.T.Fatal(err)
		}
		answer = second
		if _, err := bob.Contact(ctx, "alice"); !errors.Is(err, ErrUntrustedKey) {
			c.T.Errorf("another key under alice's name: %v, want %v", err, ErrUntrustedKey)
		}
		if _, err := bob.DM(ctx, "alice"); !errors.Is(err, ErrUntrustedKey) {
			c.T.Errorf("a conversation with another key under alice's name: %v, want %v", err, ErrUntrustedKey)
		}
		got, err := bob.Trust(ctx, "alice")
		if err != nil || got.Key != second || got.Verified {
			c.T.Errorf("after it was trusted: %+v (%v), want the new key, not verified", got, err)
		}
		var known *vault.Contact
		err = bob.look(func(t *turn) (err error) { known, err = t.ContactNamed("alice"); return err })
		if err != nil || known == nil || AccountKey(known.Account) != second {
			c.T.Errorf("alice is known as %+v (%v), want the key %x", known, err, second)
		}
		bob.halt()
	})
}

// resolved is the response to resolveUser.
func resolved(t *testing.T, key AccountKey) []byte {
	msg, seg := schemas.NewMessage()
	response, err := schemas.NewRootResponse(seg)
	if err == nil {
		var results schemas.ResolveUserResults
		if results, err = schemas.NewResolveUserResults(seg); err == nil {
			err = errors.Join(results.SetIdentityKey(key[:]), response.SetResults(results.ToPtr()))
		}
	}
	frame, marshalled := msg.Marshal()
	if err = errors.Join(err, marshalled); err != nil {
		t.Error(err)
	}
	return frame
}

// A node hands out key packages of devices that their account has revoked, or of an
// account that has ended: whoever holds those keys now does not come in by them. What the
// account says of another device, or another account says, keeps nobody out.
func TestPackagesOfRevokedDevices(t *testing.T) {
	t.Parallel()
	alice, bob := newActor(t, "alice"), newOffline(t, "bob", Settings{})
	kp, err := alice.identity.NewKeyPackage(bob.at, mls.KeyPackageOptions{})
	if err != nil {
		t.Fatal(err)
	}
	claimed := []conn.ClaimedKeyPackage{{Device: alice.device, Package: kp.Message()}}
	for name, scene := range map[string]struct {
		revoked []conn.Revocation
		deleted *conn.Deletion
		in      int
	}{
		"nothing is said":           {in: 1},
		"the device is revoked":     {revoked: []conn.Revocation{{Device: alice.device}}},
		"another device is revoked": {revoked: []conn.Revocation{{Device: DeviceID(newID())}}, in: 1},
		"the account has ended":     {deleted: &conn.Deletion{}},
	} {
		list, err := bob.usable(claimed, alice.account, scene.revoked, scene.deleted)
		if len(list) != scene.in || (err == nil) != (scene.in > 0) {
			t.Errorf("%s: %d key packages can be used (%v), want %d", name, len(list), err, scene.in)
		}
	}
}
