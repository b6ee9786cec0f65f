package tree

import (
	"slices"

	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/treemath"
	"quicproquo/crypto/suite"
)

// Editor changes a private copy of a tree. It belongs to one goroutine; Freeze ends it.
type Editor struct {
	t *Tree
	// full is how many leaves from the left are known not to be blank, and empty how
	// many from the right are known to be: so that a row of Adds or Removes does not
	// search the tree for each.
	full, empty int
	// own are the parents made here, which nobody else sees yet.
	own map[*ParentNode]bool
}

// Edit starts a change. Nodes are shared with t, which stays as it is.
func (t *Tree) Edit() *Editor {
	return &Editor{t: &Tree{
		s: t.s, size: t.size, nodes: slices.Clone(t.nodes), hashes: slices.Clone(t.hashes),
	}}
}

// Tree gives a look at the present state, whose hashes are not up to date.
func (e *Editor) Tree() *Tree { return e.t }

// Freeze recomputes the hashes of changed paths and returns the tree.
func (e *Editor) Freeze() *Tree {
	t := e.t
	e.t = nil
	if t.hashes == nil {
		t.hashes = make([][]byte, len(t.nodes))
	}
	t.hash(t.size.Root())
	return t
}

// touch marks the hashes of x and everything above it as stale.
func (e *Editor) touch(x NodeIndex) {
	for root := e.t.size.Root(); ; x = x.Parent() {
		e.t.hashes[x] = nil
		if x == root {
			return
		}
	}
}

func (e *Editor) blankPath(l LeafIndex) {
	for x := l.Node(); x != e.t.size.Root(); {
		x = x.Parent()
		e.t.nodes[x] = node{}
	}
	e.touch(l.Node())
}

// Add puts a leaf at the leftmost blank place, extending the tree if there is none
// (RFC 9420 §12.1.1), and returns where.
func (e *Editor) Add(leaf *LeafNode) (LeafIndex, error) {
	at, err := e.free()
	if err != nil {
		return 0, err
	}
	e.t.nodes[at.Node()] = node{leaf: leaf}
	e.empty = min(e.empty, int(e.t.size)-int(at)-1)
	for x := at.Node(); x != e.t.size.Root(); {
		x = x.Parent()
		if p := e.t.nodes[x].parent; p != nil {
			e.t.nodes[x] = node{parent: e.withUnmerged(p, at)}
		}
	}
	e.touch(at.Node())
	return at, nil
}

// free returns the leftmost blank leaf, after extending the tree if need be.
func (e *Editor) free() (LeafIndex, error) {
	for ; e.full < int(e.t.size); e.full++ {
		if e.t.nodes[2*e.full].blank() {
			return LeafIndex(e.full), nil
		}
	}
	at := LeafIndex(e.t.size)
	if at >= treemath.MaxLeaves {
		return 0, rule.Break(rule.TreeShape, "the tree is full with %d leaves", at)
	}
	e.empty += int(e.t.size)
	e.t.size *= 2
	n := e.t.size.Nodes()
	e.t.nodes = append(e.t.nodes, make([]node, n-len(e.t.nodes))...)
	e.t.hashes = append(e.t.hashes, make([][]byte, n-len(e.t.hashes))...)
	return at, nil
}

// Reserve returns the place that the joiner of an external commit takes, extending the
// tree if need be (RFC 9420 §12.4.2).
func (e *Editor) Reserve() (LeafIndex, error) {
	at, err := e.free()
	if err == nil {
		e.touch(at.Node())
	}
	return at, err
}

// withUnmerged returns p with l added to the unmerged leaves: a copy, but of what was
// made here.
func (e *Editor) withUnmerged(p *ParentNode, l LeafIndex) *ParentNode {
	if !e.own[p] {
		q := *p
		q.UnmergedLeaves = slices.Clone(p.UnmergedLeaves)
		if p = &q; e.own == nil {
			e.own = map[*ParentNode]bool{}
		}
		e.own[p] = true
	}
	i, _ := slices.BinarySearch(p.UnmergedLeaves, l)
	p.UnmergedLeaves = slices.Insert(p.UnmergedLeaves, i, l)
	return p
}

// Update replaces a leaf and blanks its direct path (RFC 9420 §12.1.2).
func (e *Editor) Update(at LeafIndex, leaf *LeafNode) {
	e.blankPath(at)
	e.t.nodes[at.Node()] = node{leaf: leaf}
}

// Remove blanks a leaf and its direct path and truncates the tree (RFC 9420 §12.1.3).
func (e *Editor) Remove(at LeafIndex) {
	e.blankPath(at)
	e.t.nodes[at.Node()] = node{}
	e.full = min(e.full, int(at))
	for e.empty < int(e.t.size) && e.t.nodes[2*(int(e.t.size)-e.empty-1)].blank() {
		e.empty++
	}
	// Above leaves that are all blank no parent is left.
	for e.t.size > 1 && e.empty >= int(e.t.size)/2 {
		e.t.size /= 2
		e.empty -= int(e.t.size)
		n := e.t.size.Nodes()
		e.t.nodes, e.t.hashes = e.t.nodes[:n], e.t.hashes[:n]
	}
}

// MergePath blanks the direct path of a leaf, sets the public keys of its filtered
// direct path and their parent hashes, and returns the parent hash that the leaf must
// carry (RFC 9420 §7.5, §7.9). len(keys) must be len(path).
func (e *Editor) MergePath(at LeafIndex, path []Step, keys []suite.PublicKey) []byte {
	e.blankPath(at)
	above := []byte{}
	for i := len(path) - 1; i >= 0; i-- {
		p := &ParentNode{EncryptionKey: keys[i], ParentHash: above}
		e.t.nodes[path[i].Node] = node{parent: p}
		above = e.t.parentHash(p, e.t.hash(path[i].Copath))
	}
	return above
}

// SetLeaf puts a committer's new leaf in its place, keeping the path above.
func (e *Editor) SetLeaf(at LeafIndex, leaf *LeafNode) {
	e.t.nodes[at.Node()] = node{leaf: leaf}
	e.empty = min(e.empty, int(e.t.size)-int(at)-1)
	e.touch(at.Node())
}
