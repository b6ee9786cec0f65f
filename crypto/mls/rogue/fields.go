package rogue

import (
	"slices"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// Dice takes choices: rapid's, or a generator with a seed.
type Dice interface {
	// IntN returns a number from 0 to n-1.
	IntN(n int) int
}

// pick takes one of a list that is not empty.
func pick[T any](d Dice, list []T) T { return list[d.IntN(len(list))] }

// Field spoils one field of a structure. Name is for failures.
type Field[T any] struct {
	Name  string
	Spoil func(a *Attack, v *T)
}

// Types that nobody's capabilities list.
const (
	unknownType    = 0xF777
	hugeSize       = 60_000
	farFuture      = 1 << 40
	unknownSuite   = suite.ID(0x7777)
	otherSuite     = suite.P256AES128SHA256P256
	unknownVersion = tree.Version(2)
)

// Keys are public keys that nobody should bring into a tree: malformed, of low order, or
// somebody's already.
func (a *Attack) Keys() []Field[suite.PublicKey] {
	set := func(name string, key func(a *Attack) suite.PublicKey) Field[suite.PublicKey] {
		return Field[suite.PublicKey]{name, func(a *Attack, k *suite.PublicKey) { *k = key(a) }}
	}
	return []Field[suite.PublicKey]{
		set("empty", func(*Attack) suite.PublicKey { return suite.PublicKey{} }),
		set("short", func(a *Attack) suite.PublicKey { return a.fresh()[1:] }),
		set("long", func(a *Attack) suite.PublicKey { return append(a.fresh(), 0) }),
		set("zero", func(a *Attack) suite.PublicKey { return make(suite.PublicKey, len(a.fresh())) }),
		set("one", func(a *Attack) suite.PublicKey {
			k := make(suite.PublicKey, len(a.fresh()))
			k[0] = 1
			return k
		}),
		set("noise", func(a *Attack) suite.PublicKey { return suite.PublicKey(suite.Random(len(a.fresh()))) }),
		set("own present one", func(a *Attack) suite.PublicKey { return a.Tree.Leaf(a.Self()).EncryptionKey }),
		set("another member's", func(a *Attack) suite.PublicKey { return a.Tree.Leaf(a.victim()).EncryptionKey }),
		set("a parent's", (*Attack).parentKey),
	}
}

// parentKey is the key of a parent node, or a member's where all are blank.
func (a *Attack) parentKey() suite.PublicKey {
	var keys []suite.PublicKey
	for x := tree.NodeIndex(1); int(x) < a.Tree.Size().Nodes(); x += 2 {
		if k := a.Tree.PublicKey(x); k != nil {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return a.Tree.Leaf(a.victim()).EncryptionKey
	}
	return pick(a.Dice, keys)
}

// victim is the leaf of another member.
func (a *Attack) victim() tree.LeafIndex { return pick(a.Dice, a.Others()) }

// LeafFields spoil a leaf node before it is signed.
func LeafFields() []Field[tree.LeafNode] {
	type leaf = tree.LeafNode
	type field = Field[leaf]
	caps := func(name string, f func(c *tree.Capabilities)) field {
		return field{"capabilities: " + name, func(_ *Attack, l *leaf) { f(&l.Capabilities) }}
	}
	ext := func(name string, e ...tree.Extension) field {
		return field{"extensions: " + name, func(_ *Attack, l *leaf) { l.Extensions = append(l.Extensions, e...) }}
	}
	return []field{
		{"encryption key", func(a *Attack, l *leaf) { pick(a.Dice, a.Keys()).Spoil(a, &l.EncryptionKey) }},
		{"signature key: empty", func(_ *Attack, l *leaf) { l.SignatureKey = nil }},
		{"signature key: of low order", func(_ *Attack, l *leaf) {
			l.SignatureKey = make(suite.SignaturePublicKey, len(l.SignatureKey))
			l.SignatureKey[0] = 1
		}},
		{"signature key: another member's", func(a *Attack, l *leaf) { l.SignatureKey = a.Tree.Leaf(a.victim()).SignatureKey }},
		{"credential: another member's", func(a *Attack, l *leaf) { l.Credential = a.Tree.Leaf(a.victim()).Credential }},
		{"credential: a stranger's", func(_ *Attack, l *leaf) { l.Credential = tree.BasicCredential([]byte("stranger")) }},
		{"credential: empty", func(_ *Attack, l *leaf) { l.Credential = tree.Credential{Type: tree.CredentialBasic} }},
		{"credential: huge", func(_ *Attack, l *leaf) { l.Credential.Identity = make([]byte, hugeSize) }},
		{"credential: unknown type", func(_ *Attack, l *leaf) { l.Credential.Type = unknownType }},
		{"credential: unknown type that is listed", func(_ *Attack, l *leaf) {
			l.Credential.Type = unknownType
			l.Capabilities.Credentials = append(l.Capabilities.Credentials, unknownType)
		}},
		{"credential: a certificate that is none", func(_ *Attack, l *leaf) {
			l.Credential = tree.Credential{Type: tree.CredentialX509, Certificates: [][]byte{{1, 2, 3}}}
			l.Capabilities.Credentials = append(l.Capabilities.Credentials, tree.CredentialX509)
		}},
		caps("no version", func(c *tree.Capabilities) { c.Versions = nil }),
		caps("another version", func(c *tree.Capabilities) { c.Versions = []tree.Version{unknownVersion} }),
		caps("no suite", func(c *tree.Capabilities) { c.Suites = nil }),
		caps("no extension", func(c *tree.Capabilities) { c.Extensions = nil }),
		caps("no proposal", func(c *tree.Capabilities) { c.Proposals = nil }),
		caps("no credential", func(c *tree.Capabilities) { c.Credentials = nil }),
		caps("a default extension", func(c *tree.Capabilities) { c.Extensions = append(c.Extensions, tree.ExtRatchetTree) }),
		caps("a default proposal", func(c *tree.Capabilities) { c.Proposals = append(c.Proposals, tree.ProposalAdd) }),
		caps("everything twice", func(c *tree.Capabilities) {
			c.Extensions, c.Credentials = append(c.Extensions, c.Extensions...), append(c.Credentials, c.Credentials...)
		}),
		caps("very many", func(c *tree.Capabilities) {
			for v := range hugeSize / 4 {
				c.Extensions = append(c.Extensions, tree.ExtensionType(0x1000+v))
			}
		}),
		{"source: key package", func(a *Attack, l *leaf) { l.Source, l.Lifetime = tree.SourceKeyPackage, a.lifetime() }},
		{"source: update", func(_ *Attack, l *leaf) { l.Source = tree.SourceUpdate }},
		{"source: commit", func(_ *Attack, l *leaf) { l.Source = tree.SourceCommit }},
		{"lifetime: over", func(_ *Attack, l *leaf) { l.Lifetime = tree.Lifetime{NotBefore: 1, NotAfter: 2} }},
		{"lifetime: to come", func(_ *Attack, l *leaf) { l.Lifetime = tree.Lifetime{NotBefore: farFuture, NotAfter: farFuture + 1} }},
		{"lifetime: backwards", func(_ *Attack, l *leaf) { l.Lifetime = tree.Lifetime{NotBefore: farFuture, NotAfter: 1} }},
		{"lifetime: for ever", func(_ *Attack, l *leaf) { l.Lifetime = tree.Lifetime{NotAfter: ^uint64(0)} }},
		{"parent hash: noise", func(_ *Attack, l *leaf) { l.ParentHash = suite.Random(32) }},
		{"parent hash: empty", func(_ *Attack, l *leaf) { l.ParentHash = nil }},
		ext("not listed", tree.Extension{Type: unknownType}),
		ext("twice", tree.Extension{Type: tree.ExtApplicationID, Data: []byte{1, 'a'}}, tree.Extension{Type: tree.ExtApplicationID, Data: []byte{1, 'b'}}),
		ext("huge", tree.Extension{Type: tree.ExtApplicationID, Data: make([]byte, hugeSize)}),
		ext("of a group context", tree.Extension{Type: tree.ExtRequiredCapabilities, Data: []byte{9}}),
		ext("a ratchet tree", tree.Extension{Type: tree.ExtRatchetTree, Data: []byte{0}}),
	}
}

// lifetime is one that is in force.
func (a *Attack) lifetime() tree.Lifetime {
	now := uint64(a.Now.Unix())
	return tree.Lifetime{NotBefore: now - 60, NotAfter: now + 3600}
}

// PackageFields spoil a key package before its leaf and it are signed.
func PackageFields() []Field[message.KeyPackage] {
	type kp = message.KeyPackage
	type field = Field[kp]
	list := []field{
		{"version", func(_ *Attack, k *kp) { k.Version = unknownVersion }},
		{"suite: another", func(_ *Attack, k *kp) { k.Suite = otherSuite }},
		{"suite: unknown", func(_ *Attack, k *kp) { k.Suite = unknownSuite }},
		{"init key", func(a *Attack, k *kp) { pick(a.Dice, a.Keys()).Spoil(a, &k.InitKey) }},
		{"init key: the leaf's", func(_ *Attack, k *kp) { k.InitKey = k.Leaf.EncryptionKey }},
		{"extensions: twice", func(_ *Attack, k *kp) {
			k.Extensions = tree.Extensions{{Type: tree.ExtLastResort}, {Type: tree.ExtLastResort}}
		}},
		{"extensions: not listed", func(_ *Attack, k *kp) { k.Extensions = tree.Extensions{{Type: unknownType}} }},
		{"signature key: of a member", func(a *Attack, k *kp) { k.Leaf.SignatureKey = a.Tree.Leaf(a.victim()).SignatureKey }},
	}
	for _, f := range LeafFields() {
		list = append(list, field{"leaf: " + f.Name, func(a *Attack, k *kp) { f.Spoil(a, k.Leaf) }})
	}
	return list
}

// ContextFields are group context extensions that a group should not get, made from
// those that it has.
func ContextFields() []Field[tree.Extensions] {
	add := func(name string, e ...tree.Extension) Field[tree.Extensions] {
		return Field[tree.Extensions]{name, func(_ *Attack, l *tree.Extensions) { *l = append(slices.Clone(*l), e...) }}
	}
	required := func(c tree.RequiredCapabilities) tree.Extension {
		return tree.Extension{Type: tree.ExtRequiredCapabilities, Data: codec.Marshal(c)}
	}
	senders := func(key []byte) tree.Extension {
		s := tree.ExternalSender{SignatureKey: key, Credential: tree.BasicCredential([]byte("server"))}
		return tree.Extension{Type: tree.ExtExternalSenders, Data: codec.AppendList(nil, []tree.ExternalSender{s})}
	}
	low := make([]byte, 32)
	low[0] = 1
	return []Field[tree.Extensions]{
		{"none", func(_ *Attack, l *tree.Extensions) { *l = nil }},
		{"one left out", func(a *Attack, l *tree.Extensions) {
			if n := len(*l); n > 0 {
				*l = slices.Delete(slices.Clone(*l), a.Dice.IntN(n), n)
			}
		}},
		{"one with other contents", func(a *Attack, l *tree.Extensions) {
			*l = slices.Clone(*l)
			if n := len(*l); n > 0 {
				(*l)[a.Dice.IntN(n)].Data = suite.Random(9)
			}
		}},
		{"all twice", func(_ *Attack, l *tree.Extensions) { *l = slices.Concat(*l, *l) }},
		add("unknown", tree.Extension{Type: unknownType}),
		add("application id", tree.Extension{Type: tree.ExtApplicationID, Data: []byte{1, 'a'}}),
		add("ratchet tree", tree.Extension{Type: tree.ExtRatchetTree, Data: []byte{0}}),
		add("external pub", tree.Extension{Type: tree.ExtExternalPub, Data: []byte{0}}),
		add("huge", tree.Extension{Type: tree.ExtLastResort, Data: make([]byte, hugeSize)}),
		add("required capabilities that are none", tree.Extension{Type: tree.ExtRequiredCapabilities, Data: []byte{9}}),
		add("required capabilities with something behind", tree.Extension{Type: tree.ExtRequiredCapabilities, Data: []byte{0, 0, 0, 0}}),
		add("a required extension that nobody has", required(tree.RequiredCapabilities{Extensions: []tree.ExtensionType{unknownType}})),
		add("a required proposal that nobody has", required(tree.RequiredCapabilities{Proposals: []tree.ProposalType{unknownType}})),
		add("a required credential that nobody has", required(tree.RequiredCapabilities{Credentials: []tree.CredentialType{unknownType}})),
		add("required capabilities that all have", required(tree.RequiredCapabilities{Proposals: []tree.ProposalType{tree.ProposalSelfRemove}})),
		add("external senders that are none", tree.Extension{Type: tree.ExtExternalSenders, Data: []byte{9}}),
		add("an external sender with a key of low order", senders(low)),
		add("an external sender with a short key", senders([]byte{1})),
	}
}
