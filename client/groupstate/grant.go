package groupstate

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/identity"
	"quicproquo/crypto/mls"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// A grant is an admin's signature under what a group agrees on and who its members
// are: it lets members who are no admins vouch for an epoch that an admin has made
// possible, however many commits lie between. It stands among the group's data.
type grant struct {
	epoch      uint64 // that it was given for
	roster     [sha256.Size]byte
	data       [sha256.Size]byte // without the grant itself
	credential tree.Credential   // of the admin's device
	key        suite.SignaturePublicKey
	signature  []byte
	by         Member
}

const (
	grantLabel = "qpq/1 grant"
	// maxGrant bounds a grant's encoding, in bytes; today's have 303.
	maxGrant = 1024
)

var errGrant = errors.New("the group has no grant that can be read")

func (g *grant) content(groupID []byte) []byte {
	b := codec.Uint64(codec.Bytes(nil, groupID), g.epoch)
	return append(append(b, g.roster[:]...), g.data[:]...)
}

// SetGrant signs what a group's data and accounts will be from an epoch on, and puts the
// signature among the data. Who signs should be an admin: others believe no one else.
func (d *Data) SetGrant(groupID []byte, epoch uint64, accounts [][identity.KeySize]byte, by *mls.Identity) error {
	g := &grant{epoch: epoch, roster: rosterDigest(accounts), data: d.digest(), credential: by.Credential, key: by.Signer.Public()}
	signature, err := by.Signer.SignWithLabel(grantLabel, g.content(groupID))
	if err != nil {
		return fmt.Errorf("sign what the group agrees on: %w", err)
	}
	b := codec.Uint64(nil, g.epoch)
	b = append(append(b, g.roster[:]...), g.data[:]...)
	b = codec.Bytes(g.credential.AppendTo(b), g.key)
	d.Grant = codec.Bytes(b, signature)
	return nil
}

// Granted reports whether the data have a grant by an admin, as they say themselves,
// that covers them and these accounts.
func (d *Data) Granted(groupID []byte, accounts [][identity.KeySize]byte) bool {
	g, err := d.grant(groupID)
	return err == nil && g.covers(d, accounts) && d.Listed(g.by.Account)
}

func (g *grant) covers(d *Data, accounts [][identity.KeySize]byte) bool {
	return g.roster == rosterDigest(accounts) && g.data == d.digest()
}

// grant reads the grant and verifies that the device that it names has signed it.
func (d *Data) grant(groupID []byte) (*grant, error) {
	r := codec.NewReader(d.Grant)
	g := &grant{epoch: r.Uint64()}
	copy(g.roster[:], r.Fixed(len(g.roster)))
	copy(g.data[:], r.Fixed(len(g.data)))
	g.credential = tree.ReadCredential(r)
	g.key, g.signature = r.Bytes(), r.Bytes()
	if err := r.Finish(); err != nil {
		return nil, errGrant
	}
	c, err := ParseCredential(g.credential)
	if err != nil {
		return nil, err
	}
	g.by = c.Member
	if err := (Authenticator{}).Validate(g.credential, g.key, time.Time{}); err != nil {
		return nil, err
	}
	s, err := suite.Lookup(suite.Default) // device keys are Ed25519, as in every suite of ours
	if err != nil {
		return nil, err
	}
	if err := s.VerifyWithLabel(g.key, grantLabel, g.content(groupID), g.signature); err != nil {
		return nil, errGrant
	}
	return g, nil
}

// digest is that of the data without their grant.
func (d *Data) digest() [sha256.Size]byte {
	bare := *d
	bare.Grant = nil
	return sha256.Sum256(codec.Marshal(&bare))
}

func rosterDigest(accounts [][identity.KeySize]byte) [sha256.Size]byte {
	h := sha256.New()
	for _, a := range accounts {
		h.Write(a[:])
	}
	return [sha256.Size]byte(h.Sum(nil))
}
