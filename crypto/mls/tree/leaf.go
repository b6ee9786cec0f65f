package tree

import (
	"fmt"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/suite"
)

// Source says how a leaf node came to be (RFC 9420 §7.2).
type Source uint8

// Sources.
const (
	SourceKeyPackage Source = 1
	SourceUpdate     Source = 2
	SourceCommit     Source = 3
)

// Lifetime bounds the validity of a key package, in seconds since 1970-01-01 UTC.
type Lifetime struct{ NotBefore, NotAfter uint64 }

// LeafNode describes one member (RFC 9420 §7.2). It is never changed after it has been
// signed or decoded.
type LeafNode struct {
	EncryptionKey suite.PublicKey
	SignatureKey  suite.SignaturePublicKey
	Credential    Credential
	Capabilities  Capabilities
	Source        Source
	Lifetime      Lifetime // SourceKeyPackage only
	ParentHash    []byte   // SourceCommit only
	Extensions    Extensions
	Signature     []byte
}

func (l *LeafNode) appendUnsigned(b []byte) []byte {
	b = codec.Bytes(b, l.EncryptionKey)
	b = codec.Bytes(b, l.SignatureKey)
	b = l.Credential.AppendTo(b)
	b = l.Capabilities.AppendTo(b)
	b = append(b, byte(l.Source))
	switch l.Source {
	case SourceKeyPackage:
		b = codec.Uint64(b, l.Lifetime.NotBefore)
		b = codec.Uint64(b, l.Lifetime.NotAfter)
	case SourceCommit:
		b = codec.Bytes(b, l.ParentHash)
	case SourceUpdate:
	}
	return l.Extensions.AppendTo(b)
}

// AppendTo appends the wire form.
func (l *LeafNode) AppendTo(b []byte) []byte {
	return codec.Bytes(l.appendUnsigned(b), l.Signature)
}

// ReadLeafNode decodes a leaf node; nothing about it is verified.
func ReadLeafNode(r *codec.Reader) *LeafNode {
	l := &LeafNode{
		EncryptionKey: r.Bytes(),
		SignatureKey:  r.Bytes(),
		Credential:    ReadCredential(r),
		Capabilities:  ReadCapabilities(r),
		Source:        Source(r.Uint8()),
	}
	switch l.Source {
	case SourceKeyPackage:
		l.Lifetime = Lifetime{r.Uint64(), r.Uint64()}
	case SourceCommit:
		l.ParentHash = r.Bytes()
	case SourceUpdate:
	default:
		r.Fail(fmt.Errorf("leaf node source %d: %w", l.Source, codec.ErrValue))
	}
	l.Extensions = ReadExtensions(r)
	l.Signature = r.Bytes()
	return l
}

const leafLabel = "LeafNodeTBS"

// appendTBS appends the LeafNodeTBS: the group and index are covered unless the leaf is
// in a key package.
func (l *LeafNode) appendTBS(b, groupID []byte, at LeafIndex) []byte {
	b = l.appendUnsigned(b)
	if l.Source != SourceKeyPackage {
		b = codec.Bytes(b, groupID)
		b = codec.Uint32(b, uint32(at))
	}
	return b
}

// Sign sets the signature. The group and index are ignored for SourceKeyPackage.
func (l *LeafNode) Sign(key *suite.Signer, groupID []byte, at LeafIndex) error {
	sig, err := key.SignFilled(leafLabel, func(b []byte) []byte { return l.appendTBS(b, groupID, at) })
	if err != nil {
		return fmt.Errorf("sign leaf node: %w", err)
	}
	l.Signature = sig
	return nil
}

// VerifySignature checks the signature for a leaf at the given place.
func (l *LeafNode) VerifySignature(s *suite.Suite, groupID []byte, at LeafIndex) error {
	err := s.VerifyFilled(l.SignatureKey, leafLabel, l.Signature, func(b []byte) []byte {
		return l.appendTBS(b, groupID, at)
	})
	return rule.Because(rule.LeafSignature, err)
}

// Check checks a leaf for a place in a group: the signature before whatever costs more
// the longer the leaf is, then CheckSelf.
func (l *LeafNode) Check(s *suite.Suite, groupID []byte, at LeafIndex) error {
	if err := s.CheckSignatureKey(l.SignatureKey); err != nil {
		return rule.Because(rule.LeafKeys, err)
	}
	if err := l.VerifySignature(s, groupID, at); err != nil {
		return err
	}
	return l.CheckSelf(s)
}

// CheckSelf checks what a leaf node says about itself, whatever the group: its
// extensions and credential are listed, defaults are not (RFC 9420 §7.2), its keys are
// well formed, and nothing is longer than our limits.
func (l *LeafNode) CheckSelf(s *suite.Suite) error {
	c := &l.Capabilities
	if err := c.checkLength(); err != nil {
		return err
	}
	if err := l.Extensions.CheckUnique(); err != nil {
		return err
	}
	supported := c.Supported()
	if !supported.Credential(l.Credential.Type) {
		return rule.Break(rule.LeafCredentialListed, "credential type %d", l.Credential.Type)
	}
	for _, e := range l.Extensions {
		if !supported.Extension(e.Type) {
			return rule.Break(rule.LeafExtensionsListed, "extension type 0x%04x", uint16(e.Type))
		}
	}
	for _, t := range c.Extensions {
		if t.Default() {
			return rule.Break(rule.LeafDefaultsListed, "extension type %d", t)
		}
	}
	for _, t := range c.Proposals {
		if t.Default() {
			return rule.Break(rule.LeafDefaultsListed, "proposal type %d", t)
		}
	}
	if err := s.CheckSignatureKey(l.SignatureKey); err != nil {
		return rule.Because(rule.LeafKeys, err)
	}
	return rule.Because(rule.LeafKeys, s.CheckPublicKey(l.EncryptionKey))
}

// ParentNode is an intermediate node (RFC 9420 §7.1). It is never changed once in a tree.
type ParentNode struct {
	EncryptionKey  suite.PublicKey
	ParentHash     []byte
	UnmergedLeaves []LeafIndex // strictly increasing
}

// AppendTo appends the wire form.
func (p *ParentNode) AppendTo(b []byte) []byte {
	return p.appendWithout(b, nil)
}

// appendWithout appends the wire form with some unmerged leaves left out.
func (p *ParentNode) appendWithout(b []byte, out []LeafIndex) []byte {
	b = codec.Bytes(b, p.EncryptionKey)
	b = codec.Bytes(b, p.ParentHash)
	return codec.Vector(b, func(b []byte) []byte {
		for _, l := range p.UnmergedLeaves {
			if !containsLeaf(out, l) {
				b = codec.Uint32(b, uint32(l))
			}
		}
		return b
	})
}

// ReadParentNode decodes a parent node.
func ReadParentNode(r *codec.Reader) *ParentNode {
	p := &ParentNode{EncryptionKey: r.Bytes(), ParentHash: r.Bytes()}
	v := r.Vector()
	if n := v.Len() / 4; n > 0 {
		p.UnmergedLeaves = make([]LeafIndex, 0, n)
	}
	for v.More() {
		p.UnmergedLeaves = append(p.UnmergedLeaves, LeafIndex(v.Uint32()))
	}
	r.Done(v)
	return p
}
