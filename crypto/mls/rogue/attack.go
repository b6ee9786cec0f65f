package rogue

import (
	"bytes"
	"slices"
	"time"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls"
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// Attack is a member in one epoch with what it needs to choose and make something wrong.
type Attack struct {
	*Member
	Dice Dice
	Now  time.Time
	// Newcomer is a fresh key package of an honest client outside the group.
	Newcomer func() *mls.KeyPackage
	// Partner is somebody outside who works with the member; nil: a new one each time,
	// with a basic credential.
	Partner *mls.Identity
	// Heard are messages of the group from any time.
	Heard [][]byte
}

// partner is who works with the member.
func (a *Attack) partner() (*suite.Signer, tree.Credential) {
	if a.Partner != nil {
		return a.Partner.Signer, a.Partner.Credential
	}
	return must(a.Suite.GenerateSigner()), tree.BasicCredential([]byte("a stranger"))
}

// Shot is one thing that the member sends. One of the first three is set.
type Shot struct {
	Message   []byte // to the members
	Commit    *Made  // what the message commits, if it is a commit that the member made
	Welcome   []byte // to the newcomer whose package is For
	GroupInfo []byte // to a client that wants to come in by it
	For       *mls.KeyPackage
	// Only says which members get the message, where it is not all: a server that works
	// with the member can do that.
	Only func(tree.LeafIndex) bool
}

// Kind is a kind of attack.
type Kind struct {
	Family, Name string
	Make         func(a *Attack) []Shot
}

// Kinds are all of them, by family in a fixed order.
func Kinds() []Kind {
	return slices.Concat(proposalKinds(), frameKinds(), listKinds(), pathKinds(), externalKinds(), joinKinds(), byteKinds())
}

func send(msgs ...[]byte) (shots []Shot) {
	for _, m := range msgs {
		shots = append(shots, Shot{Message: m})
	}
	return shots
}

func value(p *message.Proposal) []message.ProposalOrRef {
	return []message.ProposalOrRef{{Proposal: p}}
}

// commit sends the commit of a plan, if there can be one.
func (a *Attack) commit(plan Plan) []Shot {
	if made := a.Commit(plan); made != nil {
		return []Shot{{Message: made.Message, Commit: made}}
	}
	return nil
}

// proposalKinds send every proposal alone, in public and private, by value and by
// reference.
func proposalKinds() (list []Kind) {
	private := Frame{Wire: message.WirePrivate}
	for _, p := range Proposals() {
		list = append(list,
			Kind{"proposal", p.Name, func(a *Attack) []Shot { return send(a.Propose(p.Make(a), Frame{})) }},
			Kind{"private proposal", p.Name, func(a *Attack) []Shot { return send(a.Propose(p.Make(a), private)) }},
			Kind{"commit by value", p.Name, func(a *Attack) []Shot { return a.commit(Plan{Proposals: value(p.Make(a))}) }},
			Kind{"commit without path", p.Name, func(a *Attack) []Shot {
				return a.commit(Plan{Proposals: value(p.Make(a)), NoPath: true})
			}},
			Kind{"commit by reference", p.Name, func(a *Attack) []Shot {
				first := a.Propose(p.Make(a), Frame{})
				ref := a.Ref(a.Proposed[len(a.Proposed)-1])
				return append(send(first), a.commit(Plan{Proposals: []message.ProposalOrRef{ref}})...)
			}},
			Kind{"external commit", p.Name, func(a *Attack) []Shot { return a.External(Plan{Proposals: value(p.Make(a))}) }},
		)
	}
	return list
}

// frameKinds frame a right content wrongly.
func frameKinds() (list []Kind) {
	other := func(a *Attack) *message.Sender { s := message.Member(a.victim()); return &s }
	kind := func(t message.SenderType, index uint32) *message.Sender {
		return &message.Sender{Type: t, Index: index}
	}
	number := func(n uint64) *uint64 { return &n }
	leaf := func(l tree.LeafIndex) *tree.LeafIndex { return &l }
	frames := []struct {
		name string
		make func(a *Attack) Frame
	}{
		{"as it should be", func(*Attack) Frame { return Frame{} }},
		{"private", func(*Attack) Frame { return Frame{Wire: message.WirePrivate} }},
		{"as another member", func(a *Attack) Frame { return Frame{Sender: other(a)} }},
		{"as another member, private", func(a *Attack) Frame {
			return Frame{Wire: message.WirePrivate, SenderLeaf: leaf(a.victim())}
		}},
		{"as nobody", func(*Attack) Frame { return Frame{Sender: kind(message.SenderMember, 0xFFFFFFFF)} }},
		{"as nobody, private", func(*Attack) Frame { return Frame{Wire: message.WirePrivate, SenderLeaf: leaf(0xFFFFFFFF)} }},
		{"as an external sender", func(*Attack) Frame { return Frame{Sender: kind(message.SenderExternal, 0)} }},
		{"as external sender 2^32-1", func(*Attack) Frame { return Frame{Sender: kind(message.SenderExternal, 0xFFFFFFFF)} }},
		{"as a new member who proposes", func(*Attack) Frame { return Frame{Sender: kind(message.SenderNewMemberProposal, 0)} }},
		{"as a new member who commits", func(*Attack) Frame { return Frame{Sender: kind(message.SenderNewMemberCommit, 0)} }},
		{"of another group", func(*Attack) Frame { return Frame{GroupID: []byte("another")} }},
		{"of the epoch before", func(a *Attack) Frame { return Frame{Epoch: number(a.Context.Epoch - 1)} }},
		{"of the epoch after", func(a *Attack) Frame { return Frame{Epoch: number(a.Context.Epoch + 1)} }},
		{"of the last epoch", func(*Attack) Frame { return Frame{Epoch: number(^uint64(0))} }},
		{"with huge authenticated data", func(*Attack) Frame { return Frame{AAD: make([]byte, hugeSize)} }},
		{"signed by another key", func(a *Attack) Frame { return Frame{Signer: must(a.Suite.GenerateSigner())} }},
		{"without a signature", func(*Attack) Frame { return Frame{Signature: func([]byte) []byte { return nil }} }},
		{"without a tag", func(*Attack) Frame { return Frame{Tag: func([]byte) []byte { return nil }} }},
		{"with a tag cut off", func(*Attack) Frame { return Frame{Tag: func(b []byte) []byte { return b[:1] }} }},
		{"with padding that is not zero", func(*Attack) Frame { return Frame{Wire: message.WirePrivate, Padding: []byte{0, 1}} }},
		{"with much padding", func(*Attack) Frame { return Frame{Wire: message.WirePrivate, Padding: make([]byte, hugeSize)} }},
		{"some generations later", func(*Attack) Frame { return Frame{Wire: message.WirePrivate, Skip: 3} }},
		{"many generations later", func(*Attack) Frame { return Frame{Wire: message.WirePrivate, Skip: 1001} }},
	}
	contents := []struct {
		name string
		make func(a *Attack) *message.Content
	}{
		{"application data", func(*Attack) *message.Content {
			return &message.Content{Type: message.ContentApplication, Application: []byte("from a rogue")}
		}},
		{"a proposal", func(a *Attack) *message.Content {
			return &message.Content{Type: message.ContentProposal, Proposal: a.Update(func(*Attack, *tree.LeafNode) {})}
		}},
	}
	for _, f := range frames {
		for _, c := range contents {
			list = append(list, Kind{"frame of " + c.name, f.name, func(a *Attack) []Shot {
				msg, _ := a.Frame(c.make(a), f.make(a))
				return send(msg)
			}})
		}
		list = append(list, Kind{"frame of a commit", f.name, func(a *Attack) []Shot { return a.commit(Plan{Frame: f.make(a)}) }})
	}
	return list
}

// listKinds are commits whose lists are wrong as lists.
func listKinds() []Kind {
	right := func(*Attack, *tree.LeafNode) {}
	stranger := func(a *Attack) *message.Proposal {
		return &message.Proposal{Type: tree.ProposalAdd, Add: a.Package(func(*Attack, *message.KeyPackage) {})}
	}
	list := func(name string, make func(a *Attack) []message.ProposalOrRef) Kind {
		return Kind{"list", name, func(a *Attack) []Shot { return a.commit(Plan{Proposals: make(a)}) }}
	}
	return []Kind{
		list("empty", func(*Attack) []message.ProposalOrRef { return nil }),
		list("unknown reference", func(*Attack) []message.ProposalOrRef {
			return []message.ProposalOrRef{{Ref: suite.Random(32)}}
		}),
		list("empty reference", func(*Attack) []message.ProposalOrRef { return []message.ProposalOrRef{{Ref: []byte{}}} }),
		list("own update", func(a *Attack) []message.ProposalOrRef { return value(a.Update(right)) }),
		list("an add twice", func(a *Attack) []message.ProposalOrRef { p := stranger(a); return slices.Concat(value(p), value(p)) }),
		list("two adds", func(a *Attack) []message.ProposalOrRef { return slices.Concat(value(stranger(a)), value(stranger(a))) }),
		list("two adds with one init key", func(a *Attack) []message.ProposalOrRef {
			one := a.Package(func(*Attack, *message.KeyPackage) {})
			two := a.Package(func(_ *Attack, k *message.KeyPackage) { k.InitKey = one.InitKey })
			return slices.Concat(value(&message.Proposal{Type: tree.ProposalAdd, Add: one}), value(&message.Proposal{Type: tree.ProposalAdd, Add: two}))
		}),
		list("two adds with one encryption key", func(a *Attack) []message.ProposalOrRef {
			one := a.Package(func(*Attack, *message.KeyPackage) {})
			two := a.Package(func(_ *Attack, k *message.KeyPackage) { k.Leaf.EncryptionKey = one.Leaf.EncryptionKey })
			return slices.Concat(value(&message.Proposal{Type: tree.ProposalAdd, Add: one}), value(&message.Proposal{Type: tree.ProposalAdd, Add: two}))
		}),
		list("all that waits", (*Attack).waiting),
		list("all that waits, twice", func(a *Attack) []message.ProposalOrRef { return slices.Concat(a.waiting(), a.waiting()) }),
		list("any two proposals", func(a *Attack) []message.ProposalOrRef {
			all := Proposals()
			return slices.Concat(value(pick(a.Dice, all).Make(a)), value(pick(a.Dice, all).Make(a)))
		}),
		{"proposal", "many at once", func(a *Attack) (shots []Shot) {
			for range 20 {
				shots = append(shots, Shot{Message: a.Propose(pick(a.Dice, Proposals()).Make(a), Frame{})})
			}
			return shots
		}},
	}
}

// waiting are references to all proposals of the epoch.
func (a *Attack) waiting() (refs []message.ProposalOrRef) {
	for _, p := range a.Proposed {
		refs = append(refs, a.Ref(p))
	}
	return refs
}

// byteKinds are messages that were right until some bytes changed.
func byteKinds() []Kind {
	any := func(a *Attack) []byte {
		if len(a.Heard) > 0 && a.Dice.IntN(2) == 0 {
			return slices.Clone(pick(a.Dice, a.Heard))
		}
		msg, _ := a.Frame(&message.Content{Type: message.ContentApplication, Application: []byte("x")}, Frame{Wire: message.WirePrivate})
		return msg
	}
	return []Kind{
		{"bytes", "heard before", func(a *Attack) []Shot { return send(any(a)) }},
		{"bytes", "cut off", func(a *Attack) []Shot { msg := any(a); return send(msg[:a.Dice.IntN(len(msg))]) }},
		{"bytes", "longer", func(a *Attack) []Shot { return send(append(any(a), 0)) }},
		{"bytes", "one changed", func(a *Attack) []Shot {
			msg := any(a)
			msg[a.Dice.IntN(len(msg))] ^= byte(1 + a.Dice.IntN(255))
			return send(msg)
		}},
		{"bytes", "noise", func(a *Attack) []Shot { return send(suite.Random(1 + a.Dice.IntN(300))) }},
		{"bytes", "nothing", func(*Attack) []Shot { return send([]byte{}) }},
		{"bytes", "a huge length", func(*Attack) []Shot {
			return send([]byte{0, 1, 0, 1, 0xBF, 0xFF, 0xFF, 0xFF})
		}},
		{"bytes", "a key package to the members", func(a *Attack) []Shot {
			return send(codec.Marshal(&message.Message{KeyPackage: a.Package(func(*Attack, *message.KeyPackage) {})}))
		}},
		{"bytes", "a commit of ours, sent twice", func(a *Attack) []Shot {
			made := a.Commit(Plan{})
			return send(made.Message, bytes.Clone(made.Message))
		}},
	}
}
