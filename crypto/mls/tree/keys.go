package tree

import (
	"bytes"

	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/suite"
)

// EncryptionKeys calls yield for every node that is not blank, with its encryption key.
func (t *Tree) EncryptionKeys(yield func(NodeIndex, suite.PublicKey) bool) {
	for i, n := range t.nodes {
		if !n.blank() && !yield(NodeIndex(i), n.key()) {
			return
		}
	}
}

// FindEncryptionKey returns the leftmost node, leaf or parent, with the given key.
func (t *Tree) FindEncryptionKey(key suite.PublicKey) (NodeIndex, bool) {
	for x, k := range t.EncryptionKeys {
		if bytes.Equal(k, key) {
			return x, true
		}
	}
	return 0, false
}

// CheckLeafKeys checks that the encryption keys of the given leaves are no other node's,
// and that the given init keys are nobody's and differ: a tree with a key twice is one
// that nobody can join any more (RFC 9420 §12.4.3.1). One look at each node.
func (t *Tree) CheckLeafKeys(leaves []LeafIndex, inits []suite.PublicKey) error {
	if len(leaves)+len(inits) == 0 {
		return nil
	}
	fresh := make(map[string]NodeIndex, len(leaves))
	for _, l := range leaves {
		key := string(t.Leaf(l).EncryptionKey)
		if other, dup := fresh[key]; dup {
			return rule.Break(rule.LeafEncryptionKeyUnique, "leaves %d and %d", other.Leaf(), l)
		}
		fresh[key] = l.Node()
	}
	init := make(map[string]bool, len(inits))
	for i, k := range inits {
		if init[string(k)] {
			return rule.Break(rule.KeyPackageInitUnique, "key package %d", i)
		}
		init[string(k)] = true
	}
	for x, k := range t.EncryptionKeys {
		if at, has := fresh[string(k)]; has && at != x {
			return rule.Break(rule.LeafEncryptionKeyUnique, "leaf %d and node %d", at.Leaf(), x)
		}
		if init[string(k)] {
			return rule.Break(rule.KeyPackageInitUnique, "node %d has it", x)
		}
	}
	return nil
}
