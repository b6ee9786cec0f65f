package mls

import (
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/tree"
)

// taken is what the leaves of a group, present and chosen, have so that no other may
// have it: signature keys, encryption keys, init keys; and their credential types. It
// costs one look at each leaf, whatever is asked.
type taken struct {
	signers map[string]bool
	keys    map[string]bool // encryption keys of leaves and parents, and init keys
	inUse   map[tree.CredentialType]bool
	common  *common
	leaves  int
}

// newTaken starts with the encryption keys of all nodes.
func newTaken(p *PublicGroup) *taken {
	t := &taken{
		signers: map[string]bool{}, keys: map[string]bool{},
		inUse: map[tree.CredentialType]bool{}, common: newCommon(),
	}
	for _, key := range p.tree.EncryptionKeys {
		t.keys[string(key)] = true
	}
	return t
}

// leaf counts a leaf in.
func (t *taken) leaf(l *tree.LeafNode) {
	t.signers[string(l.SignatureKey)] = true
	t.inUse[l.Credential.Type] = true
	t.common.leaf(&l.Capabilities)
	t.leaves++
}

// add takes the two encryption keys of a key package.
func (t *taken) add(kp *message.KeyPackage) {
	t.keys[string(kp.InitKey)], t.keys[string(kp.Leaf.EncryptionKey)] = true, true
}

// replace takes a leaf that comes for another, whose signature key and credential type
// stay taken: nothing depends on its coming.
func (t *taken) replace(old, next *tree.LeafNode) error {
	same := string(old.SignatureKey) == string(next.SignatureKey)
	if t.signers[string(next.SignatureKey)] && !same {
		return rule.Break(rule.LeafSignatureKeyUnique, "another leaf has it")
	}
	if t.keys[string(next.EncryptionKey)] {
		return rule.Break(rule.LeafEncryptionKeyUnique, "another node has it")
	}
	if err := t.credential(next); err != nil {
		return err
	}
	t.keys[string(next.EncryptionKey)] = true
	t.leaf(next)
	t.leaves--
	return nil
}

// join takes the leaf of a client to be added.
func (t *taken) join(kp *message.KeyPackage) error {
	if t.signers[string(kp.Leaf.SignatureKey)] {
		return rule.Break(rule.ListDuplicateAdd, "another leaf has the signature key")
	}
	if t.keys[string(kp.Leaf.EncryptionKey)] {
		return rule.Break(rule.LeafEncryptionKeyUnique, "another node has it")
	}
	if t.keys[string(kp.InitKey)] {
		return rule.Break(rule.KeyPackageInitUnique, "another node or key package has it")
	}
	if err := t.credential(kp.Leaf); err != nil {
		return err
	}
	t.add(kp)
	t.leaf(kp.Leaf)
	return nil
}

// credential checks that the credential types of a leaf and of all others go together
// (RFC 9420 §7.3).
func (t *taken) credential(l *tree.LeafNode) error {
	if !t.common.credentials.all(l.Credential.Type, t.common.leaves) {
		return rule.Break(rule.LeafCredentialSupported, "credential type %d", l.Credential.Type)
	}
	for other := range t.inUse {
		if !l.Capabilities.SupportsCredential(other) {
			return rule.Break(rule.LeafSupportsCredentials, "credential type %d", other)
		}
	}
	return nil
}

// tally counts how many leaves list a type.
type tally[T comparable] map[T]struct{ count, last int }

// list counts a leaf's list, in which a type may stand twice.
func (t tally[T]) list(leaf int, types []T) {
	for _, v := range types {
		if n := t[v]; n.last != leaf {
			n.count, n.last = n.count+1, leaf
			t[v] = n
		}
	}
}

func (t tally[T]) all(v T, leaves int) bool { return t[v].count == leaves }

// common knows what all leaves that it was told of support.
type common struct {
	leaves      int
	extensions  tally[tree.ExtensionType]
	proposals   tally[tree.ProposalType]
	credentials tally[tree.CredentialType]
}

func newCommon() *common {
	return &common{0, tally[tree.ExtensionType]{}, tally[tree.ProposalType]{}, tally[tree.CredentialType]{}}
}

// leaf counts a leaf that supports what any of the given capabilities list.
func (c *common) leaf(any ...*tree.Capabilities) {
	c.leaves++
	for _, l := range any {
		c.extensions.list(c.leaves, l.Extensions)
		c.proposals.list(c.leaves, l.Proposals)
		c.credentials.list(c.leaves, l.Credentials)
	}
}

// check checks that all support the extensions of a group context (RFC 9420 §12.1.7,
// §13.4).
func (c *common) check(ext tree.Extensions) error {
	for _, e := range ext {
		if !e.Type.Default() && !c.extensions.all(e.Type, c.leaves) {
			return rule.Break(rule.ContextExtensions, "extension type 0x%04x", uint16(e.Type))
		}
	}
	required, ok, err := requiredCapabilities(ext)
	if err != nil || !ok {
		return err
	}
	for _, t := range required.Extensions {
		if !t.Default() && !c.extensions.all(t, c.leaves) {
			return rule.Break(rule.ContextRequired, "extension type 0x%04x", uint16(t))
		}
	}
	for _, t := range required.Proposals {
		if !t.Default() && !c.proposals.all(t, c.leaves) {
			return rule.Break(rule.ContextRequired, "proposal type 0x%04x", uint16(t))
		}
	}
	for _, t := range required.Credentials {
		if !c.credentials.all(t, c.leaves) {
			return rule.Break(rule.ContextRequired, "credential type %d", t)
		}
	}
	return nil
}
