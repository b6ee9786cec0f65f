package groupstate_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"quicproquo/client/groupstate"
	"quicproquo/crypto/identity"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// A credential is accepted only as its account signed it: for this account, this device
// and this key, each bit of them.
func TestCredentialIsSigned(t *testing.T) {
	d := newOwner(t, 1)
	c, key := d.credential(t).MLS(), d.signer.Public()
	if err := (groupstate.Authenticator{}).Validate(c, key, now); err != nil {
		t.Fatal(err)
	}
	for at := range c.Identity {
		spoiled := tree.BasicCredential(bytes.Clone(c.Identity))
		spoiled.Identity[at] ^= 1
		if err := (groupstate.Authenticator{}).Validate(spoiled, key, now); !errors.Is(err, groupstate.ErrCredential) {
			t.Errorf("byte %d of the credential changed: got %v, want ErrCredential", at, err)
		}
	}
	for at := range key {
		other := slices.Clone(key)
		other[at] ^= 1
		if err := (groupstate.Authenticator{}).Validate(c, other, now); !errors.Is(err, groupstate.ErrCredential) {
			t.Errorf("byte %d of the leaf's key changed: got %v, want ErrCredential", at, err)
		}
	}
	longer := append(slices.Clone(key), 0) // begins with what was signed
	for _, other := range []suite.SignaturePublicKey{nil, key[:identity.KeySize-1], longer} {
		if err := (groupstate.Authenticator{}).Validate(c, other, now); !errors.Is(err, groupstate.ErrCredential) {
			t.Errorf("a leaf's key of %d bytes: got %v, want ErrCredential", len(other), err)
		}
	}
}

// Another account's signature over the same device and key is none: whoever names an
// account in a credential must have its key.
func TestCredentialOfAnotherAccount(t *testing.T) {
	d, other := newOwner(t, 1), newOwner(t, 2)
	forged := d.credential(t)
	signature, err := identity.Device(d.member.Account, d.member.Device, [identity.KeySize]byte(d.signer.Public())).Sign(other.account)
	if err != nil {
		t.Fatal(err)
	}
	copy(forged.Signature[:], signature)
	if err := (groupstate.Authenticator{}).Validate(forged.MLS(), d.signer.Public(), now); !errors.Is(err, groupstate.ErrCredential) {
		t.Errorf("signed by another account: got %v, want ErrCredential", err)
	}
}

// Only basic credentials of our version and exact length are read, and they come back
// as they were.
func TestParseCredential(t *testing.T) {
	d := newOwner(t, 1)
	want := d.credential(t)
	good := want.MLS().Identity
	got, err := groupstate.ParseCredential(want.MLS())
	if err != nil || got != *want {
		t.Errorf("got %v, %v, want what was written", got, err)
	}
	for name, c := range map[string]tree.Credential{
		"X.509":           {Type: tree.CredentialX509, Certificates: [][]byte{good}},
		"another type":    {Type: 7, Identity: good},
		"nothing":         tree.BasicCredential(nil),
		"version 0":       tree.BasicCredential(append([]byte{0}, good[1:]...)),
		"version 2":       tree.BasicCredential(append([]byte{2}, good[1:]...)),
		"a byte too few":  tree.BasicCredential(good[:len(good)-1]),
		"a byte too many": tree.BasicCredential(append(slices.Clone(good), 0)),
		"version alone":   tree.BasicCredential(good[:1]),
	} {
		if got, err := groupstate.ParseCredential(c); !errors.Is(err, groupstate.ErrCredential) || got != (groupstate.Credential{}) {
			t.Errorf("%s: got %v, %v, want nothing and ErrCredential", name, got, err)
		}
	}
}

// A leaf stays its device's: neither another device of the account nor another account
// takes it over, while a new key of the same device does.
func TestSuccessor(t *testing.T) {
	d := newOwner(t, 1)
	old := d.credential(t).MLS()
	same := newOwner(t, 1) // with another key
	device := d.credential(t)
	device.Device[0] ^= 1
	account := d.credential(t)
	account.Account[0] ^= 1
	garbage := tree.BasicCredential([]byte("x"))
	for _, c := range []struct {
		name      string
		old, next tree.Credential
		ok        bool
	}{
		{"itself", old, old, true},
		{"the device with another key", old, same.credential(t).MLS(), true},
		{"another device", old, device.MLS(), false},
		{"another account", old, account.MLS(), false},
		{"what can't be read", old, garbage, false},
		{"from what can't be read", garbage, old, false},
	} {
		err := groupstate.Authenticator{}.Successor(c.old, c.next)
		if c.ok != (err == nil) || err != nil && !errors.Is(err, groupstate.ErrCredential) {
			t.Errorf("%s: got %v, want accepted: %v", c.name, err, c.ok)
		}
	}
}

// Members are ordered by account, then device.
func TestCompare(t *testing.T) {
	member := func(account, device byte) groupstate.Member {
		var m groupstate.Member
		m.Account[identity.KeySize-1], m.Device[identity.DeviceIDSize-1] = account, device
		return m
	}
	inOrder := []groupstate.Member{member(0, 0), member(0, 9), member(1, 0), member(1, 3), member(2, 1)}
	for i, a := range inOrder {
		for j, b := range inOrder {
			if got := groupstate.Compare(a, b); (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("members %d and %d compare to %d", i, j, got)
			}
		}
	}
}

// What is read as a credential is exactly what its members write, and no fuzzer makes
// one that an account has signed.
func FuzzCredential(f *testing.F) {
	d := newOwner(f, 1)
	good := d.credential(f).MLS().Identity
	f.Add(good)
	f.Add(good[:40])
	f.Add(append([]byte{2}, good[1:]...))
	f.Fuzz(func(t *testing.T, b []byte) {
		from := tree.BasicCredential(b)
		c, err := groupstate.ParseCredential(from)
		if err != nil {
			if !errors.Is(err, groupstate.ErrCredential) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(c.MLS().Identity, b) {
			t.Errorf("%x comes back as %x", b, c.MLS().Identity)
		}
		if !bytes.Equal(b, good) && (groupstate.Authenticator{}).Validate(from, d.signer.Public(), now) == nil {
			t.Errorf("%x is accepted, which nobody signed", b)
		}
	})
}
