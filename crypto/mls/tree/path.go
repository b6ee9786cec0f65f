package tree

import (
	"fmt"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/suite"
)

// AppendCiphertext appends an HPKECiphertext (RFC 9420 §7.6).
func AppendCiphertext(b []byte, c suite.Ciphertext) []byte {
	return codec.Bytes(codec.Bytes(b, c.KEMOutput), c.Ciphertext)
}

// ReadCiphertext decodes an HPKECiphertext.
func ReadCiphertext(r *codec.Reader) suite.Ciphertext {
	c := suite.Ciphertext{KEMOutput: r.Bytes(), Ciphertext: r.Bytes()}
	if r.Err() == nil && len(c.Ciphertext) < suite.Overhead {
		r.Fail(fmt.Errorf("ciphertext of %d bytes, less than its tag: %w", len(c.Ciphertext), codec.ErrValue))
	}
	return c
}

// UpdatePathNode is one node of an update path (RFC 9420 §7.6).
type UpdatePathNode struct {
	EncryptionKey suite.PublicKey
	Secrets       []suite.Ciphertext
}

// AppendTo appends the wire form.
func (n UpdatePathNode) AppendTo(b []byte) []byte {
	b = codec.Bytes(b, n.EncryptionKey)
	return codec.Vector(b, func(b []byte) []byte {
		for _, c := range n.Secrets {
			b = AppendCiphertext(b, c)
		}
		return b
	})
}

// UpdatePath carries a committer's new leaf and path (RFC 9420 §7.6).
type UpdatePath struct {
	Leaf  *LeafNode
	Nodes []UpdatePathNode
}

// AppendTo appends the wire form.
func (p *UpdatePath) AppendTo(b []byte) []byte {
	return codec.AppendList(p.Leaf.AppendTo(b), p.Nodes)
}

// ReadUpdatePath decodes an update path.
func ReadUpdatePath(r *codec.Reader) *UpdatePath {
	return &UpdatePath{ReadLeafNode(r), codec.ListUpTo(r, MaxPathNodes, func(r *codec.Reader) UpdatePathNode {
		return UpdatePathNode{r.Bytes(), codec.List(r, ReadCiphertext)}
	})}
}

// Apply checks a received path against the tree after the proposals and merges it
// (RFC 9420 §12.4.2): length, fresh keys and the leaf's parent hash. Leaf validation is
// the group's. It leaves the editor in a state that must be dropped on error.
func (e *Editor) Apply(sender LeafIndex, p *UpdatePath) error {
	steps := e.t.FilteredDirectPath(sender)
	if len(steps) != len(p.Nodes) {
		return rule.Break(rule.PathLength, "got %d nodes, want %d", len(p.Nodes), len(steps))
	}
	keys := make([]suite.PublicKey, 0, len(steps)+1)
	for _, n := range p.Nodes {
		keys = append(keys, n.EncryptionKey)
	}
	if err := e.t.CheckNewKeys(append(keys, p.Leaf.EncryptionKey), sender); err != nil {
		return err
	}
	parentHash := e.MergePath(sender, steps, keys)
	if string(parentHash) != string(p.Leaf.ParentHash) {
		return rule.Break(rule.PathParentHash, "leaf %d", sender)
	}
	e.SetLeaf(sender, p.Leaf)
	return nil
}

// CheckCiphertexts checks that every node of the path has as many ciphertexts as its
// copath resolution without the leaves added by the same commit, sorted.
func (t *Tree) CheckCiphertexts(steps []Step, p *UpdatePath, added []LeafIndex) error {
	for i, s := range steps {
		want := len(t.Resolution(s.Copath, added))
		if len(p.Nodes[i].Secrets) != want {
			return rule.Break(rule.PathCiphertexts, "node %d: got %d, want %d", s.Node, len(p.Nodes[i].Secrets), want)
		}
	}
	return nil
}

// pathSecrets derives the n path secrets that follow first, first included, and the
// commit secret after them (RFC 9420 §7.4).
func pathSecrets(s *suite.Suite, first suite.Secret, n int) (secrets []suite.Secret, commit suite.Secret) {
	for range n {
		secrets = append(secrets, first)
		first = s.DeriveSecret(first, "path")
	}
	return secrets, first
}

// nodeKey derives the key pair of a node from its path secret (RFC 9420 §7.4).
func nodeKey(s *suite.Suite, pathSecret suite.Secret) (*suite.PrivateKey, suite.PublicKey, error) {
	secret := s.DeriveSecret(pathSecret, "node")
	defer secret.Zero()
	return s.DeriveKeyPair(secret)
}

// nodeKeys derives the key pairs of several nodes, on all processors.
func nodeKeys(s *suite.Suite, secrets []suite.Secret) ([]*suite.PrivateKey, []suite.PublicKey, error) {
	priv := make([]*suite.PrivateKey, len(secrets))
	pub := make([]suite.PublicKey, len(secrets))
	errs := make([]error, len(secrets))
	Parallel(len(secrets), func(i int) { priv[i], pub[i], errs[i] = nodeKey(s, secrets[i]) })
	for _, err := range errs {
		if err != nil {
			return nil, nil, fmt.Errorf("derive node key: %w", err)
		}
	}
	return priv, pub, nil
}
