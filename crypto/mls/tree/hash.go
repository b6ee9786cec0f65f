package tree

import (
	"hash"

	"quicproquo/crypto/codec"
)

// hasher computes tree hashes with one hash state and one buffer, so that a node costs
// no more than its result.
type hasher struct {
	t   *Tree
	h   hash.Hash
	buf []byte
}

func (t *Tree) hasher() *hasher { return &hasher{t: t, h: t.s.NewHash()} }

// hash returns the tree hash of x, computing what is missing below it
// (RFC 9420 §7.8).
func (t *Tree) hash(x NodeIndex) []byte {
	if t.hashes[x] == nil {
		t.hasher().fill(x)
	}
	return t.hashes[x]
}

func (h *hasher) fill(x NodeIndex) []byte {
	if h.t.hashes[x] == nil {
		var left, right []byte
		if !x.IsLeaf() {
			left, right = h.fill(x.Left()), h.fill(x.Right())
		}
		h.t.hashes[x] = h.node(x, nil, left, right)
	}
	return h.t.hashes[x]
}

// without returns the tree hash of x as if the given leaves, sorted, were blank and
// unmerged nowhere (RFC 9420 §7.9). Subtrees without such leaves use the cached hash.
func (h *hasher) without(x NodeIndex, out []LeafIndex) []byte {
	out = below(x, out)
	if len(out) == 0 {
		return h.fill(x)
	}
	var left, right []byte
	if !x.IsLeaf() {
		left, right = h.without(x.Left(), out), h.without(x.Right(), out)
	}
	return h.node(x, out, left, right)
}

// below returns the part of a sorted list that lies under x.
func below(x NodeIndex, list []LeafIndex) []LeafIndex {
	from, to := x.Leaves()
	i, j := 0, len(list)
	for i < j && list[i] < from {
		i++
	}
	for j > i && list[j-1] >= to {
		j--
	}
	return list[i:j]
}

// node hashes the TreeHashInput of x (RFC 9420 §7.8).
func (h *hasher) node(x NodeIndex, out []LeafIndex, left, right []byte) []byte {
	n, b := h.t.nodes[x], h.buf[:0]
	if x.IsLeaf() {
		b = codec.Uint32(append(b, nodeTypeLeaf), uint32(x.Leaf()))
		present := n.leaf != nil && len(out) == 0
		b = codec.Optional(b, present)
		if present {
			b = n.leaf.AppendTo(b)
		}
	} else {
		b = codec.Optional(append(b, nodeTypeParent), n.parent != nil)
		if n.parent != nil {
			b = n.parent.appendWithout(b, out)
		}
		b = codec.Bytes(codec.Bytes(b, left), right)
	}
	h.buf = b
	h.h.Reset()
	h.h.Write(b)
	return h.h.Sum(make([]byte, 0, h.h.Size()))
}

// parentHash hashes the ParentHashInput of p (RFC 9420 §7.9).
func (t *Tree) parentHash(p *ParentNode, originalSiblingTreeHash []byte) []byte {
	b := make([]byte, 0, len(p.EncryptionKey)+len(p.ParentHash)+len(originalSiblingTreeHash)+12)
	b = codec.Bytes(b, p.EncryptionKey)
	b = codec.Bytes(b, p.ParentHash)
	b = codec.Bytes(b, originalSiblingTreeHash)
	return t.s.Hash(b)
}
