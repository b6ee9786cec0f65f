package mls

import (
	"bytes"
	"slices"
	"testing"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// hostile is an input that somebody crafted to cost its reader more than its bytes.
type hostile struct {
	input []byte
	// signatures is how many of its signatures are genuine: they may be checked.
	signatures int
	read       func(input []byte) error
}

// hostileInputs make inputs of about n bytes each. What they do wrong differs; that they
// are refused or accepted does not matter here, only what it costs.
var hostileInputs = []struct {
	name string
	make func(tb testing.TB, n int) hostile
}{
	{"key-package-extensions", func(tb testing.TB, n int) hostile {
		return hostileKeyPackage(tb, func(kp *message.KeyPackage) { kp.Extensions = manyExtensions(n / 3) })
	}},
	{"leaf-extensions", func(tb testing.TB, n int) hostile {
		return hostileKeyPackage(tb, func(kp *message.KeyPackage) {
			kp.Leaf.Extensions = manyExtensions(n / 5)
			for _, e := range kp.Leaf.Extensions {
				kp.Leaf.Capabilities.Extensions = append(kp.Leaf.Capabilities.Extensions, e.Type)
			}
		})
	}},
	{"capabilities", func(tb testing.TB, n int) hostile {
		return hostileKeyPackage(tb, func(kp *message.KeyPackage) {
			kp.Leaf.Capabilities.Credentials = numbersUpTo[tree.CredentialType](n / 4)
			kp.Leaf.Capabilities.Proposals = numbersUpTo[tree.ProposalType](n / 4)
		})
	}},
	{"forged-key-package", func(tb testing.TB, n int) hostile {
		h := hostileKeyPackage(tb, func(kp *message.KeyPackage) { kp.Extensions = manyExtensions(n / 3) })
		h.input[len(h.input)-1] ^= 1
		h.signatures = 0
		return h
	}},
	{"welcome-extensions", func(tb testing.TB, n int) hostile {
		return newFounder(tb).welcome(tb, func(_ *message.GroupSecrets, info *message.GroupInfo) {
			info.Context.Extensions = manyExtensions(n / 3)
		})
	}},
	{"welcome-info-extensions", func(tb testing.TB, n int) hostile {
		return newFounder(tb).welcome(tb, func(_ *message.GroupSecrets, info *message.GroupInfo) {
			info.Extensions = append(info.Extensions, manyExtensions(n/3)...)
		})
	}},
	{"welcome-psks", func(tb testing.TB, n int) hostile {
		return newFounder(tb).welcome(tb, func(s *message.GroupSecrets, _ *message.GroupInfo) { s.PSKs = manyPSKs(n / 37) })
	}},
	{"welcome-secrets", hostileWelcomeSecrets},
	{"blank-tree", func(tb testing.TB, n int) hostile {
		f := newFounder(tb)
		return f.welcome(tb, func(_ *message.GroupSecrets, info *message.GroupInfo) {
			info.Extensions = tree.Extensions{{Type: tree.ExtRatchetTree, Data: f.sparseTree(tb, 2, n/2)}}
		})
	}},
	{"sparse-tree", func(tb testing.TB, n int) hostile {
		f := newFounder(tb)
		members := max(2, n/(200+tree.MaxLeavesPerMember))
		h := f.groupInfo(tb, f.sparseTree(tb, members, members*tree.MaxLeavesPerMember/2))
		h.signatures += members
		return h
	}},
	{"forged-leaves", func(tb testing.TB, n int) hostile {
		f := newFounder(tb)
		f.forged = true
		return f.groupInfo(tb, f.sparseTree(tb, n/400, n/400*100))
	}},
	{"unmerged-leaves", func(tb testing.TB, n int) hostile {
		f := newFounder(tb)
		members := n / 250
		h := f.groupInfo(tb, f.unmergedTree(tb, members))
		h.signatures += members
		return h
	}},
	{"credential-types", func(tb testing.TB, n int) hostile {
		f := newFounder(tb)
		members := min(tree.MaxCapabilities, n/800)
		h := f.groupInfo(tb, f.typedTree(tb, members))
		h.signatures += members
		return h
	}},
	{"commit-psks", func(tb testing.TB, n int) hostile {
		var list []*message.Proposal
		for _, id := range manyPSKs(n / 42) {
			list = append(list, &message.Proposal{Type: tree.ProposalPSK, PSK: id})
		}
		return hostileCommit(tb, list)
	}},
	{"commit-removes", func(tb testing.TB, n int) hostile {
		var list []*message.Proposal
		for i := range n / 7 {
			list = append(list, remove(tree.LeafIndex(i)))
		}
		return hostileCommit(tb, list)
	}},
	{"commit-adds", func(tb testing.TB, n int) hostile {
		kp := must(identity(tb, "x").NewKeyPackage(worldTime, KeyPackageOptions{}))(tb).Public
		var list []*message.Proposal
		for i := range n / 300 {
			forged, leaf := *kp, *kp.Leaf
			leaf.SignatureKey = slices.Clone(leaf.SignatureKey)
			leaf.SignatureKey[i%32] ^= byte(1 + i/32)
			forged.Leaf = &leaf
			list = append(list, &message.Proposal{Type: tree.ProposalAdd, Add: &forged})
		}
		return hostileCommit(tb, list)
	}},
	{"commit-contexts", func(tb testing.TB, n int) hostile {
		return hostileCommit(tb, []*message.Proposal{{
			Type: tree.ProposalGroupContextExtensions, Extensions: manyExtensions(n / 3),
		}})
	}},
	{"commit-required", func(tb testing.TB, n int) hostile {
		required := codec.Marshal(tree.RequiredCapabilities{Extensions: numbersUpTo[tree.ExtensionType](n / 2)})
		return hostileCommit(tb, []*message.Proposal{{
			Type: tree.ProposalGroupContextExtensions, Extensions: tree.Extensions{{Type: tree.ExtRequiredCapabilities, Data: required}},
		}})
	}},
	{"commit-external-senders", func(tb testing.TB, n int) hostile {
		sender := tree.ExternalSender{SignatureKey: make([]byte, 32), Credential: tree.BasicCredential([]byte("x"))}
		data := codec.AppendList(nil, slices.Repeat([]tree.ExternalSender{sender}, n/37))
		return hostileCommit(tb, []*message.Proposal{{
			Type: tree.ProposalGroupContextExtensions, Extensions: tree.Extensions{{Type: tree.ExtExternalSenders, Data: data}},
		}})
	}},
	{"commit-references", func(tb testing.TB, n int) hostile {
		w := worldWithProposals(tb, 200)
		c := &message.Commit{Path: w.path()}
		for i := range n / 34 { // the last is unknown: until then each must be found
			c.Proposals = append(c.Proposals, message.ProposalOrRef{Ref: w.members[1].pub.proposals[i%200].ref})
		}
		c.Proposals[len(c.Proposals)-1].Ref = make([]byte, 32)
		return w.hostile(w.forge(0, &message.Content{Type: message.ContentCommit, Commit: c}, nil), 1)
	}},
	{"commit-path", func(tb testing.TB, n int) hostile {
		w := newWorld(tb, worldOptions{})
		c := &message.Commit{Path: w.path()}
		node := tree.UpdatePathNode{EncryptionKey: c.Path.Leaf.EncryptionKey}
		c.Path.Nodes = append(c.Path.Nodes, slices.Repeat([]tree.UpdatePathNode{node}, n/34)...)
		return w.hostile(w.forge(0, &message.Content{Type: message.ContentCommit, Commit: c}, nil), 2)
	}},
	{"proposal-of-update", func(tb testing.TB, n int) hostile {
		w := newWorld(tb, worldOptions{})
		p := w.updateProposal(0, func(l *tree.LeafNode) { l.Extensions = manyExtensions(n / 3) })
		return w.hostile(w.forge(0, proposalContent(p), nil), 2)
	}},
	{"application-junk", func(tb testing.TB, n int) hostile {
		w := newWorld(tb, worldOptions{})
		g := w.members[0]
		m := &message.PrivateMessage{
			GroupID: g.ID(), Epoch: g.Epoch(), Type: message.ContentApplication,
			EncryptedSenderData: make([]byte, 28), Ciphertext: make([]byte, n),
		}
		return w.hostile(codec.Marshal(&message.Message{Private: m}), 0)
	}},
	{"application-padding", func(tb testing.TB, n int) hostile {
		w := newWorld(tb, worldOptions{})
		return w.hostile(w.forgePrivate(0, []byte("x"), make([]byte, n)), 1)
	}},
}

// hostileKeyPackage is a key package that somebody else spoiled and signed.
func hostileKeyPackage(tb testing.TB, spoil func(*message.KeyPackage)) hostile {
	tb.Helper()
	w := &world{t: tb}
	kp := w.keyPackage(identity(tb, "x"), spoil)
	s := must(suite.Lookup(worldSuite))(tb)
	return hostile{codec.Marshal(kp), 2, func(b []byte) error {
		kp, err := codec.Unmarshal(b, message.ReadKeyPackage)
		if err != nil {
			return err
		}
		return kp.Verify(s)
	}}
}

// hostileCommit is a commit of a member whose proposals are signed but wrong.
func hostileCommit(tb testing.TB, list []*message.Proposal) hostile {
	tb.Helper()
	w := newWorld(tb, worldOptions{})
	c := &message.Commit{Path: w.path()}
	for _, p := range list {
		c.Proposals = append(c.Proposals, message.ProposalOrRef{Proposal: p})
	}
	return w.hostile(w.forge(0, &message.Content{Type: message.ContentCommit, Commit: c}, nil), 2)
}

// hostile is a message to member 1.
func (w *world) hostile(input []byte, signatures int) hostile {
	return hostile{input, signatures, func(b []byte) error {
		_, _, err := w.members[1].Process(b, worldTime)
		return err
	}}
}

// hostileWelcomeSecrets is a welcome for many others, read by who has many key packages.
func hostileWelcomeSecrets(tb testing.TB, n int) hostile {
	tb.Helper()
	f := newFounder(tb)
	var kps []*KeyPackage
	for range 100 {
		kps = append(kps, f.kp)
	}
	w := &message.Welcome{Suite: worldSuite, Secrets: make([]message.EncryptedGroupSecrets, n/36)}
	for i := range w.Secrets {
		w.Secrets[i].NewMember = codec.Uint64(make([]byte, 24), uint64(i))
	}
	return hostile{codec.Marshal(&message.Message{Welcome: w}), 0, func(b []byte) error {
		_, err := Join(f.cfg, kps, b, JoinOptions{}, worldTime)
		return err
	}}
}

// founder makes groups that exist only to be looked at.
type founder struct {
	cfg    *Config
	id     *Identity
	kp     *KeyPackage // of the victim
	s      *suite.Suite
	forged bool // all leaves but the founder's have a wrong signature
}

func newFounder(tb testing.TB) *founder {
	tb.Helper()
	kp := must(identity(tb, "victim").NewKeyPackage(worldTime, KeyPackageOptions{}))(tb)
	return &founder{cfg: &Config{Auth: testAuth{}}, id: identity(tb, "founder"), kp: kp, s: must(suite.Lookup(worldSuite))(tb)}
}

func (f *founder) leaf(tb testing.TB, change func(*tree.LeafNode)) mirrorNode {
	tb.Helper()
	id := identity(tb, "m")
	_, pub, err := f.s.GenerateKeyPair()
	must(pub, err)(tb)
	leaf := id.leaf(pub, tree.SourceKeyPackage)
	if change != nil {
		change(leaf)
	}
	if err := leaf.Sign(id.Signer, nil, 0); err != nil {
		tb.Fatal(err)
	}
	if f.forged {
		leaf.Signature[0] ^= 1
	}
	return mirrorNode{leaf: leaf}
}

// founderLeaf is leaf 0, whose key signs the group info.
func (f *founder) founderLeaf(tb testing.TB, change func(*tree.LeafNode)) mirrorNode {
	tb.Helper()
	_, pub, err := f.s.GenerateKeyPair()
	must(pub, err)(tb)
	leaf := f.id.leaf(pub, tree.SourceKeyPackage)
	if change != nil {
		change(leaf)
	}
	if err := leaf.Sign(f.id.Signer, nil, 0); err != nil {
		tb.Fatal(err)
	}
	return mirrorNode{leaf: leaf}
}

// sparseTree is a tree of some members in so many leaves, the last of them a member.
func (f *founder) sparseTree(tb testing.TB, members, leaves int) []byte {
	tb.Helper()
	nodes := make([]mirrorNode, 2*leaves-1)
	for i := range members {
		nodes[2*(i*(leaves-1)/max(1, members-1))] = f.leaf(tb, nil)
	}
	nodes[0] = f.founderLeaf(tb, nil)
	return codec.AppendList(nil, nodes)
}

// unmergedTree is a full tree in which each parent lists every leaf below it but one as
// unmerged. Its parent hashes are wrong, which is seen last.
func (f *founder) unmergedTree(tb testing.TB, members int) []byte {
	tb.Helper()
	nodes := make([]mirrorNode, 2*members-1)
	for i := range nodes {
		if x := tree.NodeIndex(i); x.IsLeaf() {
			nodes[i] = f.leaf(tb, nil)
			continue
		}
		_, pub, err := f.s.GenerateKeyPair()
		must(pub, err)(tb)
		p := &tree.ParentNode{EncryptionKey: pub}
		from, to := tree.NodeIndex(i).Leaves()
		for l := from + 1; l < min(to, tree.LeafIndex(members)); l++ {
			p.UnmergedLeaves = append(p.UnmergedLeaves, l)
		}
		nodes[i] = mirrorNode{parent: p}
	}
	nodes[0] = f.founderLeaf(tb, nil)
	return codec.AppendList(nil, nodes)
}

// typedTree is a tree in which every member has a credential of another type, which all
// support.
func (f *founder) typedTree(tb testing.TB, members int) []byte {
	tb.Helper()
	nodes := make([]mirrorNode, 2*members-1)
	for i := range members {
		change := func(l *tree.LeafNode) {
			l.Credential.Type = tree.CredentialType(0x100 + i)
			l.Capabilities.Credentials = numbersFrom[tree.CredentialType](0x100, members)
		}
		if nodes[2*i] = f.leaf(tb, change); i == 0 {
			nodes[0] = f.founderLeaf(tb, change)
		}
	}
	return codec.AppendList(nil, nodes)
}

func (f *founder) info(tb testing.TB, nodes []byte) *message.GroupInfo {
	tb.Helper()
	info := &message.GroupInfo{
		Context: &schedule.GroupContext{
			Version: tree.MLS10, Suite: worldSuite, GroupID: []byte("hostile"), Epoch: 1, TreeHash: make([]byte, 32),
		},
		Extensions: tree.Extensions{{Type: tree.ExtRatchetTree, Data: nodes}},
	}
	if t, err := tree.Read(f.s, codec.NewReader(nodes)); err == nil {
		info.Context.TreeHash = t.Hash()
	}
	return info
}

// groupInfo is a signed group info, for one who wants to follow the group.
func (f *founder) groupInfo(tb testing.TB, nodes []byte) hostile {
	tb.Helper()
	wire := must(f.info(tb, nodes).Sign(f.id.Signer, nil))(tb).Wire()
	return hostile{bytes.Clone(wire), 1, func(b []byte) error {
		_, err := NewPublicGroup(f.cfg, b, nil, worldTime)
		return err
	}}
}

// welcome is a signed and sealed welcome for the victim, spoiled before.
func (f *founder) welcome(tb testing.TB, spoil func(*message.GroupSecrets, *message.GroupInfo)) hostile {
	tb.Helper()
	info := f.info(tb, f.sparseTree(tb, 2, 2))
	secrets := &message.GroupSecrets{Joiner: suite.Random(32)}
	spoil(secrets, info)
	psk := must(pskSecret(f.s, secrets.PSKs, knownPSK, 0))(tb)
	f.cfg.PSK = knownPSK
	wire := must(info.Sign(f.id.Signer, nil))(tb).Wire()
	welcome := must(message.SealWelcome(f.s, wire, secrets.Joiner, psk, secrets.PSKs,
		[]message.Joiner{{KeyPackage: f.kp.Public}}))(tb)
	return hostile{codec.Marshal(welcome), 1, func(b []byte) error {
		_, err := Join(f.cfg, []*KeyPackage{f.kp}, b, JoinOptions{}, worldTime)
		return err
	}}
}

func knownPSK(schedule.PSKID) (suite.Secret, bool) { return make(suite.Secret, 32), true }

// worldWithProposals is a world in which n proposals of member 0 wait at member 1.
func worldWithProposals(tb testing.TB, n int) *world {
	tb.Helper()
	w := newWorld(tb, worldOptions{})
	for i := range n {
		p := psk("", w.members[0].pub.s.HashSize())
		p.PSK.ID = codec.Uint64(nil, uint64(i))
		w.deliver(1, w.forge(0, proposalContent(p), nil))
	}
	return w
}

// manyExtensions are n extensions of different types, as far as there are so many.
func manyExtensions(n int) tree.Extensions {
	list := make(tree.Extensions, n)
	for i := range list {
		list[i].Type = tree.ExtensionType(0x1000 + i)
	}
	return list
}

// manyPSKs are n names of external PSKs.
func manyPSKs(n int) []schedule.PSKID {
	list := make([]schedule.PSKID, n)
	for i := range list {
		list[i] = schedule.PSKID{Type: schedule.PSKExternal, ID: codec.Uint32(nil, uint32(i)), Nonce: make([]byte, 32)}
	}
	return list
}

func numbersUpTo[T ~uint16](n int) []T { return numbersFrom[T](0x1000, n) }

func numbersFrom[T ~uint16](from, n int) []T {
	list := make([]T, n)
	for i := range list {
		list[i] = T(from + i)
	}
	return list
}
