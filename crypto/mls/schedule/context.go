// Package schedule is the key schedule of RFC 9420 §8 and §9: group context, transcript
// hashes, epoch secrets, pre-shared keys, exporters, and the secret tree with its
// ratchets. All values are immutable: taking a key returns a new tree without it, so a
// caller that keeps the new value only has deleted the key (RFC 9420 §9.2).
//
// It must never hand out a ratchet key twice from one value's descendants, and never
// step a ratchet further than its limit.
//
// Reading order: context.go, epoch.go, secretnode.go, ratchet.go, secrettree.go.
package schedule

import (
	"fmt"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// GroupContext summarises a group's state (RFC 9420 §8.1).
type GroupContext struct {
	Version                 tree.Version
	Suite                   suite.ID
	GroupID                 []byte
	Epoch                   uint64
	TreeHash                []byte
	ConfirmedTranscriptHash []byte
	Extensions              tree.Extensions
}

// AppendTo appends the wire form.
func (c *GroupContext) AppendTo(b []byte) []byte {
	b = codec.Uint16(b, uint16(c.Version))
	b = codec.Uint16(b, uint16(c.Suite))
	b = codec.Bytes(b, c.GroupID)
	b = codec.Uint64(b, c.Epoch)
	b = codec.Bytes(b, c.TreeHash)
	b = codec.Bytes(b, c.ConfirmedTranscriptHash)
	return c.Extensions.AppendTo(b)
}

// ReadGroupContext decodes a group context.
func ReadGroupContext(r *codec.Reader) *GroupContext {
	return &GroupContext{
		tree.Version(r.Uint16()), suite.ID(r.Uint16()), r.Bytes(), r.Uint64(),
		r.Bytes(), r.Bytes(), tree.ReadExtensions(r),
	}
}

// ConfirmedTranscript returns the confirmed transcript hash after a commit, whose
// ConfirmedTranscriptHashInput is given encoded (RFC 9420 §8.2).
func ConfirmedTranscript(s *suite.Suite, interim, input []byte) []byte {
	return s.Hash(interim, input)
}

// InterimTranscript returns the interim transcript hash after a commit (RFC 9420 §8.2).
func InterimTranscript(s *suite.Suite, confirmed, confirmationTag []byte) []byte {
	return s.Hash(confirmed, codec.Bytes(nil, confirmationTag))
}

// PSKType tells kinds of pre-shared keys apart (RFC 9420 §8.4).
type PSKType uint8

// Kinds of pre-shared keys.
const (
	PSKExternal   PSKType = 1
	PSKResumption PSKType = 2
)

// PSKUsage says what a resumption PSK is for (RFC 9420 §8.4).
type PSKUsage uint8

// Usages of resumption PSKs.
const (
	UsageApplication PSKUsage = 1
	UsageReInit      PSKUsage = 2
	UsageBranch      PSKUsage = 3
)

// PSKID names a pre-shared key (RFC 9420 §8.4).
type PSKID struct {
	Type    PSKType
	ID      []byte   // external: psk_id
	Usage   PSKUsage // resumption
	GroupID []byte   // resumption
	Epoch   uint64   // resumption
	Nonce   []byte
}

// AppendTo appends the wire form.
func (p PSKID) AppendTo(b []byte) []byte {
	b = append(b, byte(p.Type))
	if p.Type == PSKExternal {
		b = codec.Bytes(b, p.ID)
	} else {
		b = codec.Bytes(append(b, byte(p.Usage)), p.GroupID)
		b = codec.Uint64(b, p.Epoch)
	}
	return codec.Bytes(b, p.Nonce)
}

// ReadPSKID decodes a pre-shared key's name.
func ReadPSKID(r *codec.Reader) PSKID {
	p := PSKID{Type: PSKType(r.Uint8())}
	switch p.Type {
	case PSKExternal:
		p.ID = r.Bytes()
	case PSKResumption:
		p.Usage, p.GroupID, p.Epoch = PSKUsage(r.Uint8()), r.Bytes(), r.Uint64()
		if r.Err() == nil && (p.Usage < UsageApplication || p.Usage > UsageBranch) {
			r.Fail(fmt.Errorf("resumption psk usage %d: %w", p.Usage, codec.ErrValue))
		}
	default:
		r.Fail(fmt.Errorf("psk type %d: %w", p.Type, codec.ErrValue))
	}
	p.Nonce = r.Bytes()
	return p
}

// SameKey reports whether both name the same key, whatever their nonces.
func (p PSKID) SameKey(q PSKID) bool {
	return p.Type == q.Type && p.Usage == q.Usage && p.Epoch == q.Epoch &&
		string(p.ID) == string(q.ID) && string(p.GroupID) == string(q.GroupID)
}

// Key is the name without its nonce: equal for equal keys, as SameKey says.
func (p PSKID) Key() string {
	p.Nonce = nil
	return string(p.AppendTo(nil))
}

// PSK is a pre-shared key with its name.
type PSK struct {
	ID     PSKID
	Secret suite.Secret
}

// PSKSecret chains pre-shared keys into psk_secret (RFC 9420 §8.4). Their number must
// fit 16 bits.
func PSKSecret(s *suite.Suite, psks []PSK) suite.Secret {
	secret := s.Zero()
	for i, p := range psks {
		extracted := s.Extract(s.Zero(), p.Secret)
		label := p.ID.AppendTo(nil)
		label = codec.Uint16(label, uint16(i))
		label = codec.Uint16(label, uint16(len(psks)))
		input := s.ExpandWithLabel(extracted, "derived psk", label, s.HashSize())
		secret = s.Extract(input, secret)
		extracted.Zero()
		input.Zero()
	}
	return secret
}
