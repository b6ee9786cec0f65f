package rogue

import (
	"slices"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// pathKinds are commits whose path is wrong, everything else being made to fit.
func pathKinds() []Kind {
	path := func(name string, plan func(a *Attack) Plan) Kind {
		return Kind{"path", name, func(a *Attack) []Shot { return a.commit(plan(a)) }}
	}
	after := func(name string, change func(a *Attack, p *tree.UpdatePath)) Kind {
		return path(name, func(a *Attack) Plan { return Plan{Path: func(p *tree.UpdatePath) { change(a, p) }} })
	}
	noise := func(c suite.Ciphertext) suite.Ciphertext {
		return suite.Ciphertext{KEMOutput: suite.Random(len(c.KEMOutput)), Ciphertext: suite.Random(len(c.Ciphertext))}
	}
	list := []Kind{
		after("no nodes", func(_ *Attack, p *tree.UpdatePath) { p.Nodes = nil }),
		after("a node too few", func(_ *Attack, p *tree.UpdatePath) { p.Nodes = p.Nodes[:max(0, len(p.Nodes)-1)] }),
		after("a node too many", func(a *Attack, p *tree.UpdatePath) {
			p.Nodes = append(p.Nodes, tree.UpdatePathNode{EncryptionKey: a.fresh()})
		}),
		after("no ciphertexts", func(_ *Attack, p *tree.UpdatePath) { p.Nodes[0].Secrets = nil }),
		after("a ciphertext too many", func(_ *Attack, p *tree.UpdatePath) {
			p.Nodes[0].Secrets = append(p.Nodes[0].Secrets, p.Nodes[0].Secrets[0])
		}),
		after("empty ciphertexts", func(_ *Attack, p *tree.UpdatePath) {
			for i := range p.Nodes[0].Secrets {
				p.Nodes[0].Secrets[i] = suite.Ciphertext{}
			}
		}),
		after("the leaf's signature", func(_ *Attack, p *tree.UpdatePath) { p.Leaf.Signature = suite.Random(64) }),
		after("the leaf's key after it was signed", func(a *Attack, p *tree.UpdatePath) { p.Leaf.EncryptionKey = a.fresh() }),
		path("path secrets that are noise to all", func(*Attack) Plan {
			return Plan{Secret: func(_ tree.NodeIndex, c suite.Ciphertext) suite.Ciphertext { return noise(c) }}
		}),
		path("a path secret that is noise to one", func(a *Attack) Plan {
			victim := a.victim().Node()
			return Plan{Secret: func(to tree.NodeIndex, c suite.Ciphertext) suite.Ciphertext {
				if to.Contains(victim) {
					return noise(c)
				}
				return c
			}}
		}),
		path("a tree hash that is not the tree's", func(*Attack) Plan {
			return Plan{Provisional: func(c *schedule.GroupContext) { c.TreeHash = suite.Random(32) }}
		}),
		path("another context after it", func(*Attack) Plan {
			return Plan{Context: func(c *schedule.GroupContext) { c.Epoch += 7 }}
		}),
		path("no confirmation tag", func(*Attack) Plan { return Plan{Confirm: func([]byte) []byte { return nil }} }),
		path("a confirmation tag cut off", func(*Attack) Plan { return Plan{Confirm: func(b []byte) []byte { return b[:4] }} }),
		path("another confirmation tag", func(*Attack) Plan {
			return Plan{Confirm: func(b []byte) []byte { b[0] ^= 1; return b }}
		}),
		{"path", "two commits for one epoch, to different members", func(a *Attack) []Shot {
			split := a.victim()
			one, two := a.Commit(Plan{}), a.Commit(Plan{})
			return []Shot{
				{Message: one.Message, Commit: one, Only: func(l tree.LeafIndex) bool { return l <= split }},
				{Message: two.Message, Commit: two, Only: func(l tree.LeafIndex) bool { return l > split }},
			}
		}},
		{"path", "a commit to some only", func(a *Attack) []Shot {
			split := a.victim()
			made := a.Commit(Plan{})
			return []Shot{{Message: made.Message, Commit: made, Only: func(l tree.LeafIndex) bool { return l != split }}}
		}},
		path("one key for every node", func(a *Attack) Plan {
			key := a.fresh()
			return Plan{Key: func(int, suite.PublicKey) suite.PublicKey { return key }}
		}),
	}
	for _, at := range []string{"lowest", "highest"} {
		for _, f := range (&Attack{}).Keys() {
			list = append(list, path("the "+at+" node's key: "+f.Name, func(a *Attack) Plan {
				last := len(a.Tree.FilteredDirectPath(a.Self())) - 1
				return Plan{Key: func(i int, key suite.PublicKey) suite.PublicKey {
					if at == "lowest" && i == 0 || at == "highest" && i == last {
						f.Spoil(a, &key)
					}
					return key
				}}
			}))
		}
	}
	for _, f := range LeafFields() {
		list = append(list, path("leaf, "+f.Name, func(a *Attack) Plan { return Plan{Leaf: func(l *tree.LeafNode) { f.Spoil(a, l) }} }))
	}
	return list
}

// leaf is the leaf that a joiner starts from.
func (e *external) leaf(m *Member, signer *suite.Signer) *tree.LeafNode {
	l := m.Leaf(m.fresh(), tree.SourceCommit)
	l.SignatureKey, l.Credential = signer.Public(), tree.BasicCredential([]byte("a stranger"))
	return l
}

// External is an external commit by somebody who works with the member. The external
// init goes before the proposals of the plan.
func (a *Attack) External(plan Plan) []Shot {
	key := must2(a.Epoch.ExternalKey(a.Suite))
	initSecret, kem, err := a.Suite.ExternalInitSend(key)
	if err != nil {
		panic(err)
	}
	plan.Proposals = append(value(&message.Proposal{Type: tree.ProposalExternalInit, KEMOutput: kem}), plan.Proposals...)
	return a.externalAs(plan, initSecret)
}

func (a *Attack) externalAs(plan Plan, initSecret suite.Secret) []Shot {
	signer, credential := a.partner()
	if plan.Signer == nil {
		plan.Signer = signer
	}
	change := plan.Leaf
	plan.Leaf = func(l *tree.LeafNode) {
		l.Credential = credential
		if change != nil {
			change(l)
		}
	}
	plan.external = &external{initSecret: initSecret}
	plan.Frame.Sender, plan.Frame.Signer = &message.Sender{Type: message.SenderNewMemberCommit}, plan.Signer
	return a.commit(plan)
}

func must2(_ *suite.PrivateKey, pub suite.PublicKey, err error) suite.PublicKey {
	if err != nil {
		panic(err)
	}
	return pub
}

// externalKinds are external commits of a stranger.
func externalKinds() []Kind {
	kind := func(name string, make func(a *Attack) []Shot) Kind { return Kind{"external commit", name, make} }
	list := []Kind{
		kind("as it should be", func(a *Attack) []Shot { return a.External(Plan{}) }),
		kind("without external init", func(a *Attack) []Shot { return a.externalAs(Plan{}, a.Suite.Zero()) }),
		kind("with noise as kem output", func(a *Attack) []Shot {
			return a.externalAs(Plan{Proposals: value(&message.Proposal{Type: tree.ProposalExternalInit, KEMOutput: suite.Random(32)})}, a.Suite.Zero())
		}),
		kind("with an empty kem output", func(a *Attack) []Shot {
			return a.externalAs(Plan{Proposals: value(&message.Proposal{Type: tree.ProposalExternalInit})}, a.Suite.Zero())
		}),
		kind("without path", func(a *Attack) []Shot { return a.External(Plan{NoPath: true}) }),
		kind("with two external inits", func(a *Attack) []Shot {
			return a.External(Plan{Proposals: value(&message.Proposal{Type: tree.ProposalExternalInit, KEMOutput: suite.Random(32)})})
		}),
		kind("with two removes", func(a *Attack) []Shot {
			one := &message.Proposal{Type: tree.ProposalRemove, Remove: a.Self()}
			two := &message.Proposal{Type: tree.ProposalRemove, Remove: a.victim()}
			return a.External(Plan{Proposals: slices.Concat(value(one), value(two))})
		}),
		kind("with all that waits", func(a *Attack) []Shot { return a.External(Plan{Proposals: a.waiting()}) }),
		kind("in the place of the member itself", func(a *Attack) []Shot {
			return a.External(Plan{
				Proposals: value(&message.Proposal{Type: tree.ProposalRemove, Remove: a.Self()}), Signer: a.Signer,
				Leaf: func(l *tree.LeafNode) { l.Credential = a.Tree.Leaf(a.Self()).Credential },
			})
		}),
		kind("with the name of another member", func(a *Attack) []Shot {
			victim := a.victim()
			return a.External(Plan{
				Proposals: value(&message.Proposal{Type: tree.ProposalRemove, Remove: victim}),
				Leaf:      func(l *tree.LeafNode) { l.Credential = a.Tree.Leaf(victim).Credential },
			})
		}),
		kind("with another confirmation tag", func(a *Attack) []Shot {
			return a.External(Plan{Confirm: func(b []byte) []byte { b[0] ^= 1; return b }})
		}),
	}
	for _, f := range LeafFields() {
		list = append(list, kind("leaf, "+f.Name, func(a *Attack) []Shot {
			return a.External(Plan{Leaf: func(l *tree.LeafNode) { f.Spoil(a, l) }})
		}))
	}
	return list
}

// joinKinds are welcomes for an honest newcomer, into this group or one that only looks
// like it, and group infos.
func joinKinds() []Kind {
	type secrets = message.GroupSecrets
	welcome := func(name string, info func(*Attack, *message.GroupInfo), change func(*Attack, *secrets)) Kind {
		return Kind{"welcome", name, func(a *Attack) []Shot { return a.invite(info, change) }}
	}
	list := []Kind{
		welcome("as it should be", nil, nil),
		welcome("another joiner secret", nil, func(_ *Attack, s *secrets) { s.Joiner = suite.Random(32) }),
		welcome("no joiner secret", nil, func(_ *Attack, s *secrets) { s.Joiner = nil }),
		welcome("another path secret", nil, func(_ *Attack, s *secrets) { s.PathSecret = suite.Random(32) }),
		welcome("no path secret", nil, func(_ *Attack, s *secrets) { s.PathSecret = nil }),
		welcome("a psk that nobody has", nil, func(_ *Attack, s *secrets) {
			s.PSKs = []schedule.PSKID{{Type: schedule.PSKExternal, ID: []byte("nobody's"), Nonce: suite.Random(32)}}
		}),
		welcome("a branch that is none", nil, func(a *Attack, s *secrets) {
			s.PSKs = []schedule.PSKID{{Type: schedule.PSKResumption, Usage: schedule.UsageBranch, GroupID: a.Context.GroupID, Epoch: 1, Nonce: suite.Random(32)}}
		}),
		welcome("very many psks", nil, func(_ *Attack, s *secrets) {
			for range 1000 {
				s.PSKs = append(s.PSKs, schedule.PSKID{Type: schedule.PSKExternal, ID: []byte("x"), Nonce: []byte{1}})
			}
		}),
	}
	for _, f := range InfoFields() {
		list = append(list,
			welcome("group info: "+f.Name, f.Spoil, nil),
			Kind{"group info", f.Name, func(a *Attack) []Shot { return a.lure(f) }})
	}
	return list
}

// invite adds an honest newcomer by a commit that is as it should be and a welcome that
// is not.
func (a *Attack) invite(change func(*Attack, *message.GroupInfo), secrets func(*Attack, *message.GroupSecrets)) []Shot {
	kp := a.Newcomer()
	made := a.Commit(Plan{Proposals: value(&message.Proposal{Type: tree.ProposalAdd, Add: kp.Public})})
	if made == nil {
		return nil
	}
	info := made.GroupInfo(a.Suite)
	context := *info.Context
	info.Context = &context
	if change != nil {
		// The fields are spoiled as seen by a member of the new epoch.
		at := *a
		m := *a.Member
		m.Tree, m.Context = made.Tree, &context
		at.Member = &m
		change(&at, info)
	}
	var with func(*message.GroupSecrets)
	if secrets != nil {
		with = func(s *message.GroupSecrets) { secrets(a, s) }
	}
	w := made.Welcome(a.Suite, info, with)
	if w == nil {
		return nil
	}
	shots := []Shot{{Welcome: w, For: kp}}
	if a.Dice.IntN(2) == 0 {
		shots = append(shots, Shot{Message: made.Message, Commit: made})
	}
	return shots
}

// lure is a group info of the present epoch with one field spoiled.
func (a *Attack) lure(f Field[message.GroupInfo]) []Shot {
	context := *a.Context
	info := &message.GroupInfo{
		Context: &context, ConfirmationTag: a.Tag, Signer: a.Self(), Extensions: tree.Extensions{
			{Type: tree.ExtRatchetTree, Data: a.Tree.AppendTo(nil)},
			{Type: tree.ExtExternalPub, Data: codec.Bytes(nil, must2(a.Epoch.ExternalKey(a.Suite)))},
		},
	}
	f.Spoil(a, info)
	if info.Signature == nil {
		must(info.Sign(a.Signer, nil))
	}
	return []Shot{{GroupInfo: codec.Marshal(&message.Message{GroupInfo: info})}}
}
