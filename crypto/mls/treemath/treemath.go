// Package treemath computes with node indices of a full binary tree stored as an array
// in in-order (RFC 9420 appendix C): leaf i is node 2i, the root of a tree of 2^d leaves
// is node 2^d-1. It knows neither keys nor contents, and must never be handed an index
// outside the tree: callers check, and a broken check panics here.
package treemath

import "math/bits"

// LeafIndex numbers the leaves from left to right, from 0.
type LeafIndex uint32

// NodeIndex numbers all nodes in in-order, from 0.
type NodeIndex uint32

// MaxLeaves bounds the size of a tree, so that node indices fit in 31 bits and a tree
// that a message merely claims cannot exhaust memory.
const MaxLeaves = 1 << 24

// Node returns the node index of a leaf.
func (l LeafIndex) Node() NodeIndex { return NodeIndex(2 * l) }

// Leaf returns the leaf index of a leaf node.
func (x NodeIndex) Leaf() LeafIndex {
	if x&1 != 0 {
		panic("treemath: node is not a leaf")
	}
	return LeafIndex(x / 2)
}

// IsLeaf reports whether x is a leaf.
func (x NodeIndex) IsLeaf() bool { return x&1 == 0 }

// Level returns the height of x above the leaves.
func (x NodeIndex) Level() int { return bits.TrailingZeros32(^uint32(x)) }

// Left returns the left child of a parent node.
func (x NodeIndex) Left() NodeIndex {
	k := x.Level()
	if k == 0 {
		panic("treemath: a leaf has no children")
	}
	return x ^ 1<<(k-1)
}

// Right returns the right child of a parent node.
func (x NodeIndex) Right() NodeIndex {
	k := x.Level()
	if k == 0 {
		panic("treemath: a leaf has no children")
	}
	return x ^ 3<<(k-1)
}

// Parent returns the node above x. It must not be asked for the parent of a root.
func (x NodeIndex) Parent() NodeIndex {
	k := x.Level()
	return (x | 1<<k) &^ (1 << (k + 1))
}

// Sibling returns the other child of x's parent.
func (x NodeIndex) Sibling() NodeIndex {
	p := x.Parent()
	if x < p {
		return p.Right()
	}
	return p.Left()
}

// Contains reports whether y is x or below it.
func (x NodeIndex) Contains(y NodeIndex) bool {
	k := x.Level()
	return uint32(y)>>(k+1) == uint32(x)>>(k+1) && y.Level() <= k
}

// Leaves returns the half-open range of leaves under x.
func (x NodeIndex) Leaves() (from, to LeafIndex) {
	half := NodeIndex(1)<<x.Level() - 1
	return LeafIndex((x - half) / 2), LeafIndex((x+half)/2) + 1
}

// Size is the number of leaves of a tree, a power of two.
type Size uint32

// Nodes returns the number of nodes.
func (n Size) Nodes() int { return int(2*n) - 1 }

// Root returns the node index of the root.
func (n Size) Root() NodeIndex { return NodeIndex(n - 1) }

// SizeFor returns the smallest size that holds the given number of leaves, at least 1.
func SizeFor(leaves int) Size {
	n := Size(1)
	for int(n) < leaves {
		n *= 2
	}
	return n
}

// DirectPath returns the ancestors of x, from its parent to the root.
func (n Size) DirectPath(x NodeIndex) []NodeIndex {
	root := n.Root()
	path := make([]NodeIndex, 0, root.Level())
	for x != root {
		x = x.Parent()
		path = append(path, x)
	}
	return path
}

// Copath returns the siblings of x and of its ancestors below the root.
func (n Size) Copath(x NodeIndex) []NodeIndex {
	root := n.Root()
	path := make([]NodeIndex, 0, root.Level())
	for x != root {
		path = append(path, x.Sibling())
		x = x.Parent()
	}
	return path
}

// CommonAncestor returns the lowest node above (or at) both x and y.
func CommonAncestor(x, y NodeIndex) NodeIndex {
	for !x.Contains(y) {
		x = x.Parent()
	}
	return x
}
