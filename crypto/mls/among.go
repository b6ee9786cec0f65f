package mls

import (
	"iter"

	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/tree"
)

// checkAmong checks what new leaves need from the other members and each other: unique
// keys and credential types that go together (RFC 9420 §7.3). A path's leaf is not in the
// tree yet: it counts in place of what is there. The cost is that of the tree and the
// leaves, not their product.
func checkAmong(t *tree.Tree, fresh []Member) error {
	if len(fresh) == 0 {
		return nil
	}
	at := make(map[tree.LeafIndex]bool, len(fresh))
	for _, m := range fresh {
		at[m.Index] = true
	}
	others := func(yield func(tree.LeafIndex, *tree.LeafNode) bool) {
		for i, l := range t.Members {
			if !at[i] && !yield(i, l) {
				return
			}
		}
	}
	news := func(yield func(tree.LeafIndex, *tree.LeafNode) bool) {
		for _, m := range fresh {
			if !yield(m.Index, m.Leaf) {
				return
			}
		}
	}
	if err := checkKeysAmong(others, fresh); err != nil {
		return err
	}
	types := credentialTypes(news)
	if err := checkCredentials(others, types, rule.LeafCredentialSupported); err != nil {
		return err
	}
	if err := checkCredentials(news, types, rule.LeafCredentialSupported); err != nil {
		return err
	}
	return checkCredentials(news, credentialTypes(others), rule.LeafSupportsCredentials)
}

func checkKeysAmong(others iter.Seq2[tree.LeafIndex, *tree.LeafNode], fresh []Member) error {
	signers := make(map[string]tree.LeafIndex, len(fresh))
	keys := make(map[string]tree.LeafIndex, len(fresh))
	for _, m := range fresh {
		if i, used := signers[string(m.Leaf.SignatureKey)]; used {
			return rule.Break(rule.LeafSignatureKeyUnique, "leaves %d and %d", i, m.Index)
		}
		if i, used := keys[string(m.Leaf.EncryptionKey)]; used {
			return rule.Break(rule.LeafEncryptionKeyUnique, "leaves %d and %d", i, m.Index)
		}
		signers[string(m.Leaf.SignatureKey)], keys[string(m.Leaf.EncryptionKey)] = m.Index, m.Index
	}
	for i, l := range others {
		if j, used := signers[string(l.SignatureKey)]; used {
			return rule.Break(rule.LeafSignatureKeyUnique, "leaves %d and %d", i, j)
		}
		if j, used := keys[string(l.EncryptionKey)]; used {
			return rule.Break(rule.LeafEncryptionKeyUnique, "leaves %d and %d", i, j)
		}
	}
	return nil
}

// credentialTypes returns the types of the leaves' credentials, each once, in the order
// of their first leaf.
func credentialTypes(leaves iter.Seq2[tree.LeafIndex, *tree.LeafNode]) []tree.CredentialType {
	seen := map[tree.CredentialType]bool{}
	var out []tree.CredentialType
	for _, l := range leaves {
		if t := l.Credential.Type; !seen[t] {
			seen[t] = true
			out = append(out, t)
		}
	}
	return out
}

// checkCredentials checks that the leaves support all the types; broken is the rule if
// one does not.
func checkCredentials(leaves iter.Seq2[tree.LeafIndex, *tree.LeafNode], types []tree.CredentialType, broken rule.Rule) error {
	for i, l := range leaves {
		supported := tree.SetOf(l.Capabilities.Credentials)
		for _, t := range types {
			if !supported.Has(t) {
				return rule.Break(broken, "leaf %d, credential type %d", i, t)
			}
		}
	}
	return nil
}
