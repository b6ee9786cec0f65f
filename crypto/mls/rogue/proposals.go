package rogue

import (
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// Proposal is a proposal that a group should not take, or not from this member.
type Proposal struct {
	Name string
	Make func(a *Attack) *message.Proposal
}

// Proposals are all kinds of them, every field spoiled, and some that are as they
// should be.
func Proposals() []Proposal {
	var list []Proposal
	for _, part := range [][]Proposal{updates(), adds(), removes(), psks(), reInits(), contexts()} {
		list = append(list, part...)
	}
	return append(list,
		Proposal{"external init", func(*Attack) *message.Proposal {
			return &message.Proposal{Type: tree.ProposalExternalInit, KEMOutput: suite.Random(32)}
		}},
		Proposal{"self remove", func(*Attack) *message.Proposal { return &message.Proposal{Type: tree.ProposalSelfRemove} }},
	)
}

// Update is an Update of the member's leaf, changed before it is signed.
func (a *Attack) Update(change func(a *Attack, l *tree.LeafNode)) *message.Proposal {
	l := a.Leaf(a.fresh(), tree.SourceUpdate)
	change(a, l)
	if err := l.Sign(a.Signer, a.Context.GroupID, a.Self()); err != nil {
		panic(err)
	}
	return &message.Proposal{Type: tree.ProposalUpdate, Update: l}
}

func updates() []Proposal {
	same := func(change func(a *Attack, l *tree.LeafNode)) func(*Attack) *message.Proposal {
		return func(a *Attack) *message.Proposal { return a.Update(change) }
	}
	list := []Proposal{
		{"update as it should be", same(func(*Attack, *tree.LeafNode) {})},
		{"update with a signature that is none", func(a *Attack) *message.Proposal {
			p := a.Update(func(*Attack, *tree.LeafNode) {})
			p.Update.Signature = nil
			return p
		}},
		{"update with a new signature key", func(a *Attack) *message.Proposal {
			signer := must(a.Suite.GenerateSigner())
			l := a.Leaf(a.fresh(), tree.SourceUpdate)
			l.SignatureKey = signer.Public()
			if err := l.Sign(signer, a.Context.GroupID, a.Self()); err != nil {
				panic(err)
			}
			return &message.Proposal{Type: tree.ProposalUpdate, Update: l}
		}},
	}
	for _, f := range LeafFields() {
		list = append(list, Proposal{"update, " + f.Name, same(f.Spoil)})
	}
	return list
}

// Package is a key package of a stranger who works with the member, changed before it is
// signed.
func (a *Attack) Package(change func(a *Attack, k *message.KeyPackage)) *message.KeyPackage {
	signer, credential := a.partner()
	l := a.Leaf(a.fresh(), tree.SourceKeyPackage)
	l.SignatureKey, l.Credential, l.Lifetime = signer.Public(), credential, a.lifetime()
	k := &message.KeyPackage{Version: tree.MLS10, Suite: a.Suite.ID(), InitKey: a.fresh(), Leaf: l}
	change(a, k)
	if err := l.Sign(signer, nil, 0); err != nil {
		panic(err)
	}
	if err := k.Sign(signer); err != nil {
		panic(err)
	}
	return k
}

func adds() []Proposal {
	add := func(make func(a *Attack) *message.KeyPackage) func(*Attack) *message.Proposal {
		return func(a *Attack) *message.Proposal {
			return &message.Proposal{Type: tree.ProposalAdd, Add: make(a)}
		}
	}
	right := func(*Attack, *message.KeyPackage) {}
	list := []Proposal{
		{"add of a stranger", add(func(a *Attack) *message.KeyPackage { return a.Package(right) })},
		{"add with a signature that is none", add(func(a *Attack) *message.KeyPackage {
			k := a.Package(right)
			k.Signature = nil
			return k
		})},
		{"add with a leaf whose signature is none", add(func(a *Attack) *message.KeyPackage {
			k := a.Package(right)
			k.Leaf.Signature = nil
			return k
		})},
		{"add of an honest client that nobody asked for", add(func(a *Attack) *message.KeyPackage {
			return a.Newcomer().Public
		})},
		{"add of the member itself", add(func(a *Attack) *message.KeyPackage {
			l := a.Leaf(a.fresh(), tree.SourceKeyPackage)
			l.Lifetime = a.lifetime()
			k := &message.KeyPackage{Version: tree.MLS10, Suite: a.Suite.ID(), InitKey: a.fresh(), Leaf: l}
			if err := l.Sign(a.Signer, nil, 0); err != nil {
				panic(err)
			}
			if err := k.Sign(a.Signer); err != nil {
				panic(err)
			}
			return k
		})},
	}
	for _, f := range PackageFields() {
		list = append(list, Proposal{"add, " + f.Name, add(func(a *Attack) *message.KeyPackage { return a.Package(f.Spoil) })})
	}
	return list
}

func removes() []Proposal {
	remove := func(name string, who func(a *Attack) tree.LeafIndex) Proposal {
		return Proposal{"remove of " + name, func(a *Attack) *message.Proposal {
			return &message.Proposal{Type: tree.ProposalRemove, Remove: who(a)}
		}}
	}
	at := func(l tree.LeafIndex) func(*Attack) tree.LeafIndex { return func(*Attack) tree.LeafIndex { return l } }
	return []Proposal{
		remove("itself", (*Attack).Self), remove("another", (*Attack).victim),
		remove("nobody", func(a *Attack) tree.LeafIndex { return tree.LeafIndex(a.Tree.Size()) }),
		remove("leaf 2^31", at(1<<31)), remove("leaf 2^32-1", at(0xFFFFFFFF)),
	}
}

func psks() []Proposal {
	psk := func(name string, id func(a *Attack) schedule.PSKID) Proposal {
		return Proposal{"psk " + name, func(a *Attack) *message.Proposal {
			p := id(a)
			if p.Nonce == nil {
				p.Nonce = suite.Random(a.Suite.HashSize())
			}
			return &message.Proposal{Type: tree.ProposalPSK, PSK: p}
		}}
	}
	external := func(id string, nonce []byte) func(*Attack) schedule.PSKID {
		return func(*Attack) schedule.PSKID {
			return schedule.PSKID{Type: schedule.PSKExternal, ID: []byte(id), Nonce: nonce}
		}
	}
	resumption := func(usage schedule.PSKUsage, ago uint64) func(a *Attack) schedule.PSKID {
		return func(a *Attack) schedule.PSKID {
			return schedule.PSKID{Type: schedule.PSKResumption, Usage: usage, GroupID: a.Context.GroupID, Epoch: a.Context.Epoch - ago}
		}
	}
	return []Proposal{
		psk("that nobody has", external("nobody's", nil)),
		psk("that is huge", external(string(make([]byte, hugeSize)), nil)),
		psk("with no nonce", external("nobody's", []byte{})),
		psk("with a short nonce", external("nobody's", make([]byte, 31))),
		psk("with a long nonce", external("nobody's", make([]byte, 33))),
		psk("of this epoch", resumption(schedule.UsageApplication, 0)),
		psk("of the epoch before", resumption(schedule.UsageApplication, 1)),
		psk("of an epoch long ago", resumption(schedule.UsageApplication, 1000)),
		psk("for a branch", resumption(schedule.UsageBranch, 0)),
		psk("for a reinit", resumption(schedule.UsageReInit, 0)),
		psk("of another group", func(*Attack) schedule.PSKID {
			return schedule.PSKID{Type: schedule.PSKResumption, Usage: schedule.UsageApplication, GroupID: []byte("another")}
		}),
	}
}

func reInits() []Proposal {
	reInit := func(name string, change func(r *message.ReInit)) Proposal {
		return Proposal{"reinit " + name, func(a *Attack) *message.Proposal {
			r := &message.ReInit{GroupID: suite.Random(16), Version: tree.MLS10, Suite: a.Suite.ID(), Extensions: a.Context.Extensions}
			change(r)
			return &message.Proposal{Type: tree.ProposalReInit, ReInit: r}
		}}
	}
	return []Proposal{
		reInit("as it should be", func(*message.ReInit) {}),
		reInit("to no version", func(r *message.ReInit) { r.Version = 0 }),
		reInit("to an unknown version", func(r *message.ReInit) { r.Version = unknownVersion }),
		reInit("to an unknown suite", func(r *message.ReInit) { r.Suite = unknownSuite }),
		reInit("to another suite", func(r *message.ReInit) { r.Suite = otherSuite }),
		reInit("without a group id", func(r *message.ReInit) { r.GroupID = nil }),
		reInit("with extensions twice", func(r *message.ReInit) { r.Extensions = tree.Extensions{{Type: 5}, {Type: 5}} }),
		reInit("without extensions", func(r *message.ReInit) { r.Extensions = nil }),
	}
}

func contexts() []Proposal {
	list := []Proposal{{"extensions as they are", func(a *Attack) *message.Proposal {
		return &message.Proposal{Type: tree.ProposalGroupContextExtensions, Extensions: a.Context.Extensions}
	}}}
	for _, f := range ContextFields() {
		list = append(list, Proposal{"extensions, " + f.Name, func(a *Attack) *message.Proposal {
			p := &message.Proposal{Type: tree.ProposalGroupContextExtensions, Extensions: a.Context.Extensions}
			f.Spoil(a, &p.Extensions)
			return p
		}})
	}
	return list
}
