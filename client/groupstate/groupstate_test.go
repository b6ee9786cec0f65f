package groupstate_test

import (
	"bytes"
	"crypto/ed25519"
	"testing"
	"time"

	"quicproquo/client/groupstate"
	"quicproquo/crypto/identity"
	"quicproquo/crypto/mls"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// now is when the tests happen.
var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// owner is a device of an account with all its keys.
type owner struct {
	account ed25519.PrivateKey
	member  groupstate.Member
	signer  *suite.Signer
}

func newOwner(tb testing.TB, seed byte) *owner {
	tb.Helper()
	account := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
	s, err := suite.Lookup(suite.X25519AES128SHA256Ed25519)
	if err != nil {
		tb.Fatal(err)
	}
	signer, err := s.GenerateSigner()
	if err != nil {
		tb.Fatal(err)
	}
	d := &owner{account: account, signer: signer}
	copy(d.member.Account[:], account.Public().(ed25519.PublicKey))
	d.member.Device[0] = seed
	return d
}

// credential is what the account says about the device's key.
func (d *owner) credential(tb testing.TB) *groupstate.Credential {
	tb.Helper()
	c := &groupstate.Credential{Member: d.member}
	signature, err := identity.Device(d.member.Account, d.member.Device, [identity.KeySize]byte(d.signer.Public())).Sign(d.account)
	if err != nil {
		tb.Fatal(err)
	}
	copy(c.Signature[:], signature)
	return c
}

func (d *owner) identity(tb testing.TB) *mls.Identity {
	tb.Helper()
	return &mls.Identity{
		Signer: d.signer, Credential: d.credential(tb).MLS(), NoGREASE: true,
		Extensions: []tree.ExtensionType{groupstate.ExtensionType}, Proposals: []tree.ProposalType{tree.ProposalSelfRemove},
	}
}

// groupOf is a group of one with data, under the authenticator of our rooms.
func groupOf(tb testing.TB, d *owner, data *groupstate.Data) *mls.Group {
	tb.Helper()
	g, err := mls.Create(&mls.Config{Auth: groupstate.Authenticator{}}, d.identity(tb), bytes.Repeat([]byte{9}, 32), data.Extensions(nil), now)
	if err != nil {
		tb.Fatal(err)
	}
	return g
}
