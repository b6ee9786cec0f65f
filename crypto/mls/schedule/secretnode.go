package schedule

import (
	"fmt"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/suite"
)

// secretNode is a node of a persistent tree of secrets: it has a secret that nothing
// was derived from yet, or children, or (nil) was consumed altogether. Immutable.
type secretNode struct {
	secret      suite.Secret
	left, right *secretNode
}

// take derives the secret of the leaf with the given index under a node of the given
// height and returns the tree without it: secrets on the way are dropped, those beside
// it kept (RFC 9420 §9, §9.2). ok is false if the leaf was taken before.
func (n *secretNode) take(s *suite.Suite, height int, index uint32) (secret suite.Secret, rest *secretNode, ok bool) {
	if n == nil {
		return nil, nil, false
	}
	if height == 0 {
		return n.secret, nil, true
	}
	left, right := n.left, n.right
	if n.secret != nil {
		left = &secretNode{secret: s.ExpandWithLabel(n.secret, "tree", []byte("left"), s.HashSize())}
		right = &secretNode{secret: s.ExpandWithLabel(n.secret, "tree", []byte("right"), s.HashSize())}
	}
	on, side := left, &left
	if index>>(height-1)&1 == 1 {
		on, side = right, &right
	}
	secret, *side, ok = on.take(s, height-1, index)
	if n.secret != nil && height > 1 {
		on.secret.Zero() // it was made here, and nothing but what it has given is kept
	}
	if left == nil && right == nil {
		return secret, nil, ok
	}
	return secret, &secretNode{left: left, right: right}, ok
}

func (n *secretNode) each(visit func(suite.Secret)) {
	if n != nil {
		visit(n.secret)
		n.left.each(visit)
		n.right.each(visit)
	}
}

// Marks of the state encoding.
const (
	nodeConsumed = 0
	nodeSecret   = 1
	nodeInner    = 2
)

func (n *secretNode) appendTo(b []byte) []byte {
	switch {
	case n == nil:
		return append(b, nodeConsumed)
	case n.secret != nil:
		return codec.Bytes(append(b, nodeSecret), n.secret)
	default:
		return n.right.appendTo(n.left.appendTo(append(b, nodeInner)))
	}
}

// readSecretNode decodes a node of the given height; the depth of recursion is bounded
// by it.
func readSecretNode(r *codec.Reader, height int) *secretNode {
	switch mark := r.Uint8(); {
	case r.Err() != nil || mark == nodeConsumed:
		return nil
	case mark == nodeSecret:
		return &secretNode{secret: r.Bytes()}
	case mark == nodeInner && height > 0:
		return &secretNode{left: readSecretNode(r, height-1), right: readSecretNode(r, height-1)}
	default:
		r.Fail(fmt.Errorf("secret tree mark %d: %w", mark, codec.ErrValue))
		return nil
	}
}

// exporterHeight gives the exporter tree one leaf per 16-bit component id.
const exporterHeight = 16

// ExporterTree derives one secret per component, once (draft-ietf-mls-extensions §3.4).
type ExporterTree struct {
	s    *suite.Suite
	root *secretNode
}

// NewExporterTree grows a tree from the application export secret, which it owns.
func NewExporterTree(s *suite.Suite, root suite.Secret) *ExporterTree {
	return &ExporterTree{s, &secretNode{secret: root}}
}

// Take returns the secret of a component and the tree without it; ok is false if it
// was taken before in this epoch.
func (t *ExporterTree) Take(component uint16) (secret suite.Secret, rest *ExporterTree, ok bool) {
	secret, root, ok := t.root.take(t.s, exporterHeight, uint32(component))
	if !ok {
		return nil, t, false
	}
	return secret, &ExporterTree{t.s, root}, true
}

// EachSecret visits all secrets.
func (t *ExporterTree) EachSecret(visit func(suite.Secret)) { t.root.each(visit) }

// Zero erases all secrets.
func (t *ExporterTree) Zero() { t.EachSecret(suite.Secret.Zero) }

// AppendTo appends the state encoding.
func (t *ExporterTree) AppendTo(b []byte) []byte { return t.root.appendTo(b) }

// ReadExporterTree decodes the state encoding.
func ReadExporterTree(s *suite.Suite, r *codec.Reader) *ExporterTree {
	return &ExporterTree{s, readSecretNode(r, exporterHeight)}
}
