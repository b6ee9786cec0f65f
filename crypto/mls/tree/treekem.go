package tree

import (
	"fmt"
	"maps"

	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/treemath"
	"quicproquo/crypto/suite"
)

const pathLabel = "UpdatePathNode"

// Private holds one member's private keys: its leaf's and those of nodes on its direct
// path. An immutable value.
type Private struct {
	Self LeafIndex
	keys map[NodeIndex]*suite.PrivateKey
}

// NewPrivate returns the keys of a member that knows only its own leaf.
func NewPrivate(self LeafIndex, key *suite.PrivateKey) *Private {
	return &Private{self, map[NodeIndex]*suite.PrivateKey{self.Node(): key}}
}

// Keys calls yield for every node whose private key is known.
func (p *Private) Keys(yield func(NodeIndex, *suite.PrivateKey) bool) {
	for x, k := range p.keys {
		if !yield(x, k) {
			return
		}
	}
}

// Key returns the private key of a node, or nil.
func (p *Private) Key(x NodeIndex) *suite.PrivateKey { return p.keys[x] }

// With returns a copy with one more key.
func (p *Private) With(x NodeIndex, key *suite.PrivateKey) *Private {
	q := &Private{p.Self, maps.Clone(p.keys)}
	q.keys[x] = key
	return q
}

// Prune returns a copy without keys that no longer belong to a node of t.
func (p *Private) Prune(t *Tree) *Private {
	q := &Private{p.Self, make(map[NodeIndex]*suite.PrivateKey, len(p.keys))}
	for x, k := range p.keys {
		if t.PublicKey(x) != nil {
			q.keys[x] = k
		}
	}
	return q
}

// NewPath is what a committer makes before it can encrypt (RFC 9420 §7.4, §7.5).
type NewPath struct {
	Steps   []Step
	Commit  suite.Secret // the commit secret
	leaf    *LeafNode
	keys    []suite.PublicKey
	secrets []suite.Secret
}

// Create generates a path for the leaf at self, merges it, and signs the leaf made by
// leaf for the new encryption key and parent hash. It returns the member's new private
// keys.
func (e *Editor) Create(self LeafIndex, old *Private, leaf func(key suite.PublicKey, parentHash []byte) (*LeafNode, error)) (*NewPath, *Private, error) {
	s := e.t.s
	steps := e.t.FilteredDirectPath(self)
	path := &NewPath{Steps: steps}
	path.secrets, path.Commit = pathSecrets(s, suite.Random(s.HashSize()), len(steps))
	priv, pub, err := nodeKeys(s, path.secrets)
	if err != nil {
		return nil, nil, err
	}
	leafPriv, leafPub, err := s.GenerateKeyPair()
	if err != nil {
		return nil, nil, err
	}
	path.keys = pub
	parentHash := e.MergePath(self, steps, pub)
	if path.leaf, err = leaf(leafPub, parentHash); err != nil {
		return nil, nil, err
	}
	e.SetLeaf(self, path.leaf)
	next := &Private{self, make(map[NodeIndex]*suite.PrivateKey, len(steps)+1)}
	if old != nil {
		maps.Copy(next.keys, old.keys)
	}
	next.keys[self.Node()] = leafPriv
	for i, st := range steps {
		next.keys[st.Node] = priv[i]
	}
	return path, next.Prune(e.t), nil
}

// Encrypt seals the path secrets to the copath resolutions, without the leaves added by
// the same commit, sorted (RFC 9420 §7.5). context is the provisional group context.
func (t *Tree) Encrypt(path *NewPath, context []byte, added []LeafIndex) (*UpdatePath, error) {
	out := &UpdatePath{Leaf: path.leaf, Nodes: make([]UpdatePathNode, len(path.Steps))}
	type job struct{ node, slot int }
	var jobs []job
	var to []NodeIndex
	for i, st := range path.Steps {
		res := t.Resolution(st.Copath, added)
		out.Nodes[i] = UpdatePathNode{path.keys[i], make([]suite.Ciphertext, len(res))}
		for j := range res {
			jobs = append(jobs, job{i, j})
		}
		to = append(to, res...)
	}
	errs := make([]error, len(jobs))
	Parallel(len(jobs), func(k int) {
		j := jobs[k]
		out.Nodes[j.node].Secrets[j.slot], errs[k] = t.s.EncryptWithLabel(
			t.PublicKey(to[k]), pathLabel, context, path.secrets[j.node])
	})
	for k, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("encrypt path secret to node %d: %w", to[k], err)
		}
	}
	return out, nil
}

// SecretFor returns the path secret of the lowest node above both the committer and a
// new member, for the new member's welcome (RFC 9420 §12.4.1).
func (p *NewPath) SecretFor(self, member LeafIndex) suite.Secret {
	ancestor := treemath.CommonAncestor(self.Node(), member.Node())
	for i, st := range p.Steps {
		if st.Node == ancestor {
			return p.secrets[i]
		}
	}
	return nil
}

// Zero erases the path secrets once the commit and its welcomes are built.
func (p *NewPath) Zero() {
	for _, s := range p.secrets {
		s.Zero()
	}
}

// Decrypt opens the path secret meant for the member that owns p, checks that it gives
// the published keys, and returns the member's new keys and the commit secret
// (RFC 9420 §7.5). t is the tree after the path was applied; sizes must have been
// checked by CheckCiphertexts.
func (t *Tree) Decrypt(p *Private, sender LeafIndex, path *UpdatePath, context []byte, added []LeafIndex) (*Private, suite.Secret, error) {
	steps := t.FilteredDirectPath(sender)
	if err := t.CheckCiphertexts(steps, path, added); err != nil {
		return nil, nil, err
	}
	for i, st := range steps {
		if !st.Copath.Contains(p.Self.Node()) {
			continue
		}
		for j, x := range t.Resolution(st.Copath, added) {
			key := p.keys[x]
			if key == nil || !x.Contains(p.Self.Node()) {
				continue
			}
			secret, err := t.s.DecryptWithLabel(key, pathLabel, context, path.Nodes[i].Secrets[j])
			if err != nil {
				return nil, nil, rule.Because(rule.PathSecret, err)
			}
			return t.implant(p, steps[i:], secret)
		}
	}
	return nil, nil, rule.Break(rule.PathSecret, "no ciphertext for leaf %d", p.Self)
}

// Implant sets the keys that follow from the path secret of the lowest node above both
// p's leaf and the committer (RFC 9420 §12.4.3.1), for a member joining by welcome.
func (t *Tree) Implant(p *Private, committer LeafIndex, secret suite.Secret) (*Private, error) {
	ancestor := treemath.CommonAncestor(committer.Node(), p.Self.Node())
	steps := t.FilteredDirectPath(committer)
	for i, st := range steps {
		if st.Node == ancestor {
			next, commit, err := t.implant(p, steps[i:], secret)
			commit.Zero()
			return next, err
		}
	}
	return nil, rule.Break(rule.PathSecret, "the common ancestor is not on the committer's path")
}

func (t *Tree) implant(p *Private, steps []Step, secret suite.Secret) (*Private, suite.Secret, error) {
	secrets, commit := pathSecrets(t.s, secret, len(steps))
	priv, pub, err := nodeKeys(t.s, secrets)
	if err != nil {
		return nil, nil, err
	}
	next := &Private{p.Self, maps.Clone(p.keys)}
	for i, st := range steps {
		secrets[i].Zero()
		if string(pub[i]) != string(t.PublicKey(st.Node)) {
			return nil, nil, rule.Break(rule.PathSecret, "node %d has another public key", st.Node)
		}
		next.keys[st.Node] = priv[i]
	}
	return next.Prune(t), commit, nil
}
