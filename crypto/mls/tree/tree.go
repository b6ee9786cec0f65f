package tree

import (
	"fmt"
	"slices"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/treemath"
	"quicproquo/crypto/suite"
)

// node is a place in the tree: a leaf, a parent, or blank. What it points to is
// immutable and shared between trees.
type node struct {
	leaf   *LeafNode
	parent *ParentNode
}

func (n node) blank() bool { return n.leaf == nil && n.parent == nil }

func (n node) key() suite.PublicKey {
	if n.leaf != nil {
		return n.leaf.EncryptionKey
	}
	return n.parent.EncryptionKey
}

func (n node) parentHash() []byte {
	if n.leaf != nil {
		return n.leaf.ParentHash
	}
	return n.parent.ParentHash
}

// Tree is an immutable ratchet tree with its tree hashes. Safe for concurrent use.
type Tree struct {
	s      *suite.Suite
	size   treemath.Size
	nodes  []node   // size.Nodes() of them
	hashes [][]byte // tree hash of each node; in an Editor nil where it must be recomputed
}

// New returns a tree with one member.
func New(s *suite.Suite, leaf *LeafNode) *Tree {
	t := &Tree{s: s, size: 1, nodes: []node{{leaf: leaf}}, hashes: make([][]byte, 1)}
	t.hash(0)
	return t
}

// Hash returns the tree hash of the root.
func (t *Tree) Hash() []byte { return t.hashes[t.size.Root()] }

// NodeHash returns the tree hash of any node.
func (t *Tree) NodeHash(x NodeIndex) []byte { return t.hashes[x] }

// Size returns the number of leaves, blank ones included.
func (t *Tree) Size() treemath.Size { return t.size }

// Leaf returns the leaf node at l, or nil if it is blank or outside the tree.
func (t *Tree) Leaf(l LeafIndex) *LeafNode {
	if uint64(l) >= uint64(t.size) {
		return nil
	}
	return t.nodes[l.Node()].leaf
}

// PublicKey returns the encryption key of a node, or nil if it is blank.
func (t *Tree) PublicKey(x NodeIndex) suite.PublicKey {
	if int(x) >= len(t.nodes) || t.nodes[x].blank() {
		return nil
	}
	return t.nodes[x].key()
}

// Members calls yield for every non-blank leaf from left to right.
func (t *Tree) Members(yield func(LeafIndex, *LeafNode) bool) {
	for i := 0; i < len(t.nodes); i += 2 {
		if l := t.nodes[i].leaf; l != nil && !yield(LeafIndex(i/2), l) {
			return
		}
	}
}

// Count returns the number of members.
func (t *Tree) Count() int {
	n := 0
	for range t.Members {
		n++
	}
	return n
}

// FindKey returns the member with the given signature key.
func (t *Tree) FindKey(key suite.SignaturePublicKey) (LeafIndex, bool) {
	for i, l := range t.Members {
		if string(l.SignatureKey) == string(key) {
			return i, true
		}
	}
	return 0, false
}

// Resolution returns the resolution of x without the leaves in exclude (RFC 9420 §4.1.1),
// whose elements are sorted.
func (t *Tree) Resolution(x NodeIndex, exclude []LeafIndex) []NodeIndex {
	return t.resolve(nil, x, exclude)
}

func (t *Tree) resolve(out []NodeIndex, x NodeIndex, exclude []LeafIndex) []NodeIndex {
	n := t.nodes[x]
	switch {
	case n.parent != nil:
		out = append(out, x)
		for _, l := range n.parent.UnmergedLeaves {
			if !containsLeaf(exclude, l) {
				out = append(out, l.Node())
			}
		}
	case n.leaf != nil:
		if !containsLeaf(exclude, x.Leaf()) {
			out = append(out, x)
		}
	case !x.IsLeaf():
		out = t.resolve(out, x.Left(), exclude)
		out = t.resolve(out, x.Right(), exclude)
	}
	return out
}

// empty reports whether the resolution of x is empty.
func (t *Tree) empty(x NodeIndex) bool {
	if !t.nodes[x].blank() {
		return false
	}
	return x.IsLeaf() || (t.empty(x.Left()) && t.empty(x.Right()))
}

// Step is one node of a filtered direct path with its child off the path.
type Step struct{ Node, Copath NodeIndex }

// FilteredDirectPath returns the direct path of a leaf without the nodes whose copath
// child has an empty resolution (RFC 9420 §4.1.2).
func (t *Tree) FilteredDirectPath(l LeafIndex) []Step {
	var path []Step
	for x := l.Node(); x != t.size.Root(); x = x.Parent() {
		if sibling := x.Sibling(); !t.empty(sibling) {
			path = append(path, Step{x.Parent(), sibling})
		}
	}
	return path
}

// AppendTo appends the ratchet_tree extension's contents (RFC 9420 §12.4.3.3).
func (t *Tree) AppendTo(b []byte) []byte {
	last := len(t.nodes) - 1
	for last >= 0 && t.nodes[last].blank() {
		last--
	}
	size := t.EncodedSize()
	return codec.VectorAbout(slices.Grow(b, size), size, func(b []byte) []byte {
		for _, n := range t.nodes[:last+1] {
			switch {
			case n.leaf != nil:
				b = n.leaf.AppendTo(append(b, 1, nodeTypeLeaf))
			case n.parent != nil:
				b = n.parent.AppendTo(append(b, 1, nodeTypeParent))
			default:
				b = append(b, 0)
			}
		}
		return b
	})
}

// EncodedSize estimates the size of the encoded tree in bytes, rather too large than too
// small, for one allocation instead of many.
func (t *Tree) EncodedSize() int {
	const parentRest = 8 // headers
	size := 0
	for _, n := range t.nodes {
		switch {
		case n.leaf != nil:
			size += n.leaf.encodedSize()
		case n.parent != nil:
			size += parentRest + len(n.parent.EncryptionKey) + len(n.parent.ParentHash) + 4*len(n.parent.UnmergedLeaves)
		default:
			size++
		}
	}
	return size
}

// encodedSize is at least the size of the encoded leaf in bytes, and hardly more.
func (l *LeafNode) encodedSize() int {
	const rest, head = 64, 4 // headers, the lifetime and the like; of a list's element
	size := rest + len(l.EncryptionKey) + len(l.SignatureKey) + len(l.Signature) + len(l.Credential.Identity) + len(l.ParentHash)
	for _, c := range l.Credential.Certificates {
		size += head + len(c)
	}
	for _, e := range l.Extensions {
		size += 2 + head + len(e.Data)
	}
	c := &l.Capabilities
	return size + 2*(len(c.Versions)+len(c.Suites)+len(c.Extensions)+len(c.Proposals)+len(c.Credentials))
}

const (
	nodeTypeLeaf   = 1
	nodeTypeParent = 2
)

// Read decodes the ratchet tree of a saved group and computes its hashes. It checks the
// shape only.
func Read(s *suite.Suite, r *codec.Reader) (*Tree, error) {
	l, err := readNodes(r)
	if err != nil {
		return nil, err
	}
	e := l.edit(s)
	return e.Freeze(), nil
}

// Decode decodes a stranger's ratchet tree. It checks the shape and the limits only:
// VerifyLeaves comes next, and Validate after the hashes that Freeze computes.
func Decode(s *suite.Suite, r *codec.Reader) (*Editor, error) {
	l, err := readNodes(r)
	if err != nil {
		return nil, err
	}
	if most := max(SparseLeaves, l.members*MaxLeavesPerMember); int(l.size) > most {
		return nil, rule.Break(rule.Limit, "%d leaves for %d members, at most %d", l.size, l.members, most)
	}
	return l.edit(s), nil
}

// nodeList is a decoded tree without its blank nodes.
type nodeList struct {
	nodes   []placed
	members int
	size    treemath.Size
}

// placed is a node that is not blank, with its index.
type placed struct {
	node
	at int
}

// edit puts the nodes in their places.
func (l *nodeList) edit(s *suite.Suite) *Editor {
	t := &Tree{s: s, size: l.size, nodes: make([]node, l.size.Nodes())} // Freeze makes room for the hashes
	for _, p := range l.nodes {
		t.nodes[p.at] = p.node
	}
	return &Editor{t: t}
}

func readNodes(r *codec.Reader) (*nodeList, error) {
	l, n := &nodeList{}, 0
	v := r.Vector()
	for n = v.Absent(); v.More(); n += 1 + v.Absent() {
		if n >= 2*treemath.MaxLeaves {
			return nil, rule.Break(rule.TreeShape, "more than %d leaves", treemath.MaxLeaves)
		}
		x := readNode(v)
		if v.Err() != nil {
			break
		}
		if (x.leaf != nil) != (n%2 == 0) {
			return nil, rule.Break(rule.TreeShape, "node %d has the wrong kind", n)
		}
		if x.leaf != nil {
			l.members++
		}
		l.nodes = append(l.nodes, placed{x, n})
	}
	r.Done(v)
	if err := r.Err(); err != nil {
		return nil, fmt.Errorf("decode ratchet tree: %w", err)
	}
	if len(l.nodes) == 0 || l.nodes[len(l.nodes)-1].at != n-1 {
		return nil, rule.Break(rule.TreeShape, "the last node is blank")
	}
	l.size = treemath.SizeFor((n + 1 + 1) / 2)
	return l, nil
}

func readNode(r *codec.Reader) node {
	if !r.Optional() {
		return node{}
	}
	switch kind := r.Uint8(); kind {
	case nodeTypeLeaf:
		return node{leaf: ReadLeafNode(r)}
	case nodeTypeParent:
		return node{parent: ReadParentNode(r)}
	default:
		r.Fail(fmt.Errorf("node type %d: %w", kind, codec.ErrValue))
		return node{}
	}
}

// containsLeaf searches a sorted list.
func containsLeaf(list []LeafIndex, l LeafIndex) bool {
	_, found := slices.BinarySearch(list, l)
	return found
}
