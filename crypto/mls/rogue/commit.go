package rogue

import (
	"bytes"
	"slices"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

const pathLabel = "UpdatePathNode" // RFC 9420 §7.5

// Plan says what a commit is like. The zero value is an honest empty commit. Whatever a
// hook changes, all that follows from it is made to fit: parent hashes, signatures, tree
// hash, transcript and confirmation tag.
type Plan struct {
	Proposals []message.ProposalOrRef
	Frame     Frame
	NoPath    bool
	Signer    *suite.Signer // of the leaf

	Key         func(node int, key suite.PublicKey) suite.PublicKey // of the path's nodes
	Leaf        func(*tree.LeafNode)                                // before it is signed
	Path        func(*tree.UpdatePath)                              // after all is made
	Secret      func(to tree.NodeIndex, c suite.Ciphertext) suite.Ciphertext
	Provisional func(*schedule.GroupContext)
	Context     func(*schedule.GroupContext)
	Confirm     func([]byte) []byte
	PSK         suite.Secret // what the PSKs amount to; nil for none

	external *external
}

// external is what a joiner by external commit brings.
type external struct {
	at         tree.LeafIndex
	initSecret suite.Secret
}

// Made is a commit with what follows from it.
type Made struct {
	Message     []byte
	Commit      *message.Commit
	Tree        *tree.Tree
	Provisional *schedule.GroupContext
	Context     *schedule.GroupContext
	Tag         []byte
	Epoch       *schedule.Epoch
	joiner, psk suite.Secret
	joiners     []message.Joiner
	signer      *suite.Signer
	self        tree.LeafIndex
}

// resolved is a proposal with its sender.
type resolved struct {
	*message.Proposal
	sender message.Sender
}

// resolve looks references up; unknown ones stand for nothing.
func (m *Member) resolve(list []message.ProposalOrRef, self message.Sender) (out []resolved) {
	for _, p := range list {
		if p.Proposal != nil {
			out = append(out, resolved{p.Proposal, self})
			continue
		}
		for _, auth := range m.Proposed {
			if bytes.Equal(m.Suite.RefHash(message.ProposalRefLabel, auth.AppendTo(nil)), p.Ref) {
				out = append(out, resolved{auth.Content().Proposal, auth.Content().Sender})
				break
			}
		}
	}
	return out
}

// apply changes the tree as RFC 9420 §12.3 says, without asking whether it may.
func (m *Member) apply(e *tree.Editor, list []resolved) (added []tree.LeafIndex, packages []*message.KeyPackage) {
	there := func(l tree.LeafIndex) bool { return e.Tree().Leaf(l) != nil }
	for _, p := range list {
		if at := tree.LeafIndex(p.sender.Index); p.Type == tree.ProposalUpdate && there(at) {
			e.Update(at, p.Update)
		}
	}
	for _, p := range list {
		at := p.Remove
		if p.Type == tree.ProposalSelfRemove {
			at = tree.LeafIndex(p.sender.Index)
		}
		if (p.Type == tree.ProposalRemove || p.Type == tree.ProposalSelfRemove) && there(at) && e.Tree().Count() > 1 {
			e.Remove(at)
		}
	}
	for _, p := range list {
		if p.Type != tree.ProposalAdd {
			continue
		}
		if at, err := e.Add(p.Add.Leaf); err == nil {
			added, packages = append(added, at), append(packages, p.Add)
		}
	}
	return added, packages
}

// Commit makes the commit of a plan. It is nil where no tree could have it: the
// committer removes its own leaf.
func (m *Member) Commit(plan Plan) *Made {
	sender := message.Member(m.Self())
	made := &Made{signer: m.Signer, self: m.Self(), psk: plan.PSK}
	initSecret := m.Epoch.Init
	edit := m.Tree.Edit()
	list := m.resolve(plan.Proposals, sender)
	added, packages := m.apply(edit, list)
	if plan.external != nil {
		made.signer, initSecret = plan.Signer, plan.external.initSecret
		at, err := edit.Reserve()
		if err != nil {
			return nil
		}
		made.self, plan.external.at = at, at
		edit.SetLeaf(at, plan.external.leaf(m, plan.Signer))
	}
	if edit.Tree().Leaf(made.self) == nil {
		return nil
	}
	extensions := m.Context.Extensions
	for _, p := range list {
		if p.Type == tree.ProposalGroupContextExtensions {
			extensions = p.Extensions
		}
	}
	commitSecret := m.Suite.Zero()
	made.Commit = &message.Commit{Proposals: plan.Proposals}
	var path *newPath
	if !plan.NoPath {
		path = m.createPath(edit, made.self, &plan)
		commitSecret = path.commit
	}
	made.Tree = edit.Freeze()
	provisional := *m.Context
	provisional.Epoch++
	provisional.TreeHash, provisional.Extensions = made.Tree.Hash(), extensions
	if plan.Provisional != nil {
		plan.Provisional(&provisional)
	}
	made.Provisional = &provisional
	if path != nil {
		made.Commit.Path = path.encrypt(m.Suite, made.Tree, codec.Marshal(&provisional), added, plan.Secret)
		if plan.Path != nil {
			plan.Path(made.Commit.Path)
		}
	}
	for i, at := range added {
		to := message.Joiner{KeyPackage: packages[i]}
		if path != nil {
			to.PathSecret = path.secretFor(made.self, at)
		}
		made.joiners = append(made.joiners, to)
	}
	m.finish(made, &plan, initSecret, commitSecret)
	return made
}

// finish derives the next epoch and frames the commit.
func (m *Member) finish(made *Made, plan *Plan, initSecret, commitSecret suite.Secret) {
	s := m.Suite
	if made.psk == nil {
		made.psk = s.Zero()
	}
	auth := m.sign(&message.Content{Type: message.ContentCommit, Commit: made.Commit}, &plan.Frame)
	context := *made.Provisional
	context.ConfirmedTranscriptHash = schedule.ConfirmedTranscript(s, m.Interim, auth.TranscriptInput())
	if plan.Context != nil {
		plan.Context(&context)
	}
	made.Context = &context
	encoded := codec.Marshal(&context)
	made.joiner = schedule.Joiner(s, initSecret, commitSecret, encoded)
	made.Epoch, _ = schedule.FromJoiner(s, made.joiner, made.psk, encoded)
	made.Tag = made.Epoch.ConfirmationTag(s, context.ConfirmedTranscriptHash)
	tag := made.Tag
	if plan.Confirm != nil {
		tag = plan.Confirm(slices.Clone(tag))
	}
	made.Message = m.protect(auth.Confirm(tag), &plan.Frame)
}

// newPath is a path before it is encrypted.
type newPath struct {
	steps   []tree.Step
	secrets []suite.Secret
	keys    []suite.PublicKey
	commit  suite.Secret
	leaf    *tree.LeafNode
}

func (m *Member) createPath(e *tree.Editor, self tree.LeafIndex, plan *Plan) *newPath {
	s := m.Suite
	p := &newPath{steps: e.Tree().FilteredDirectPath(self)}
	secret := suite.Random(s.HashSize())
	for i := range p.steps {
		p.secrets = append(p.secrets, secret)
		_, pub, err := s.DeriveKeyPair(s.DeriveSecret(secret, "node"))
		if err != nil {
			panic(err)
		}
		if plan.Key != nil {
			pub = plan.Key(i, pub)
		}
		p.keys = append(p.keys, pub)
		secret = s.DeriveSecret(secret, "path")
	}
	p.commit = secret
	signer := m.Signer
	if plan.Signer != nil {
		signer = plan.Signer
	}
	p.leaf = copyLeaf(e.Tree().Leaf(self))
	p.leaf.EncryptionKey, p.leaf.Source, p.leaf.SignatureKey = m.fresh(), tree.SourceCommit, signer.Public()
	p.leaf.ParentHash = e.MergePath(self, p.steps, p.keys)
	if plan.Leaf != nil {
		plan.Leaf(p.leaf)
	}
	if err := p.leaf.Sign(signer, m.Context.GroupID, self); err != nil {
		panic(err)
	}
	e.SetLeaf(self, p.leaf)
	return p
}

// encrypt seals the path secrets; what can't be sealed to a key is noise.
func (p *newPath) encrypt(s *suite.Suite, t *tree.Tree, context []byte, added []tree.LeafIndex, change func(tree.NodeIndex, suite.Ciphertext) suite.Ciphertext) *tree.UpdatePath {
	out := &tree.UpdatePath{Leaf: p.leaf}
	for i, step := range p.steps {
		n := tree.UpdatePathNode{EncryptionKey: p.keys[i]}
		for _, to := range t.Resolution(step.Copath, added) {
			c, err := s.EncryptWithLabel(t.PublicKey(to), pathLabel, context, p.secrets[i])
			if err != nil {
				c = suite.Ciphertext{KEMOutput: suite.Random(32), Ciphertext: suite.Random(48)}
			}
			if change != nil {
				c = change(to, c)
			}
			n.Secrets = append(n.Secrets, c)
		}
		out.Nodes = append(out.Nodes, n)
	}
	return out
}

// secretFor is the path secret of the lowest node above both leaves, or nil.
func (p *newPath) secretFor(self, member tree.LeafIndex) suite.Secret {
	for i, st := range p.steps {
		if st.Node.Contains(self.Node()) && st.Node.Contains(member.Node()) {
			return p.secrets[i]
		}
	}
	return nil
}

// GroupInfo is the group info of the new epoch, with tree and external_pub, not signed.
func (made *Made) GroupInfo(s *suite.Suite) *message.GroupInfo {
	_, pub, err := made.Epoch.ExternalKey(s)
	if err != nil {
		panic(err)
	}
	return &message.GroupInfo{
		Context: made.Context, ConfirmationTag: made.Tag, Signer: made.self, Extensions: tree.Extensions{
			{Type: tree.ExtRatchetTree, Data: made.Tree.AppendTo(nil)},
			{Type: tree.ExtExternalPub, Data: codec.Bytes(nil, pub)},
		},
	}
}

// Welcome seals a group info, changed or not, to those whom the commit adds.
func (made *Made) Welcome(s *suite.Suite, info *message.GroupInfo, change func(*message.GroupSecrets)) []byte {
	if info.Signature == nil {
		must(info.Sign(made.signer, nil))
	}
	psks := []schedule.PSKID{}
	joiner, psk := made.joiner, made.psk
	to := slices.Clone(made.joiners)
	if change != nil && len(to) > 0 {
		secrets := &message.GroupSecrets{Joiner: joiner.Clone(), PathSecret: to[0].PathSecret, PSKs: psks}
		change(secrets)
		joiner, to[0].PathSecret, psks = secrets.Joiner, secrets.PathSecret, secrets.PSKs
	}
	w, err := message.SealWelcome(s, codec.Marshal(info), joiner, psk, psks, to)
	if err != nil {
		return nil // to an init key that is none
	}
	return codec.Marshal(&message.Message{Welcome: w})
}
