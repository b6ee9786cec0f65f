package message

import (
	"fmt"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// KeyPackage lets others add a client (RFC 9420 §10). It is unverified until Verify.
type KeyPackage struct {
	Version    tree.Version
	Suite      suite.ID
	InitKey    suite.PublicKey
	Leaf       *tree.LeafNode
	Extensions tree.Extensions
	Signature  []byte
}

func (k *KeyPackage) tbs(b []byte) []byte {
	b = codec.Uint16(codec.Uint16(b, uint16(k.Version)), uint16(k.Suite))
	b = k.Leaf.AppendTo(codec.Bytes(b, k.InitKey))
	return k.Extensions.AppendTo(b)
}

// AppendTo appends the wire form.
func (k *KeyPackage) AppendTo(b []byte) []byte { return codec.Bytes(k.tbs(b), k.Signature) }

// ReadKeyPackage decodes a key package.
func ReadKeyPackage(r *codec.Reader) *KeyPackage {
	return &KeyPackage{
		tree.Version(r.Uint16()), suite.ID(r.Uint16()), r.Bytes(),
		tree.ReadLeafNode(r), tree.ReadExtensions(r), r.Bytes(),
	}
}

const keyPackageLabel = "KeyPackageTBS"

// Sign sets the signature.
func (k *KeyPackage) Sign(key *suite.Signer) error {
	sig, err := key.SignFilled(keyPackageLabel, k.tbs)
	if err != nil {
		return fmt.Errorf("sign key package: %w", err)
	}
	k.Signature = sig
	return nil
}

// Ref is the key package's reference (RFC 9420 §5.2).
func (k *KeyPackage) Ref(s *suite.Suite) []byte {
	return s.RefHash("MLS 1.0 KeyPackage Reference", k.AppendTo(nil))
}

// Verify checks everything about a key package that does not depend on a group
// (RFC 9420 §10.1) apart from its lifetime and credential.
func (k *KeyPackage) Verify(s *suite.Suite) error {
	if k.Version != tree.MLS10 {
		return rule.Break(rule.KeyPackageVersion, "got %d", k.Version)
	}
	if k.Suite != s.ID() {
		return rule.Break(rule.KeyPackageSuite, "got 0x%04x, want 0x%04x", uint16(k.Suite), uint16(s.ID()))
	}
	if k.Leaf.Source != tree.SourceKeyPackage {
		return rule.Break(rule.LeafSourceKeyPackage, "got %d", k.Leaf.Source)
	}
	if err := s.CheckSignatureKey(k.Leaf.SignatureKey); err != nil {
		return rule.Because(rule.LeafKeys, err)
	}
	// Both signatures come before whatever costs more the longer the package is.
	if err := s.VerifyFilled(k.Leaf.SignatureKey, keyPackageLabel, k.Signature, k.tbs); err != nil {
		return rule.Because(rule.KeyPackageSignature, err)
	}
	if err := k.Leaf.Check(s, nil, 0); err != nil {
		return err
	}
	if err := k.Extensions.CheckUnique(); err != nil {
		return err
	}
	if string(k.InitKey) == string(k.Leaf.EncryptionKey) {
		return rule.Break(rule.KeyPackageInitKey, "both keys are equal")
	}
	return rule.Because(rule.LeafKeys, s.CheckPublicKey(k.InitKey))
}
