package mls

import (
	"bytes"
	"fmt"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// componentLabel separates what components do with the group's keys from each other
// and from MLS itself (draft-ietf-mls-extensions §4.1, ComponentOperationLabel).
func componentLabel(component uint16, label string) string {
	b := codec.Bytes(nil, []byte("MLS Component"))
	b = codec.Uint16(b, component)
	return string(codec.Bytes(b, []byte(label)))
}

// SealToLeaf encrypts to a member's leaf key, for a component of the application
// (draft-ietf-mls-extensions §4.2, SafeEncryptWithLabel). The member can open it for
// as long as its leaf has this key, which only its own updates and commits change.
// The result is the KEM's output and the ciphertext, each as opaque<V>.
func (g *Group) SealToLeaf(to tree.LeafIndex, component uint16, label string, context, plaintext []byte) ([]byte, error) {
	leaf := g.pub.tree.Leaf(to)
	if leaf == nil {
		return nil, fmt.Errorf("seal to leaf %d: there is none", to)
	}
	c, err := g.pub.s.EncryptWithLabel(leaf.EncryptionKey, componentLabel(component, label), context, plaintext)
	if err != nil {
		return nil, fmt.Errorf("seal to leaf %d: %w", to, err)
	}
	return codec.Bytes(codec.Bytes(nil, c.KEMOutput), c.Ciphertext), nil
}

// OpenAtLeaf decrypts what SealToLeaf made for our present leaf key. What does not
// decrypt says suite.ErrOpen and nothing more.
func (g *Group) OpenAtLeaf(component uint16, label string, context, sealed []byte) (suite.Secret, error) {
	key := g.priv.Key(g.priv.Self.Node())
	if key == nil {
		return nil, suite.ErrOpen
	}
	return openAtLeaf(g.pub.s, key, component, label, context, sealed)
}

// LeafKey returns a copy of the private key that our leaf has in this epoch: for who
// must open with it what is sealed to the leaf when the group has gone on to another
// (OpenWithLeafKey). The caller erases it.
func (g *Group) LeafKey() suite.Secret {
	key := g.priv.Key(g.priv.Self.Node())
	if key == nil {
		return nil
	}
	return bytes.Clone(key.Bytes())
}

// OpenWithLeafKey decrypts what SealToLeaf made for a leaf when it had this private key,
// in a group of suite s.
func OpenWithLeafKey(s *suite.Suite, key suite.Secret, component uint16, label string, context, sealed []byte) (suite.Secret, error) {
	return openAtLeaf(s, s.NewPrivateKey(key), component, label, context, sealed)
}

func openAtLeaf(s *suite.Suite, key *suite.PrivateKey, component uint16, label string, context, sealed []byte) (suite.Secret, error) {
	r := codec.NewReader(sealed)
	c := suite.Ciphertext{KEMOutput: r.Bytes(), Ciphertext: r.Bytes()}
	if err := r.Finish(); err != nil {
		return nil, fmt.Errorf("open at leaf: %w", err)
	}
	return s.DecryptWithLabel(key, componentLabel(component, label), context, c)
}
