package rogue

import (
	"slices"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// Node is a node of a ratchet_tree extension: a leaf, a parent, or blank.
type Node struct {
	Leaf   *tree.LeafNode
	Parent *tree.ParentNode
}

// AppendTo appends the wire form (RFC 9420 §12.4.3.3).
func (n Node) AppendTo(b []byte) []byte {
	switch {
	case n.Leaf != nil:
		return n.Leaf.AppendTo(append(b, 1, 1))
	case n.Parent != nil:
		return n.Parent.AppendTo(append(b, 1, 2))
	default:
		return append(b, 0)
	}
}

// readNodes decodes a ratchet_tree extension that is well formed.
func readNodes(b []byte) []Node {
	return must(codec.Unmarshal(b, func(r *codec.Reader) []Node {
		return codec.List(r, func(r *codec.Reader) Node {
			switch {
			case !r.Optional():
				return Node{}
			case r.Uint8() == 1:
				return Node{Leaf: tree.ReadLeafNode(r)}
			default:
				return Node{Parent: tree.ReadParentNode(r)}
			}
		})
	}))
}

// TreeFields spoil a tree's nodes. The tree hash is made to fit afterwards.
func TreeFields() []Field[[]Node] {
	type field = Field[[]Node]
	parent := func(name string, f func(a *Attack, p *tree.ParentNode)) field {
		return field{"parent: " + name, func(a *Attack, n *[]Node) {
			if p := a.someParent(*n); p != nil {
				f(a, p)
			}
		}}
	}
	leaf := func(name string, f func(a *Attack, l *tree.LeafNode)) field {
		return field{"leaf: " + name, func(a *Attack, n *[]Node) { f(a, (*n)[2*a.Self()].Leaf) }}
	}
	list := []field{
		{"empty", func(_ *Attack, n *[]Node) { *n = nil }},
		{"a member left out", func(a *Attack, n *[]Node) { (*n)[2*a.victim()] = Node{} }},
		{"a member twice", func(a *Attack, n *[]Node) { (*n)[2*a.victim()] = (*n)[2*a.Self()] }},
		{"a parent left out", func(_ *Attack, n *[]Node) {
			for i := 1; i < len(*n); i += 2 {
				if (*n)[i].Parent != nil {
					(*n)[i] = Node{}
					return
				}
			}
		}},
		{"a leaf where a parent should be", func(a *Attack, n *[]Node) {
			if len(*n) > 1 {
				(*n)[1] = (*n)[2*a.Self()]
			}
		}},
		{"a parent where a leaf should be", func(_ *Attack, n *[]Node) { (*n)[0] = Node{Parent: &tree.ParentNode{}} }},
		{"blank at the end", func(_ *Attack, n *[]Node) { *n = append(*n, Node{}, Node{}) }},
		{"cut off", func(_ *Attack, n *[]Node) { *n = (*n)[:len(*n)-1] }},
		{"very many blanks before a leaf", func(a *Attack, n *[]Node) {
			more := make([]Node, 1<<12)
			*n = append(append(*n, more[:len(more)-len(*n)]...), (*n)[2*a.Self()])
		}},
		parent("no key", func(_ *Attack, p *tree.ParentNode) { p.EncryptionKey = nil }),
		parent("key", func(a *Attack, p *tree.ParentNode) { pick(a.Dice, a.Keys()).Spoil(a, &p.EncryptionKey) }),
		parent("hash", func(_ *Attack, p *tree.ParentNode) { p.ParentHash = suite.Random(32) }),
		parent("unmerged: out of the tree", func(_ *Attack, p *tree.ParentNode) { p.UnmergedLeaves = []tree.LeafIndex{0xFFFFFFFF} }),
		parent("unmerged: not sorted", func(_ *Attack, p *tree.ParentNode) { p.UnmergedLeaves = []tree.LeafIndex{1, 0} }),
		parent("unmerged: twice", func(_ *Attack, p *tree.ParentNode) { p.UnmergedLeaves = []tree.LeafIndex{0, 0} }),
		parent("unmerged: all", func(a *Attack, p *tree.ParentNode) {
			p.UnmergedLeaves = nil
			for l := range a.Tree.Members {
				p.UnmergedLeaves = append(p.UnmergedLeaves, l)
			}
		}),
	}
	for _, f := range LeafFields() {
		list = append(list, leaf(f.Name, func(a *Attack, l *tree.LeafNode) {
			if l == nil {
				return
			}
			f.Spoil(a, l)
			if err := l.Sign(a.Signer, a.Context.GroupID, a.Self()); err != nil {
				panic(err)
			}
		}))
	}
	return list
}

func (a *Attack) someParent(nodes []Node) *tree.ParentNode {
	var have []*tree.ParentNode
	for i := range nodes {
		if nodes[i].Parent != nil {
			have = append(have, nodes[i].Parent)
		}
	}
	if len(have) == 0 {
		return nil
	}
	return pick(a.Dice, have)
}

// InfoFields spoil a group info before it is signed.
func InfoFields() []Field[message.GroupInfo] {
	type info = message.GroupInfo
	type field = Field[info]
	list := []field{
		{"context: version", func(_ *Attack, i *info) { i.Context.Version = unknownVersion }},
		{"context: another suite", func(_ *Attack, i *info) { i.Context.Suite = otherSuite }},
		{"context: unknown suite", func(_ *Attack, i *info) { i.Context.Suite = unknownSuite }},
		{"context: another group", func(_ *Attack, i *info) { i.Context.GroupID = []byte("another") }},
		{"context: no group id", func(_ *Attack, i *info) { i.Context.GroupID = nil }},
		{"context: epoch 0", func(_ *Attack, i *info) { i.Context.Epoch = 0 }},
		{"context: last epoch", func(_ *Attack, i *info) { i.Context.Epoch = ^uint64(0) }},
		{"context: tree hash", func(_ *Attack, i *info) { i.Context.TreeHash = suite.Random(32) }},
		{"context: transcript", func(_ *Attack, i *info) { i.Context.ConfirmedTranscriptHash = suite.Random(32) }},
		{"context: no transcript", func(_ *Attack, i *info) { i.Context.ConfirmedTranscriptHash = nil }},
		{"tag: noise", func(_ *Attack, i *info) { i.ConfirmationTag = suite.Random(32) }},
		{"tag: empty", func(_ *Attack, i *info) { i.ConfirmationTag = nil }},
		{"signer: another", func(a *Attack, i *info) { i.Signer = a.victim() }},
		{"signer: nobody", func(_ *Attack, i *info) { i.Signer = 0xFFFFFFFF }},
		{"signature: empty", func(_ *Attack, i *info) { i.Signature = []byte{} }},
		{"signature: noise", func(_ *Attack, i *info) { i.Signature = suite.Random(64) }},
		{"extensions: none", func(_ *Attack, i *info) { i.Extensions = nil }},
		{"extensions: twice", func(_ *Attack, i *info) { i.Extensions = slices.Concat(i.Extensions, i.Extensions) }},
		{"extensions: no external pub", func(_ *Attack, i *info) {
			i.Extensions = slices.DeleteFunc(i.Extensions, func(e tree.Extension) bool { return e.Type == tree.ExtExternalPub })
		}},
		{"extensions: another external pub", func(a *Attack, i *info) {
			key := a.fresh()
			pick(a.Dice, a.Keys()).Spoil(a, &key)
			setExtension(i, tree.ExtExternalPub, codec.Bytes(nil, key))
		}},
		{"extensions: external pub that is none", func(_ *Attack, i *info) { setExtension(i, tree.ExtExternalPub, []byte{0xFF}) }},
		{"extensions: tree that is none", func(_ *Attack, i *info) { setExtension(i, tree.ExtRatchetTree, []byte{0xFF, 1, 2}) }},
	}
	for _, f := range ContextFields() {
		list = append(list, field{"context: extensions: " + f.Name, func(a *Attack, i *info) { f.Spoil(a, &i.Context.Extensions) }})
	}
	for _, f := range TreeFields() {
		list = append(list, field{"tree: " + f.Name, func(a *Attack, i *info) { a.spoilTree(i, f) }})
	}
	return list
}

func setExtension(i *message.GroupInfo, t tree.ExtensionType, data []byte) {
	for j := range i.Extensions {
		if i.Extensions[j].Type == t {
			i.Extensions[j].Data = data
		}
	}
}

// spoilTree changes the tree of a group info and makes the tree hash fit where the tree
// can be read at all.
func (a *Attack) spoilTree(i *message.GroupInfo, f Field[[]Node]) {
	data, ok := i.Extensions.Get(tree.ExtRatchetTree)
	if !ok {
		return
	}
	nodes := readNodes(data)
	f.Spoil(a, &nodes)
	data = codec.AppendList(nil, nodes)
	setExtension(i, tree.ExtRatchetTree, data)
	if t, err := tree.Read(a.Suite, codec.NewReader(data)); err == nil {
		i.Context.TreeHash = t.Hash()
	}
}
