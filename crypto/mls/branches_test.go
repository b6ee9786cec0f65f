package mls

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// branchCase is one more way to break a rule, beside the one of the catalogue: every
// place that enforces it has a message that only this place refuses.
type branchCase struct {
	rule rule.Rule
	what string
	run  func(w *world) error
}

// Every branch of every rule refuses the message built to break it there.
func TestEveryBranchRefuses(t *testing.T) {
	for _, part := range [][]branchCase{leafBranches(), pathBranches(), frameBranches(), outsideBranches(), joinBranches(), treeBranches(), lineageBranches()} {
		for _, c := range part {
			t.Run(c.rule.String()+"/"+c.what, func(t *testing.T) {
				wantRule(t, c.run(newWorld(t, worldOptions{})), c.rule)
			})
		}
	}
}

func leafBranches() []branchCase {
	add := func(mutate func(w *world, kp *message.KeyPackage)) func(w *world) error {
		return func(w *world) error { return w.add(func(kp *message.KeyPackage) { mutate(w, kp) }) }
	}
	update := func(mutate func(w *world, p *message.Proposal)) func(w *world) error {
		return func(w *world) error {
			p := w.updateProposal(0, nil)
			mutate(w, p)
			return w.refused(1, w.forge(0, proposalContent(p), nil))
		}
	}
	twoAdds := func(share func(a, b *message.KeyPackage)) func(w *world) error {
		return func(w *world) error {
			a := w.keyPackage(identity(w.t, "first"), nil)
			b := w.keyPackage(identity(w.t, "second"), func(kp *message.KeyPackage) { share(a, kp) })
			return w.commit(&message.Proposal{Type: tree.ProposalAdd, Add: a}, &message.Proposal{Type: tree.ProposalAdd, Add: b})
		}
	}
	certificates := func(der ...[]byte) func(w *world, kp *message.KeyPackage) {
		return func(_ *world, kp *message.KeyPackage) {
			kp.Leaf.Credential = tree.Credential{Type: tree.CredentialX509, Certificates: der}
			kp.Leaf.Capabilities.Credentials = []tree.CredentialType{1, 2}
		}
	}
	return []branchCase{
		{rule.LeafSignature, "of an update", update(func(_ *world, p *message.Proposal) { p.Update.Signature[7] ^= 1 })},
		{rule.LeafSignature, "of an update, for another place", update(func(w *world, p *message.Proposal) {
			_ = p.Update.Sign(w.members[0].id.Signer, w.members[0].ID(), 1)
		})},
		{rule.LeafSignature, "of an update, for another group", update(func(w *world, p *message.Proposal) {
			_ = p.Update.Sign(w.members[0].id.Signer, []byte("other"), 0)
		})},
		{rule.LeafCredential, "a new identity under the same key", update(func(w *world, p *message.Proposal) {
			p.Update.Credential.Identity = []byte("z")
			_ = p.Update.Sign(w.members[0].id.Signer, w.members[0].ID(), 0)
		})},
		{rule.LeafCertificateKey, "no certificate", add(certificates())},
		{rule.LeafCertificateKey, "not a certificate", add(certificates([]byte("junk")))},
		{rule.LeafDefaultsListed, "a default proposal", add(func(_ *world, kp *message.KeyPackage) {
			kp.Leaf.Capabilities.Proposals = []tree.ProposalType{tree.ProposalSelfRemove, tree.ProposalAdd}
		})},
		{rule.ExtensionsUnique, "of a leaf", add(func(_ *world, kp *message.KeyPackage) {
			kp.Leaf.Extensions = tree.Extensions{{Type: extKnown}, {Type: extKnown}}
		})},
		{rule.ExtensionsUnique, "of a context", func(w *world) error {
			return w.commit(contextExtensions(tree.Extensions{{Type: extKnown}, {Type: extKnown}}))
		}},
		{rule.LeafRequired, "that does not decode", func(w *world) error {
			return w.commit(contextExtensions(tree.Extensions{{Type: tree.ExtRequiredCapabilities, Data: []byte{9}}}))
		}},
		{rule.LeafKeys, "of an init key", add(func(_ *world, kp *message.KeyPackage) { kp.InitKey = make([]byte, 32) })},
		{rule.LeafKeys, "of a short signature key", update(func(_ *world, p *message.Proposal) { p.Update.SignatureKey = p.Update.SignatureKey[:31] })},
		{rule.LeafEncryptionKeyUnique, "two adds", twoAdds(func(a, b *message.KeyPackage) { b.Leaf.EncryptionKey = a.Leaf.EncryptionKey })},
		{rule.KeyPackageInitUnique, "two adds", twoAdds(func(a, b *message.KeyPackage) { b.InitKey = a.InitKey })},
		{rule.KeyPackageInitUnique, "a new leaf's key", twoAdds(func(a, b *message.KeyPackage) { b.InitKey = a.Leaf.EncryptionKey })},
		{rule.KeyPackageInitUnique, "a member's key", add(func(w *world, kp *message.KeyPackage) {
			kp.InitKey = w.members[0].pub.tree.Leaf(3).EncryptionKey
		})},
		{rule.LeafEncryptionKeyUnique, "a parent's key in a commit", add(func(w *world, kp *message.KeyPackage) { kp.Leaf.EncryptionKey = w.parentKey() })},
		{rule.ContextRequired, "of a proposal", func(w *world) error {
			return w.commit(contextExtensions(required(tree.RequiredCapabilities{Proposals: []tree.ProposalType{0xF123}})))
		}},
		{rule.ContextRequired, "of a credential", func(w *world) error {
			return w.commit(contextExtensions(required(tree.RequiredCapabilities{Credentials: []tree.CredentialType{credNobody}})))
		}},
		{rule.ContextExternalSenders, "an identity that is refused", func(w *world) error {
			return w.commit(contextExtensions(externalSenders(w.external.Public(), evilIdentity)))
		}},
		{rule.ContextExternalSenders, "a short key", func(w *world) error {
			return w.commit(contextExtensions(externalSenders(w.external.Public()[:31], "x")))
		}},
		{rule.ListSameLeaf, "update and remove", func(w *world) error {
			w.deliver(1, w.forge(2, proposalContent(w.updateProposal(2, nil)), nil))
			c := &message.Commit{Path: w.path(), Proposals: []message.ProposalOrRef{{Ref: w.members[1].pub.proposals[0].ref}, {Proposal: remove(2)}}}
			return w.refused(1, w.forge(0, &message.Content{Type: message.ContentCommit, Commit: c}, nil))
		}},
	}
}

func externalSenders(key suite.SignaturePublicKey, name string) tree.Extensions {
	list := []tree.ExternalSender{{SignatureKey: key, Credential: tree.BasicCredential([]byte(name))}}
	return tree.Extensions{{Type: tree.ExtExternalSenders, Data: codec.AppendList(nil, list)}}
}

func pathBranches() []branchCase {
	spoil := func(mutate func(w *world, p *tree.UpdatePath)) func(w *world) error {
		return func(w *world) error { return w.spoilPath(func(p *tree.UpdatePath) { mutate(w, p) }, nil) }
	}
	initOf := func(pick func(p *tree.UpdatePath) suite.PublicKey) func(w *world) error {
		return func(w *world) error {
			c := &message.Commit{Path: w.path()}
			kp := w.keyPackage(identity(w.t, "new"), func(kp *message.KeyPackage) { kp.InitKey = pick(c.Path) })
			c.Proposals = []message.ProposalOrRef{{Proposal: &message.Proposal{Type: tree.ProposalAdd, Add: kp}}}
			return w.refused(1, w.forge(0, &message.Content{Type: message.ContentCommit, Commit: c}, nil))
		}
	}
	return []branchCase{
		{rule.LeafSignature, "of a path", func(w *world) error {
			path := w.path()
			path.Leaf.Signature[0] ^= 1
			return w.refused(1, w.forge(0, &message.Content{Type: message.ContentCommit, Commit: &message.Commit{Path: path}}, nil))
		}},
		{rule.LeafCredential, "a new identity in a path", spoil(func(_ *world, p *tree.UpdatePath) { p.Leaf.Credential.Identity = []byte("z") })},
		{rule.LeafFreshKey, "of a path", spoil(func(w *world, p *tree.UpdatePath) { p.Leaf.EncryptionKey = w.members[0].pub.tree.Leaf(0).EncryptionKey })},
		{rule.LeafKeys, "of a path node", spoil(func(_ *world, p *tree.UpdatePath) { p.Nodes[0].EncryptionKey = make([]byte, 32) })},
		{rule.LeafKeys, "of a path's last node", spoil(func(_ *world, p *tree.UpdatePath) { p.Nodes[1].EncryptionKey = p.Nodes[1].EncryptionKey[:31] })},
		{rule.LeafEncryptionKeyUnique, "of a path's leaf", spoil(func(w *world, p *tree.UpdatePath) { p.Leaf.EncryptionKey = w.members[0].pub.tree.Leaf(2).EncryptionKey })},
		{rule.LeafVersion, "of a path's leaf", spoil(func(_ *world, p *tree.UpdatePath) { p.Leaf.Capabilities.Versions = nil })},
		{rule.LeafSupportsCredentials, "of a joiner's leaf", func(w *world) error {
			return w.externalCommit("x", 4, func(c *message.Commit) {
				c.Path.Leaf.Credential.Type, c.Path.Leaf.Capabilities.Credentials = credAll, []tree.CredentialType{credAll}
			})
		}},
		{rule.LeafCredentialSupported, "of a joiner's leaf", func(w *world) error {
			return w.externalCommit("x", 4, func(c *message.Commit) {
				c.Path.Leaf.Credential.Type, c.Path.Leaf.Capabilities.Credentials = credNobody, []tree.CredentialType{1, credAll, credNobody}
			})
		}},
		{rule.PathKeysFresh, "twice in the path", spoil(func(_ *world, p *tree.UpdatePath) { p.Nodes[0].EncryptionKey = p.Nodes[1].EncryptionKey })},
		{rule.PathKeysFresh, "leaf and node", spoil(func(_ *world, p *tree.UpdatePath) { p.Leaf.EncryptionKey = p.Nodes[1].EncryptionKey })},
		{rule.PathKeysFresh, "a parent's key", spoil(func(w *world, p *tree.UpdatePath) { p.Nodes[0].EncryptionKey = w.members[0].pub.tree.PublicKey(5) })},
		{rule.PathKeysFresh, "leaf and a parent", spoil(func(w *world, p *tree.UpdatePath) { p.Leaf.EncryptionKey = w.members[0].pub.tree.PublicKey(5) })},
		{rule.PathLength, "too long", spoil(func(_ *world, p *tree.UpdatePath) { p.Nodes = append(p.Nodes, p.Nodes[0]) })},
		{rule.PathCiphertexts, "one too many", spoil(func(_ *world, p *tree.UpdatePath) {
			p.Nodes[1].Secrets = append(p.Nodes[1].Secrets, p.Nodes[1].Secrets[0])
		})},
		{rule.PathSecret, "for another", spoil(func(_ *world, p *tree.UpdatePath) { p.Nodes[0].Secrets[0] = p.Nodes[1].Secrets[0] })},
		{rule.PathSecret, "an update whose key we do not have", func(w *world) error {
			msg := w.forge(1, proposalContent(w.updateProposal(1, nil)), nil)
			w.deliver(0, msg)
			w.deliver(1, msg)
			return w.refused(1, must(w.members[0].Commit(CommitOptions{}, worldTime))(w.t).Commit)
		}},
		{rule.KeyPackageInitUnique, "the key of a path's leaf", initOf(func(p *tree.UpdatePath) suite.PublicKey { return p.Leaf.EncryptionKey })},
		{rule.KeyPackageInitUnique, "the key of a path's node", initOf(func(p *tree.UpdatePath) suite.PublicKey { return p.Nodes[1].EncryptionKey })},
		{rule.PathRequired, "a self-remove", func(w *world) error {
			w.deliver(1, w.forge(2, proposalContent(&message.Proposal{Type: tree.ProposalSelfRemove}), nil))
			c := &message.Commit{Proposals: []message.ProposalOrRef{{Ref: w.members[1].pub.proposals[0].ref}}}
			return w.refused(1, w.forge(0, &message.Content{Type: message.ContentCommit, Commit: c}, nil))
		}},
		{rule.PathRequired, "new extensions", func(w *world) error {
			c := &message.Commit{Proposals: []message.ProposalOrRef{{Proposal: contextExtensions(nil)}}}
			return w.refused(1, w.forge(0, &message.Content{Type: message.ContentCommit, Commit: c}, nil))
		}},
	}
}

// forgeFrom encrypts application data of member by, saying that it comes from a leaf.
func (w *world) forgeFrom(by int, from tree.LeafIndex) []byte {
	w.t.Helper()
	m := must(message.Parse(w.forgePrivate(by, []byte("x"), nil)))(w.t).Private
	g, s := w.members[by], w.members[by].pub.s
	k, nonce := schedule.SenderDataKeys(s, g.epoch.SenderData, m.Ciphertext)
	aad := append(codec.Uint64(codec.Bytes(nil, m.GroupID), m.Epoch), byte(m.Type))
	head := codec.Uint32(codec.Uint32(codec.Uint32(nil, uint32(from)), 0), 0)
	m.EncryptedSenderData = must(s.Seal(k, nonce, aad, head))(w.t)
	return codec.Marshal(&message.Message{Private: m})
}

func frameBranches() []branchCase {
	return []branchCase{
		{rule.FrameSender, "a private message from a blank leaf", func(w *world) error { return w.refused(1, w.forgeFrom(0, 9)) }},
		{rule.FrameGenerationUsed, "a private message that claims to be ours", func(w *world) error { return w.refused(1, w.forgeFrom(0, 1)) }},
		{rule.FrameSender, "our own commit, forgotten", func(w *world) error {
			return w.refused(0, must(w.members[0].Commit(CommitOptions{}, worldTime))(w.t).Commit)
		}},
		{rule.FrameGroup, "of a private message", func(w *world) error {
			m := must(message.Parse(w.forgePrivate(0, []byte("x"), nil)))(w.t)
			m.Private.GroupID = []byte("other")
			return w.refused(1, codec.Marshal(m))
		}},
		{rule.FrameEpoch, "of a private handshake", func(w *world) error {
			m := must(message.Parse(w.forgePrivate(0, []byte("x"), nil)))(w.t)
			m.Private.Type, m.Private.Epoch = message.ContentCommit, 1
			return w.refused(1, codec.Marshal(m))
		}},
		{rule.FrameEpoch, "a proposal of the epoch before", func(w *world) error {
			msg := w.forge(0, proposalContent(w.updateProposal(0, nil)), nil)
			w.accept(2, must(w.members[2].Commit(CommitOptions{}, worldTime))(w.t))
			return w.refused(1, msg)
		}},
		{rule.FrameEpochRetained, "of an epoch to come", func(w *world) error {
			m := must(message.Parse(w.forgePrivate(0, []byte("x"), nil)))(w.t)
			m.Private.Epoch++
			return w.refused(1, codec.Marshal(m))
		}},
		{rule.FrameSignature, "of a private message", func(w *world) error {
			g := *w.members[0]
			id := *g.id
			id.Signer = w.members[2].id.Signer
			g.id = &id
			_, msg, err := g.Encrypt([]byte("x"), nil)
			must(msg, err)(w.t)
			return w.refused(1, msg)
		}},
		{rule.FrameSignature, "of a late message", func(w *world) error {
			g := *w.members[0]
			id := *g.id
			id.Signer = w.members[2].id.Signer
			g.id = &id
			_, msg, err := g.Encrypt([]byte("x"), nil)
			must(msg, err)(w.t)
			w.accept(2, must(w.members[2].Commit(CommitOptions{}, worldTime))(w.t))
			return w.refused(1, msg)
		}},
		{rule.FrameSenderType, "a proposal of a joiner", func(w *world) error {
			c := proposalContent(remove(2))
			c.Sender = message.Sender{Type: message.SenderNewMemberCommit}
			return w.refused(1, w.forge(0, c, nil))
		}},
		{rule.FrameSenderType, "a commit of one who wants to be added", func(w *world) error {
			c := &message.Content{Type: message.ContentCommit, Commit: &message.Commit{}, Sender: message.Sender{Type: message.SenderNewMemberProposal}}
			return w.refused(1, w.forge(0, c, nil))
		}},
		{rule.GroupClosed, "after a reinit", func(w *world) error {
			r := &message.ReInit{GroupID: []byte("n"), Version: tree.MLS10, Suite: worldSuite}
			w.accept(0, must(w.members[0].Commit(CommitOptions{ReInit: r}, worldTime))(w.t))
			return w.refused(1, w.forge(0, proposalContent(w.updateProposal(0, nil)), nil))
		}},
		{rule.SendPending, "one proposal too many", func(w *world) error {
			g := *w.members[1]
			pub := *g.pub
			for i := range MaxStoredProposals {
				c := proposalContent(remove(2))
				c.GroupID, c.Epoch, c.Sender = g.ID(), g.Epoch(), message.Member(tree.LeafIndex(i%64))
				auth := must(message.Sign(w.members[2].id.Signer, message.WirePublic, c, g.pub.context))(w.t)
				pub.proposals = append(pub.proposals, stored{ref: codec.Uint32(nil, uint32(i)), msg: auth})
			}
			full := pub.proposals
			pub.proposals = full[1:]
			g.pub = &pub
			msg := w.forge(0, proposalContent(w.updateProposal(0, nil)), nil)
			if _, _, err := g.Process(msg, worldTime); err != nil {
				w.t.Errorf("one less: %v", err)
			}
			pub.proposals = full
			_, _, err := g.Process(msg, worldTime)
			return err
		}},
	}
}

func outsideBranches() []branchCase {
	info := func(w *world, spoil func(i *message.GroupInfo)) []byte {
		m := must(message.Parse(must(w.members[0].GroupInfo(GroupInfoOptions{}))(w.t)))(w.t)
		spoil(m.GroupInfo)
		signed := must(m.GroupInfo.Sign(w.members[0].id.Signer, nil))(w.t)
		return signed.Wire()
	}
	externalPub := func(data []byte) func(w *world) error {
		return func(w *world) error {
			raw := info(w, func(i *message.GroupInfo) {
				for k := range i.Extensions {
					if i.Extensions[k].Type == tree.ExtExternalPub {
						i.Extensions[k].Data = data
					}
				}
			})
			_, err := ExternalJoin(w.cfg, identity(w.t, "x"), raw, ExternalOptions{}, worldTime)
			return err
		}
	}
	return []branchCase{
		{rule.GroupInfoExternalPub, "does not decode", externalPub([]byte{32, 1})},
		{rule.GroupInfoExternalPub, "a low-order key", externalPub(codec.Bytes(nil, make([]byte, 32)))},
		{rule.GroupInfoExternalPub, "a short key", externalPub(codec.Bytes(nil, make([]byte, 31)))},
		{rule.GroupInfoSuite, "of an external join", func(w *world) error {
			id := must(NewIdentity(suite.Default, []byte("x")))(w.t)
			_, err := ExternalJoin(w.cfg, id, info(w, func(*message.GroupInfo) {}), ExternalOptions{}, worldTime)
			return err
		}},
		{rule.ExternalSuccessor, "nobody to come back as", func(w *world) error {
			_, err := ExternalJoin(w.cfg, identity(w.t, "stranger"), info(w, func(*message.GroupInfo) {}), ExternalOptions{Resync: true}, worldTime)
			return err
		}},
		{rule.ExternalReference, "an update taken along", func(w *world) error {
			msg := w.forge(2, proposalContent(w.updateProposal(2, nil)), nil)
			_, err := ExternalJoin(w.cfg, identity(w.t, "x"), info(w, func(*message.GroupInfo) {}), ExternalOptions{SelfRemoves: [][]byte{msg}}, worldTime)
			return err
		}},
		{rule.LeafFreshKey, "of a resync", func(w *world) error {
			return w.externalCommit("c", 2, func(c *message.Commit) {
				c.Proposals = append(c.Proposals, message.ProposalOrRef{Proposal: remove(2)})
				c.Path.Leaf.EncryptionKey = w.members[0].pub.tree.Leaf(2).EncryptionKey
			})
		}},
		{rule.LeafSignatureKeyUnique, "of a joiner who is a member", func(w *world) error {
			i := info(w, func(*message.GroupInfo) {})
			_, err := ExternalJoin(w.cfg, w.members[2].id, i, ExternalOptions{}, worldTime)
			return err
		}},
		{rule.ExternalOneInit, "two", func(w *world) error {
			return w.externalCommit("x", 4, func(c *message.Commit) { c.Proposals = append(c.Proposals, c.Proposals[0]) })
		}},
		{rule.ExternalOther, "an update", func(w *world) error {
			return w.externalCommit("x", 4, func(c *message.Commit) {
				c.Proposals = append(c.Proposals, message.ProposalOrRef{Proposal: w.updateProposal(2, nil)})
			})
		}},
		{rule.ExternalOther, "an add", func(w *world) error {
			return w.externalCommit("x", 4, func(c *message.Commit) {
				p := &message.Proposal{Type: tree.ProposalAdd, Add: w.keyPackage(identity(w.t, "n"), nil)}
				c.Proposals = append(c.Proposals, message.ProposalOrRef{Proposal: p})
			})
		}},
		{rule.LeafSourceCommit, "of a joiner", func(w *world) error {
			return w.externalCommit("x", 4, func(c *message.Commit) { c.Path.Leaf.Source = tree.SourceUpdate })
		}},
		{rule.LeafCredential, "of a joiner", func(w *world) error {
			return w.externalCommit("x", 4, func(c *message.Commit) { c.Path.Leaf.Credential.Identity = []byte(evilIdentity) })
		}},
		{rule.ExternalSenderProposal, "made here", func(w *world) error {
			_, err := ExternalProposal(w.external, 0, w.members[0].ID(), w.members[0].Epoch(), w.updateProposal(0, nil))
			return err
		}},
		{rule.ExternalSenderProposal, "a self-remove", func(w *world) error {
			c := proposalContent(&message.Proposal{Type: tree.ProposalSelfRemove})
			c.Sender = message.Sender{Type: message.SenderExternal}
			return w.refused(1, w.forge(0, c, w.external))
		}},
		{rule.ExternalSenderIndex, "a group without external senders", func(w *world) error {
			g := must(Create(w.cfg, identity(w.t, "alone"), []byte("alone"), nil, worldTime))(w.t)
			msg := must(ExternalProposal(w.external, 0, g.ID(), g.Epoch(), remove(0)))(w.t)
			_, _, err := g.Process(msg, worldTime)
			return err
		}},
		{rule.FrameSignature, "of an external sender", func(w *world) error {
			msg := must(ExternalProposal(w.members[2].id.Signer, 0, w.members[0].ID(), w.members[0].Epoch(), remove(3)))(w.t)
			return w.refused(1, msg)
		}},
	}
}

func joinBranches() []branchCase {
	spoil := func(mutate func(*message.GroupSecrets, *message.GroupInfo)) func(w *world) error {
		return func(w *world) error {
			return w.reseal(JoinOptions{}, func(s *message.GroupSecrets, i *message.GroupInfo) lookupKey {
				mutate(s, i)
				return nil
			})
		}
	}
	return []branchCase{
		{rule.WelcomeSuite, "unknown", func(w *world) error {
			m := must(message.Parse(w.welcome))(w.t)
			m.Welcome.Suite = 0x7777
			_, err := Join(w.cfg, []*KeyPackage{w.lastKP}, codec.Marshal(m), JoinOptions{}, worldTime)
			return err
		}},
		{rule.GroupInfoSignature, "of a blank leaf", spoil(func(_ *message.GroupSecrets, i *message.GroupInfo) { i.Signer = 77 })},
		{rule.GroupInfoSignature, "of another member", spoil(func(_ *message.GroupSecrets, i *message.GroupInfo) { i.Signer = 1 })},
		{rule.GroupInfoSuite, "the version", spoil(func(_ *message.GroupSecrets, i *message.GroupInfo) { i.Context.Version = 2 })},
		{rule.ExtensionsUnique, "of a group info", spoil(func(_ *message.GroupSecrets, i *message.GroupInfo) {
			i.Extensions = append(i.Extensions, i.Extensions[0])
		})},
		{rule.ExtensionsUnique, "of a context", spoil(func(_ *message.GroupSecrets, i *message.GroupInfo) {
			i.Context.Extensions = append(i.Context.Extensions, i.Context.Extensions[0])
		})},
		{rule.WelcomeSecrets, "another PSK", func(w *world) error {
			w.cfg.PSK = func(schedule.PSKID) (suite.Secret, bool) { return bytes.Repeat([]byte{7}, 32), true }
			return w.reseal(JoinOptions{}, func(s *message.GroupSecrets, _ *message.GroupInfo) lookupKey {
				s.PSKs = []schedule.PSKID{psk("x", 32).PSK}
				return func(schedule.PSKID) (suite.Secret, bool) { return bytes.Repeat([]byte{8}, 32), true }
			})
		}},
		{rule.PSKNonce, "of a welcome", func(w *world) error {
			return w.reseal(JoinOptions{}, func(s *message.GroupSecrets, _ *message.GroupInfo) lookupKey {
				s.PSKs = []schedule.PSKID{psk("x", 33).PSK}
				return func(schedule.PSKID) (suite.Secret, bool) { return make(suite.Secret, 32), true }
			})
		}},
	}
}

// guestLeaf changes the leaf that is invited, in the tree only, and signs it again.
func (w *world) guestLeaf(signer func() *suite.Signer, mutate func(n []mirrorNode, l *tree.LeafNode)) error {
	return w.spoilTree(func(n []mirrorNode) []mirrorNode {
		l := *n[8].leaf
		mutate(n, &l)
		if err := l.Sign(signer(), w.members[0].ID(), 4); err != nil {
			w.t.Fatal(err)
		}
		n[8].leaf = &l
		return n
	})
}

func treeBranches() []branchCase {
	guest := func(mutate func(n []mirrorNode, l *tree.LeafNode)) func(w *world) error {
		return func(w *world) error {
			return w.guestLeaf(func() *suite.Signer { return w.lastKP.Identity.Signer }, mutate)
		}
	}
	return []branchCase{
		{rule.LeafSignature, "in a tree", func(w *world) error {
			return w.spoilTree(func(n []mirrorNode) []mirrorNode {
				l := *n[8].leaf
				l.Signature = bytes.Clone(l.Signature)
				l.Signature[0] ^= 1
				n[8].leaf = &l
				return n
			})
		}},
		{rule.LeafCredential, "in a tree", guest(func(_ []mirrorNode, l *tree.LeafNode) { l.Credential.Identity = []byte(evilIdentity) })},
		{rule.LeafVersion, "in a tree", guest(func(_ []mirrorNode, l *tree.LeafNode) { l.Capabilities.Versions = nil })},
		{rule.LeafSupportsCredentials, "in a tree", guest(func(_ []mirrorNode, l *tree.LeafNode) {
			l.Credential.Type, l.Capabilities.Credentials = credAll, []tree.CredentialType{credAll}
		})},
		{rule.LeafSignatureKeyUnique, "in a tree", func(w *world) error {
			other := w.members[2].id.Signer
			return w.guestLeaf(func() *suite.Signer { return other }, func(_ []mirrorNode, l *tree.LeafNode) { l.SignatureKey = other.Public() })
		}},
		{rule.LeafEncryptionKeyUnique, "in a tree", guest(func(n []mirrorNode, l *tree.LeafNode) { l.EncryptionKey = n[0].leaf.EncryptionKey })},
		{rule.TreeKeyUnique, "a leaf with a parent's key", guest(func(n []mirrorNode, l *tree.LeafNode) { l.EncryptionKey = n[1].parent.EncryptionKey })},
		{rule.JoinLeaf, "another leaf than ours", guest(func(_ []mirrorNode, l *tree.LeafNode) { l.Lifetime.NotAfter++ })},
		{rule.TreeShape, "a leaf in a parent's place", func(w *world) error {
			return w.spoilTree(func(n []mirrorNode) []mirrorNode {
				n[1] = n[0]
				return n
			})
		}},
		{rule.TreeUnmergedLeaf, "blank", func(w *world) error {
			return w.spoilTree(func(n []mirrorNode) []mirrorNode {
				n[1].parent.UnmergedLeaves = []tree.LeafIndex{1}
				n[2] = mirrorNode{}
				return n
			})
		}},
		{rule.TreeUnmergedSorted, "twice", func(w *world) error {
			return w.spoilTree(func(n []mirrorNode) []mirrorNode {
				n[1].parent.UnmergedLeaves = []tree.LeafIndex{1, 1}
				return n
			})
		}},
	}
}

func lineageBranches() []branchCase {
	reinitialised := func(w *world) {
		r := &message.ReInit{GroupID: []byte("next"), Version: tree.MLS10, Suite: worldSuite}
		w.accept(0, must(w.members[0].Commit(CommitOptions{ReInit: r}, worldTime))(w.t))
	}
	own := func(w *world) *KeyPackage {
		return must(w.members[1].id.NewKeyPackage(worldTime, KeyPackageOptions{}))(w.t)
	}
	join := func(w *world, kp *KeyPackage, p *Pending, from *Group) error {
		_, err := Join(w.cfg, []*KeyPackage{kp}, p.Welcome, JoinOptions{From: from}, worldTime)
		return err
	}
	return []branchCase{
		{rule.WelcomePSK, "a branch without the old group", func(w *world) error {
			kp := own(w)
			p := w.branchOf(0, w.members[0].Epoch(), kp.Public)
			w.cfg.PSK = w.members[1].psk
			return join(w, kp, p, nil)
		}},
		{rule.JoinReInit, "a group that was not reinitialised", func(w *world) error {
			kp := own(w)
			p := must(w.members[0].found(w.members[0].id, []byte("n"), nil, []*message.KeyPackage{kp.Public}, schedule.UsageReInit, worldTime))(w.t)
			return join(w, kp, p, w.members[1])
		}},
		{rule.JoinReInit, "without a member", func(w *world) error {
			reinitialised(w)
			kp := own(w)
			p := must(w.members[0].found(w.members[0].id, []byte("next"), nil, []*message.KeyPackage{kp.Public}, schedule.UsageReInit, worldTime))(w.t)
			return join(w, kp, p, w.members[1])
		}},
		{rule.JoinReInit, "succeeding a group that goes on", func(w *world) error {
			_, err := w.members[0].Succeed(w.members[0].id, nil, worldTime)
			return err
		}},
		{rule.JoinReInit, "with an identity of another suite", func(w *world) error {
			reinitialised(w)
			_, err := w.members[0].Succeed(must(NewIdentity(suite.Default, []byte("a")))(w.t), nil, worldTime)
			return err
		}},
		{rule.JoinBranch, "of another suite", func(w *world) error {
			id, other := must(NewIdentity(suite.Default, []byte("a")))(w.t), must(NewIdentity(suite.Default, []byte("b")))(w.t)
			kp := must(other.NewKeyPackage(worldTime, KeyPackageOptions{}))(w.t)
			p := must(w.members[0].found(id, []byte("n"), nil, []*message.KeyPackage{kp.Public}, schedule.UsageBranch, worldTime))(w.t)
			return join(w, kp, p, w.members[1])
		}},
		{rule.JoinBranch, "of an epoch whose members are forgotten", func(w *world) error {
			kp := own(w)
			p := w.branchOf(0, w.members[0].Epoch()-1, kp.Public)
			from := *w.members[1]
			from.history = nil
			return join(w, kp, p, &from)
		}},
	}
}

// watchful refuses one signature key, whatever the credential, and one succession.
type watchful struct {
	testAuth
	key suite.SignaturePublicKey
}

func (a watchful) Validate(c tree.Credential, key suite.SignaturePublicKey, now time.Time) error {
	if bytes.Equal(key, a.key) {
		return errors.New("not the owner's key")
	}
	return a.testAuth.Validate(c, key, now)
}

// The authentication service is asked about a new signature key under an old credential,
// wherever one comes in.
func TestNewSignatureKeyIsValidated(t *testing.T) {
	stolen := identity(t, "thief").Signer
	spoiled := func(w *world) *world {
		w.cfg.Auth = watchful{key: stolen.Public()}
		return w
	}
	w := spoiled(newWorld(t, worldOptions{}))
	p := w.updateProposal(0, func(l *tree.LeafNode) { l.SignatureKey = stolen.Public() })
	if err := p.Update.Sign(stolen, w.members[0].ID(), 0); err != nil {
		t.Fatal(err)
	}
	wantRule(t, w.refused(1, w.forge(0, proposalContent(p), nil)), rule.LeafCredential)
	wantRule(t, w.spoilPath(func(p *tree.UpdatePath) { p.Leaf.SignatureKey = stolen.Public() }, stolen), rule.LeafCredential)
	id := identity(t, "new")
	id.Signer = stolen
	wantRule(t, w.commit(&message.Proposal{Type: tree.ProposalAdd, Add: w.keyPackage(id, nil)}), rule.LeafCredential)
	wantRule(t, w.guestLeaf(func() *suite.Signer { return stolen }, func(_ []mirrorNode, l *tree.LeafNode) { l.SignatureKey = stolen.Public() }), rule.LeafCredential)
}
