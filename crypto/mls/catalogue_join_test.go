package mls

import (
	"bytes"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

func externalCases() map[rule.Rule]func(w *world) error {
	with := func(p ...*message.Proposal) func(w *world) error {
		return func(w *world) error {
			return w.externalCommit("x", 4, func(c *message.Commit) {
				for _, p := range p {
					c.Proposals = append(c.Proposals, message.ProposalOrRef{Proposal: p})
				}
			})
		}
	}
	return map[rule.Rule]func(w *world) error{
		rule.ExternalOneInit: func(w *world) error {
			return w.externalCommit("x", 4, func(c *message.Commit) { c.Proposals = nil })
		},
		rule.ExternalOneRemove: with(remove(1), remove(2)),
		rule.ExternalOther:     with(contextExtensions(nil)),
		rule.ExternalReference: func(w *world) error {
			w.deliver(1, w.forge(2, proposalContent(remove(3)), nil))
			ref := w.members[1].pub.proposals[0].ref
			return w.externalCommit("x", 4, func(c *message.Commit) {
				c.Proposals = append(c.Proposals, message.ProposalOrRef{Ref: ref})
			})
		},
		rule.ExternalPath: func(w *world) error {
			return w.externalCommit("x", 4, func(c *message.Commit) { c.Path = nil })
		},
		rule.ExternalSuccessor: func(w *world) error {
			return w.externalCommit("x", 2, func(c *message.Commit) {
				c.Proposals = append(c.Proposals, message.ProposalOrRef{Proposal: remove(2)})
			})
		},
	}
}

func pathCases() map[rule.Rule]func(w *world) error {
	spoil := func(mutate func(p *tree.UpdatePath)) func(w *world) error {
		return func(w *world) error { return w.spoilPath(mutate, nil) }
	}
	return map[rule.Rule]func(w *world) error{
		rule.PathRequired: func(w *world) error {
			return w.refused(1, w.forge(0, &message.Content{Type: message.ContentCommit, Commit: &message.Commit{}}, nil))
		},
		rule.PathLength:      spoil(func(p *tree.UpdatePath) { p.Nodes = p.Nodes[:1] }),
		rule.PathCiphertexts: spoil(func(p *tree.UpdatePath) { p.Nodes[1].Secrets = nil }),
		rule.PathParentHash:  spoil(func(p *tree.UpdatePath) { p.Leaf.ParentHash = make([]byte, 32) }),
		rule.PathKeysFresh: func(w *world) error {
			return w.spoilPath(func(p *tree.UpdatePath) { p.Nodes[0].EncryptionKey = w.members[0].pub.tree.Leaf(2).EncryptionKey }, nil)
		},
		rule.PathSecret: spoil(func(p *tree.UpdatePath) { p.Nodes[0].Secrets[0].Ciphertext[0] ^= 1 }),
		rule.ConfirmationTag: func(w *world) error {
			p := must(w.members[0].Commit(CommitOptions{}, worldTime))(w.t)
			c := must(message.Parse(p.Commit))(w.t).Public.Content
			return w.refused(1, w.forge(0, c, nil)) // the tag is all zero
		},
	}
}

func welcomeCases() map[rule.Rule]func(w *world) error {
	spoil := func(mutate func(*message.GroupSecrets, *message.GroupInfo)) func(w *world) error {
		return func(w *world) error {
			return w.reseal(JoinOptions{}, func(s *message.GroupSecrets, i *message.GroupInfo) lookupKey {
				mutate(s, i)
				return nil
			})
		}
	}
	join := func(mutate func(w *world, m *message.Message)) func(w *world) error {
		return func(w *world) error {
			m := must(message.Parse(w.welcome))(w.t)
			mutate(w, m)
			_, err := Join(w.cfg, []*KeyPackage{w.lastKP}, codec.Marshal(m), JoinOptions{}, worldTime)
			return err
		}
	}
	branch := schedule.PSKID{Type: schedule.PSKResumption, Usage: schedule.UsageBranch, GroupID: []byte("world"), Nonce: make([]byte, 32)}
	some := func(schedule.PSKID) (suite.Secret, bool) { return make(suite.Secret, 32), true }
	return map[rule.Rule]func(w *world) error{
		rule.WelcomeForUs: join(func(_ *world, m *message.Message) { m.Welcome.Secrets[0].NewMember = make([]byte, 32) }),
		rule.WelcomeSuite: join(func(_ *world, m *message.Message) { m.Welcome.Suite = suite.X25519ChaChaSHA256Ed25519 }),
		rule.WelcomeSecrets: join(func(_ *world, m *message.Message) {
			m.Welcome.Secrets[0].Secrets.Ciphertext[0] ^= 1
		}),
		rule.WelcomePSK: func(w *world) error {
			return w.reseal(JoinOptions{}, func(s *message.GroupSecrets, _ *message.GroupInfo) lookupKey {
				s.PSKs = []schedule.PSKID{psk("unknown", 32).PSK}
				return some
			})
		},
		rule.WelcomePSKTwice: func(w *world) error {
			return w.reseal(JoinOptions{}, func(s *message.GroupSecrets, _ *message.GroupInfo) lookupKey {
				again := psk("x", 32).PSK
				again.Nonce = bytes.Repeat([]byte{1}, 32)
				s.PSKs = []schedule.PSKID{psk("x", 32).PSK, again}
				return some
			})
		},
		rule.WelcomeOnePSK: func(w *world) error {
			return w.reseal(JoinOptions{}, func(s *message.GroupSecrets, _ *message.GroupInfo) lookupKey {
				other := branch
				other.Epoch = 1
				s.PSKs = []schedule.PSKID{branch, other}
				return some
			})
		},
		rule.GroupInfoSignature: spoil(func(_ *message.GroupSecrets, i *message.GroupInfo) { i.Signature = nil }),
		rule.GroupInfoSuite:     spoil(func(_ *message.GroupSecrets, i *message.GroupInfo) { i.Context.Suite = 3 }),
		rule.GroupInfoExtensions: spoil(func(_ *message.GroupSecrets, i *message.GroupInfo) {
			i.Context.Extensions = tree.Extensions{{Type: extUnknown}}
		}),
		rule.GroupInfoTag: spoil(func(_ *message.GroupSecrets, i *message.GroupInfo) { i.ConfirmationTag[0] ^= 1 }),
		rule.GroupInfoGroup: func(w *world) error {
			cfg := *w.cfg
			cfg.KnowsGroup = func(id []byte) bool { return string(id) == "world" }
			_, err := Join(&cfg, []*KeyPackage{w.lastKP}, w.welcome, JoinOptions{}, worldTime)
			return err
		},
		rule.GroupInfoExternalPub: func(w *world) error {
			info := must(w.members[0].GroupInfo(GroupInfoOptions{NoExternalPub: true}))(w.t)
			_, err := ExternalJoin(w.cfg, identity(w.t, "x"), info, ExternalOptions{}, worldTime)
			return err
		},
		rule.JoinLeaf: func(w *world) error {
			kp := *w.lastKP
			kp.leafKey = w.lastKP.initKey
			_, err := Join(w.cfg, []*KeyPackage{&kp}, w.welcome, JoinOptions{}, worldTime)
			return err
		},
		rule.JoinPathSecret: spoil(func(s *message.GroupSecrets, _ *message.GroupInfo) { s.PathSecret = make(suite.Secret, 32) }),
		rule.JoinEpochOne: func(w *world) error {
			id := branch
			id.Epoch = w.members[0].Epoch()
			return w.reseal(JoinOptions{From: w.members[0]}, func(s *message.GroupSecrets, _ *message.GroupInfo) lookupKey {
				s.PSKs = []schedule.PSKID{id}
				return w.members[0].psk
			})
		},
		rule.TreeMissing: spoil(func(_ *message.GroupSecrets, i *message.GroupInfo) { i.Extensions = nil }),
		rule.TreeHash:    spoil(func(_ *message.GroupSecrets, i *message.GroupInfo) { i.Context.TreeHash[0] ^= 1 }),
	}
}

// treeCases spoil the tree of four members that have all committed: nodes 1 and 5 above
// the pairs, node 3 above all four, and a fifth leaf under a new root, node 7.
func treeCases() map[rule.Rule]func(w *world) error {
	spoil := func(mutate func(n []mirrorNode)) func(w *world) error {
		return func(w *world) error {
			return w.spoilTree(func(n []mirrorNode) []mirrorNode {
				mutate(n)
				return n
			})
		}
	}
	return map[rule.Rule]func(w *world) error{
		rule.TreeShape: func(w *world) error {
			return w.spoilTree(func(n []mirrorNode) []mirrorNode { return append(n, mirrorNode{}) })
		},
		rule.TreeParentHash: spoil(func(n []mirrorNode) { n[3].parent.ParentHash = make([]byte, 32) }),
		rule.TreeParentKeys: func(w *world) error {
			return w.foundedTree(func(root *tree.ParentNode) { root.EncryptionKey = make([]byte, 32) })
		},
		rule.TreeUnmergedSorted: spoil(func(n []mirrorNode) { n[1].parent.UnmergedLeaves = []tree.LeafIndex{1, 0} }),
		rule.TreeUnmergedLeaf:   spoil(func(n []mirrorNode) { n[1].parent.UnmergedLeaves = []tree.LeafIndex{2} }),
		rule.TreeUnmergedBetween: spoil(func(n []mirrorNode) {
			n[3].parent.UnmergedLeaves = []tree.LeafIndex{0}
		}),
		rule.TreeKeyUnique: spoil(func(n []mirrorNode) { n[5].parent.EncryptionKey = n[1].parent.EncryptionKey }),
	}
}

func lineageCases() map[rule.Rule]func(w *world) error {
	return map[rule.Rule]func(w *world) error{
		rule.JoinReInit: func(w *world) error {
			r := &message.ReInit{GroupID: []byte("next"), Version: tree.MLS10, Suite: worldSuite}
			w.accept(0, must(w.members[0].Commit(CommitOptions{ReInit: r}, worldTime))(w.t))
			var kps []*message.KeyPackage
			var own *KeyPackage
			for _, m := range w.members[1:] {
				kp := must(m.id.NewKeyPackage(worldTime, KeyPackageOptions{}))(w.t)
				kps = append(kps, kp.Public)
				if own == nil {
					own = kp
				}
			}
			liar := *w.members[0]
			liar.reinit = &message.ReInit{GroupID: []byte("other"), Version: tree.MLS10, Suite: worldSuite}
			p := must(liar.Succeed(w.members[0].id, kps, worldTime))(w.t)
			_, err := Join(w.cfg, []*KeyPackage{own}, p.Welcome, JoinOptions{From: w.members[1]}, worldTime)
			return err
		},
		rule.JoinBranch: func(w *world) error {
			own := must(w.members[1].id.NewKeyPackage(worldTime, KeyPackageOptions{}))(w.t)
			kps := []*message.KeyPackage{own.Public, w.keyPackage(identity(w.t, "stranger"), nil)}
			p := must(w.members[0].found(w.members[0].id, []byte("sub"), nil, kps, schedule.UsageBranch, worldTime))(w.t)
			_, err := Join(w.cfg, []*KeyPackage{own}, p.Welcome, JoinOptions{From: w.members[1]}, worldTime)
			return err
		},
	}
}
