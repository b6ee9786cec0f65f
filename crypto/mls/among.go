package mls

import (
	"bytes"
	"iter"

	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/tree"
)

// checkAmong checks what new leaves need from the other members and each other: unique
// keys and credential types that go together (RFC 9420 §7.3). A path's leaf is not in the
// tree yet: it counts in place of what is there. The cost is that of the tree and the
// leaves, not their product: one pass over the members, which every commit pays.
func checkAmong(t *tree.Tree, fresh []Member) error {
	if len(fresh) == 0 {
		return nil
	}
	n, err := newcomersOf(fresh)
	if err != nil {
		return err
	}
	var others types
	for i, l := range t.Members {
		if n.at(i) {
			continue
		}
		if err := n.checkKeys(i, l); err != nil {
			return err
		}
		if err := checkCredentials(i, l, n.types.list, rule.LeafCredentialSupported); err != nil {
			return err
		}
		others.add(l.Credential.Type)
	}
	for _, m := range fresh {
		if err := checkCredentials(m.Index, m.Leaf, n.types.list, rule.LeafCredentialSupported); err != nil {
			return err
		}
		if err := checkCredentials(m.Index, m.Leaf, others.list, rule.LeafSupportsCredentials); err != nil {
			return err
		}
	}
	return nil
}

// newcomers are the new leaves of a change, to be found by place and by key. One alone,
// a path's leaf, is compared: tables for it would cost each member two look-ups.
type newcomers struct {
	alone         Member
	places        map[tree.LeafIndex]bool
	signers, keys map[string]tree.LeafIndex
	types         types
}

// newcomersOf fails if two of the leaves share a key.
func newcomersOf(fresh []Member) (*newcomers, error) {
	if len(fresh) == 1 {
		n := &newcomers{alone: fresh[0]}
		n.types.add(fresh[0].Leaf.Credential.Type)
		return n, nil
	}
	n := &newcomers{
		places:  make(map[tree.LeafIndex]bool, len(fresh)),
		signers: make(map[string]tree.LeafIndex, len(fresh)),
		keys:    make(map[string]tree.LeafIndex, len(fresh)),
	}
	for _, m := range fresh {
		if err := n.checkKeys(m.Index, m.Leaf); err != nil {
			return nil, err
		}
		n.places[m.Index] = true
		n.signers[string(m.Leaf.SignatureKey)], n.keys[string(m.Leaf.EncryptionKey)] = m.Index, m.Index
		n.types.add(m.Leaf.Credential.Type)
	}
	return n, nil
}

// at reports whether a newcomer is at this place.
func (n *newcomers) at(i tree.LeafIndex) bool {
	if n.places == nil {
		return i == n.alone.Index
	}
	return n.places[i]
}

// checkKeys fails if a newcomer has a key of this leaf.
func (n *newcomers) checkKeys(i tree.LeafIndex, l *tree.LeafNode) error {
	j, signer := n.signers[string(l.SignatureKey)]
	k, key := n.keys[string(l.EncryptionKey)]
	if n.places == nil {
		j, signer = n.alone.Index, bytes.Equal(l.SignatureKey, n.alone.Leaf.SignatureKey)
		k, key = n.alone.Index, bytes.Equal(l.EncryptionKey, n.alone.Leaf.EncryptionKey)
	}
	switch {
	case signer:
		return rule.Break(rule.LeafSignatureKeyUnique, "leaves %d and %d", i, j)
	case key:
		return rule.Break(rule.LeafEncryptionKeyUnique, "leaves %d and %d", i, k)
	}
	return nil
}

// types are credential types, each once, in the order of their first leaf.
type types struct {
	list []tree.CredentialType
	seen map[tree.CredentialType]bool
}

func (t *types) add(c tree.CredentialType) {
	if n := len(t.list); n > 0 && t.list[n-1] == c || t.seen[c] { // most groups have one type
		return
	}
	if t.seen == nil {
		t.seen = map[tree.CredentialType]bool{}
	}
	t.seen[c] = true
	t.list = append(t.list, c)
}

// credentialTypes returns the types of the leaves' credentials.
func credentialTypes(leaves iter.Seq2[tree.LeafIndex, *tree.LeafNode]) []tree.CredentialType {
	var t types
	for _, l := range leaves {
		t.add(l.Credential.Type)
	}
	return t.list
}

// checkCredentials checks that a leaf supports all the types; broken is the rule if it
// does not.
func checkCredentials(i tree.LeafIndex, l *tree.LeafNode, types []tree.CredentialType, broken rule.Rule) error {
	supported := tree.SetOf(l.Capabilities.Credentials)
	for _, t := range types {
		if !supported.Has(t) {
			return rule.Break(broken, "leaf %d, credential type %d", i, t)
		}
	}
	return nil
}
