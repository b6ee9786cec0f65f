package mls

import (
	"bytes"
	"testing"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// foundedTree joins a group of two whose founder has chosen the root as mutate says and
// signed everything that comes from it: parent hash, tree hash, group info.
func (w *world) foundedTree(mutate func(root *tree.ParentNode)) error {
	w.t.Helper()
	s := w.members[0].pub.s
	founder := w.members[0].id
	kp := must(identity(w.t, "guest").NewKeyPackage(worldTime, KeyPackageOptions{}))(w.t)
	g := must(Create(w.cfg, founder, []byte("founded"), nil, worldTime))(w.t)
	p := must(g.Commit(CommitOptions{Add: []*message.KeyPackage{kp.Public}}, worldTime))(w.t)
	w.welcome, w.lastKP = p.Welcome, kp
	return w.reseal(JoinOptions{}, func(secrets *message.GroupSecrets, info *message.GroupInfo) lookupKey {
		secrets.PathSecret = nil // what it would give does not matter
		for i, e := range info.Extensions {
			if e.Type != tree.ExtRatchetTree {
				continue
			}
			nodes := must(codec.Unmarshal(e.Data, readMirror))(w.t)
			root := nodes[1].parent
			mutate(root)
			guest := must(tree.Read(s, codec.NewReader(e.Data)))(w.t).NodeHash(2)
			input := codec.Bytes(codec.Bytes(codec.Bytes(nil, root.EncryptionKey), root.ParentHash), guest)
			nodes[0].leaf.ParentHash = s.Hash(input)
			if err := nodes[0].leaf.Sign(founder.Signer, []byte("founded"), 0); err != nil {
				w.t.Fatal(err)
			}
			info.Extensions[i].Data = codec.AppendList(nil, nodes)
			info.Context.TreeHash = must(tree.Read(s, codec.NewReader(info.Extensions[i].Data)))(w.t).Hash()
		}
		return nil
	})
}

// A founder can't hand out a tree whose root nothing can be sealed to, or that claims to
// have something above it. Left as it is the same tree passes all checks of the tree.
func TestFoundersRootIsChecked(t *testing.T) {
	lowOrder := make([]byte, 32)
	lowOrder[0] = 1
	for name, c := range map[string]struct {
		want   rule.Rule
		mutate func(root *tree.ParentNode)
	}{
		"low-order key": {rule.TreeParentKeys, func(r *tree.ParentNode) { r.EncryptionKey = lowOrder }},
		"zero key":      {rule.TreeParentKeys, func(r *tree.ParentNode) { r.EncryptionKey = make([]byte, 32) }},
		"short key":     {rule.TreeParentKeys, func(r *tree.ParentNode) { r.EncryptionKey = r.EncryptionKey[:31] }},
		"no key":        {rule.TreeParentKeys, func(r *tree.ParentNode) { r.EncryptionKey = nil }},
		"parent hash":   {rule.TreeParentHash, func(r *tree.ParentNode) { r.ParentHash = make([]byte, 32) }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, worldOptions{})
			wantRule(t, w.foundedTree(c.mutate), c.want)
			if err := w.foundedTree(func(*tree.ParentNode) {}); err != nil {
				t.Errorf("left as it was: %v", err)
			}
		})
	}
}

// An Update, an Add or a commit's path with a signature key of small order is refused:
// anybody could speak for its owner.
func TestSmallOrderSignatureKeysAreRefused(t *testing.T) {
	identityPoint := append([]byte{1}, make([]byte, 31)...)
	forged := append([]byte{1}, make([]byte, 63)...) // verifies under that key, whatever it signs
	w := newWorld(t, worldOptions{})
	kp := w.keyPackage(identity(t, "new"), nil)
	kp.Leaf.SignatureKey, kp.Leaf.Signature, kp.Signature = identityPoint, forged, forged
	wantRule(t, w.commit(&message.Proposal{Type: tree.ProposalAdd, Add: kp}), rule.LeafKeys)

	u := w.updateProposal(0, nil)
	u.Update.SignatureKey, u.Update.Signature = identityPoint, forged
	wantRule(t, w.refused(1, w.forge(0, proposalContent(u), nil)), rule.LeafKeys)

	path := w.path()
	path.Leaf.SignatureKey, path.Leaf.Signature = identityPoint, forged
	c := &message.Content{Type: message.ContentCommit, Commit: &message.Commit{Path: path}}
	wantRule(t, w.refused(1, w.forge(0, c, nil)), rule.LeafKeys)

	wantRule(t, w.spoilTree(func(n []mirrorNode) []mirrorNode {
		l := *n[8].leaf
		l.SignatureKey, l.Signature = identityPoint, forged
		n[8].leaf = &l
		return n
	}), rule.LeafKeys)
	senders := []tree.ExternalSender{{SignatureKey: identityPoint, Credential: tree.BasicCredential([]byte("x"))}}
	wantRule(t, w.commit(contextExtensions(tree.Extensions{{Type: tree.ExtExternalSenders, Data: codec.AppendList(nil, senders)}})), rule.ContextExternalSenders)
}

// Extensions that belong to a group info are refused in a group context: when a group is
// founded, in a proposal, in a ReInit and when joining.
func TestContextHasNoTreeOrExternalPub(t *testing.T) {
	for _, e := range []tree.ExtensionType{tree.ExtRatchetTree, tree.ExtExternalPub} {
		ext := tree.Extensions{{Type: e, Data: []byte{0}}}
		w := newWorld(t, worldOptions{})
		_, err := Create(w.cfg, identity(t, "x"), nil, ext, worldTime)
		wantRule(t, err, rule.ContextPlaces)
		_, _, err = w.members[0].ProposeExtensions(ext, nil, worldTime)
		wantRule(t, err, rule.ContextPlaces)
		_, err = w.members[0].Commit(CommitOptions{Extensions: &ext}, worldTime)
		wantRule(t, err, rule.ContextPlaces)
		wantRule(t, w.refused(1, w.forge(2, proposalContent(contextExtensions(ext)), nil)), rule.ContextPlaces)
		r := reinit(1, worldSuite)
		r.ReInit.Extensions = ext
		wantRule(t, w.refused(1, w.forge(2, proposalContent(r), nil)), rule.ContextPlaces)
		wantRule(t, w.reseal(JoinOptions{}, func(_ *message.GroupSecrets, i *message.GroupInfo) lookupKey {
			i.Context.Extensions = append(i.Context.Extensions, ext...)
			return nil
		}), rule.ContextPlaces)
	}
}

// A welcome whose PSKs have nonces of the wrong length is refused before any is looked up.
func TestWelcomePSKNonce(t *testing.T) {
	for _, n := range []int{0, 31, 33} {
		w := newWorld(t, worldOptions{cfg: Config{PSK: func(schedule.PSKID) (suite.Secret, bool) {
			t.Error("a PSK was looked up")
			return nil, false
		}}})
		wantRule(t, w.reseal(JoinOptions{}, func(s *message.GroupSecrets, _ *message.GroupInfo) lookupKey {
			s.PSKs = []schedule.PSKID{psk("x", n).PSK}
			return func(schedule.PSKID) (suite.Secret, bool) { return make(suite.Secret, 32), true }
		}), rule.PSKNonce)
	}
}

// A tree whose leaves do not list the group's suite, as peers write them, is joined; such
// a member goes on to update and to commit; but nobody is added or founds a group so, and
// nobody stops listing it.
func TestSuiteOmittedFromLeaves(t *testing.T) {
	w := newWorld(t, worldOptions{})
	omitted := []uint16{7}
	lax := *w.members[0]
	kp := must(identity(t, "guest").NewKeyPackage(worldTime, KeyPackageOptions{}))(t)
	p := must(lax.Commit(CommitOptions{Add: []*message.KeyPackage{kp.Public}}, worldTime))(t)
	w.welcome, w.lastKP = p.Welcome, kp
	err := w.reseal(JoinOptions{}, func(s *message.GroupSecrets, info *message.GroupInfo) lookupKey {
		for i, e := range info.Extensions {
			if e.Type != tree.ExtRatchetTree {
				continue
			}
			nodes := must(codec.Unmarshal(e.Data, readMirror))(t)
			l := *nodes[0].leaf
			l.Capabilities.Suites = omitted
			if err := l.Sign(w.members[0].id.Signer, w.members[0].ID(), 0); err != nil {
				t.Fatal(err)
			}
			nodes[0].leaf = &l
			info.Extensions[i].Data = codec.AppendList(nil, nodes)
			info.Context.TreeHash = must(tree.Read(w.members[0].pub.s, codec.NewReader(info.Extensions[i].Data)))(t).Hash()
		}
		return nil
	})
	wantRule(t, err, rule.GroupInfoTag) // every check of the tree has passed
	wantRule(t, w.update(func(l *tree.LeafNode) { l.Capabilities.Suites = omitted }), rule.LeafSuite)
	wantRule(t, w.spoilPath(func(p *tree.UpdatePath) { p.Leaf.Capabilities.Suites = omitted }, nil), rule.LeafSuite)
	wantRule(t, w.externalCommit("x", 4, func(c *message.Commit) { c.Path.Leaf.Capabilities.Suites = omitted }), rule.LeafSuite)

	old := *w.members[0].pub.tree.Leaf(0)
	old.Capabilities.Suites = omitted
	pub := *w.members[1].pub
	edit := pub.tree.Edit()
	edit.SetLeaf(0, &old)
	pub.tree = edit.Freeze()
	u := w.updateProposal(0, func(l *tree.LeafNode) { l.Capabilities.Suites = omitted })
	if err := pub.checkUpdate(w.cfg, resolved{u, message.Member(0), nil}, worldTime); err != nil {
		t.Errorf("an Update of a member who never listed the suite: %v", err)
	}
	if bytes.Equal(pub.tree.Hash(), w.members[1].pub.tree.Hash()) {
		t.Error("the changed leaf does not show in the tree")
	}
}
