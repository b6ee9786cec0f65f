package mls

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// liar is the member that proposes in these tests; member 0 commits, 1 and 3 follow.
const liar = 2

// bad is a kind of proposal that no commit of member 0 can hold.
type bad struct {
	name     string
	proposal func(w *world) []*message.Proposal
	// Each proposal is refused on receipt, or stored and left out by member 0, with the
	// rule. 0 is for one that is good in itself: it is committed.
	refused, leftOut []rule.Rule
}

// parentKey is the encryption key of the node above leaves 0 and 1.
func (w *world) parentKey() suite.PublicKey { return w.members[0].pub.tree.PublicKey(1) }

func updateOf(mutate func(w *world, l *tree.LeafNode)) func(w *world) []*message.Proposal {
	return func(w *world) []*message.Proposal {
		return []*message.Proposal{w.updateProposal(liar, func(l *tree.LeafNode) { mutate(w, l) })}
	}
}

func addOf(name string, mutate func(w *world, kp *message.KeyPackage)) func(w *world) []*message.Proposal {
	return func(w *world) []*message.Proposal {
		kp := w.keyPackage(identity(w.t, name), func(kp *message.KeyPackage) {
			if mutate != nil {
				mutate(w, kp)
			}
		})
		return []*message.Proposal{{Type: tree.ProposalAdd, Add: kp}}
	}
}

func these(list ...*message.Proposal) func(*world) []*message.Proposal {
	return func(*world) []*message.Proposal { return list }
}

func resumptionPSK(usage schedule.PSKUsage, group string, epoch uint64) *message.Proposal {
	return &message.Proposal{Type: tree.ProposalPSK, PSK: schedule.PSKID{
		Type: schedule.PSKResumption, Usage: usage, GroupID: []byte(group), Epoch: epoch, Nonce: make([]byte, 32),
	}}
}

func reinit(version tree.Version, id suite.ID) *message.Proposal {
	return &message.Proposal{Type: tree.ProposalReInit, ReInit: &message.ReInit{GroupID: []byte("n"), Version: version, Suite: id}}
}

const (
	kept = rule.Rule(0) // in place of a rule: it is stored, or committed
)

// badUpdates break what RFC 9420 §7.3 and §12.1.2 ask of an Update.
func badUpdates() []bad {
	one := func(name string, r rule.Rule, mutate func(w *world, l *tree.LeafNode)) bad {
		return bad{name, updateOf(mutate), []rule.Rule{r}, nil}
	}
	return []bad{
		one("update without the group's extension", rule.LeafGroupExtensions, func(_ *world, l *tree.LeafNode) { l.Capabilities.Extensions = nil }),
		one("update without a required capability", rule.LeafRequired, func(_ *world, l *tree.LeafNode) { l.Capabilities.Proposals = nil }),
		one("update without the version", rule.LeafVersion, func(_ *world, l *tree.LeafNode) { l.Capabilities.Versions = []tree.Version{9} }),
		one("update without the suite", rule.LeafSuite, func(_ *world, l *tree.LeafNode) { l.Capabilities.Suites = []uint16{2} }),
		one("update with another's encryption key", rule.LeafEncryptionKeyUnique, func(w *world, l *tree.LeafNode) { l.EncryptionKey = w.members[0].pub.tree.Leaf(3).EncryptionKey }),
		one("update with the committer's encryption key", rule.LeafEncryptionKeyUnique, func(w *world, l *tree.LeafNode) { l.EncryptionKey = w.members[0].pub.tree.Leaf(0).EncryptionKey }),
		one("update with a parent's key", rule.LeafEncryptionKeyUnique, func(w *world, l *tree.LeafNode) { l.EncryptionKey = w.parentKey() }),
		one("update with its old encryption key", rule.LeafFreshKey, func(w *world, l *tree.LeafNode) { l.EncryptionKey = w.members[0].pub.tree.Leaf(liar).EncryptionKey }),
		one("update with a low-order encryption key", rule.LeafKeys, func(_ *world, l *tree.LeafNode) { l.EncryptionKey = make([]byte, 32) }),
		one("update that lists a default", rule.LeafDefaultsListed, func(_ *world, l *tree.LeafNode) { l.Capabilities.Proposals = append(l.Capabilities.Proposals, 1) }),
		one("update with an extension that it does not list", rule.LeafExtensionsListed, func(_ *world, l *tree.LeafNode) { l.Extensions = tree.Extensions{{Type: extUnknown}} }),
		one("update with an extension twice", rule.ExtensionsUnique, func(_ *world, l *tree.LeafNode) { l.Extensions = tree.Extensions{{Type: extKnown}, {Type: extKnown}} }),
		one("update of another identity", rule.LeafCredential, func(_ *world, l *tree.LeafNode) { l.Credential.Identity = []byte("somebody") }),
		one("update of a refused identity", rule.LeafCredential, func(_ *world, l *tree.LeafNode) { l.Credential.Identity = []byte(evilIdentity) }),
		one("update without its own credential type", rule.LeafCredentialListed, func(_ *world, l *tree.LeafNode) { l.Capabilities.Credentials = []tree.CredentialType{credAll} }),
		one("update with the source of a commit", rule.LeafSourceUpdate, func(_ *world, l *tree.LeafNode) { l.Source = tree.SourceCommit }),
		{"update with another's signature key", func(w *world) []*message.Proposal {
			other := w.members[3].id.Signer
			p := w.updateProposal(liar, nil)
			p.Update.SignatureKey = other.Public()
			if err := p.Update.Sign(other, w.members[liar].ID(), liar); err != nil {
				w.t.Fatal(err)
			}
			return []*message.Proposal{p}
		}, []rule.Rule{rule.LeafSignatureKeyUnique}, nil},
		{"two updates", func(w *world) []*message.Proposal {
			return []*message.Proposal{w.updateProposal(liar, nil), w.updateProposal(liar, nil)}
		}, nil, []rule.Rule{rule.ListSameLeaf, kept}},
		{"update and removal", func(w *world) []*message.Proposal {
			return []*message.Proposal{w.updateProposal(liar, nil), remove(liar)}
		}, nil, []rule.Rule{rule.ListSameLeaf, kept}},
	}
}

func badAdds() []bad {
	one := func(name string, r rule.Rule, mutate func(w *world, kp *message.KeyPackage)) bad {
		return bad{name, addOf("new", mutate), []rule.Rule{r}, nil}
	}
	late := func(name string, r rule.Rule, mutate func(w *world, kp *message.KeyPackage)) bad {
		return bad{name, addOf("new", mutate), nil, []rule.Rule{r}}
	}
	return []bad{
		late("add that has expired", rule.LeafLifetime, func(_ *world, kp *message.KeyPackage) { kp.Leaf.Lifetime = tree.Lifetime{NotBefore: 1, NotAfter: 2} }),
		late("add with an endless lifetime", rule.LeafLifetimeTotal, func(_ *world, kp *message.KeyPackage) { kp.Leaf.Lifetime = tree.Lifetime{NotAfter: ^uint64(0)} }),
		late("add of a credential type that a member does not support", rule.LeafCredentialSupported, func(_ *world, kp *message.KeyPackage) {
			kp.Leaf.Credential.Type = credNobody
			kp.Leaf.Capabilities.Credentials = []tree.CredentialType{1, credAll, credNobody}
		}),
		late("add that does not support a credential type in use", rule.LeafSupportsCredentials, func(_ *world, kp *message.KeyPackage) {
			kp.Leaf.Credential.Type = credAll
			kp.Leaf.Capabilities.Credentials = []tree.CredentialType{credAll}
		}),
		one("add without the group's extension", rule.LeafGroupExtensions, func(_ *world, kp *message.KeyPackage) { kp.Leaf.Capabilities.Extensions = nil }),
		one("add with a member's encryption key", rule.LeafEncryptionKeyUnique, func(w *world, kp *message.KeyPackage) {
			kp.Leaf.EncryptionKey = w.members[0].pub.tree.Leaf(3).EncryptionKey
		}),
		one("add with a parent's key", rule.LeafEncryptionKeyUnique, func(w *world, kp *message.KeyPackage) { kp.Leaf.EncryptionKey = w.parentKey() }),
		one("add with a parent's key as init key", rule.LeafEncryptionKeyUnique, func(w *world, kp *message.KeyPackage) { kp.InitKey = w.parentKey() }),
		{"add of a member", func(w *world) []*message.Proposal {
			return []*message.Proposal{{Type: tree.ProposalAdd, Add: w.keyPackage(w.members[3].id, nil)}}
		}, nil, []rule.Rule{rule.ListDuplicateAdd}},
		{"add of the same client twice", func(w *world) []*message.Proposal {
			id := identity(w.t, "twin")
			return []*message.Proposal{{Type: tree.ProposalAdd, Add: w.keyPackage(id, nil)}, {Type: tree.ProposalAdd, Add: w.keyPackage(id, nil)}}
		}, nil, []rule.Rule{rule.ListDuplicateAdd, kept}},
		{"adds with the same encryption key", func(w *world) []*message.Proposal {
			a := w.keyPackage(identity(w.t, "first"), nil)
			b := w.keyPackage(identity(w.t, "second"), func(kp *message.KeyPackage) { kp.Leaf.EncryptionKey = a.Leaf.EncryptionKey })
			return []*message.Proposal{{Type: tree.ProposalAdd, Add: a}, {Type: tree.ProposalAdd, Add: b}}
		}, nil, []rule.Rule{rule.LeafEncryptionKeyUnique, kept}},
		{"adds with the same init key", func(w *world) []*message.Proposal {
			a := w.keyPackage(identity(w.t, "first"), nil)
			b := w.keyPackage(identity(w.t, "second"), func(kp *message.KeyPackage) { kp.InitKey = a.InitKey })
			return []*message.Proposal{{Type: tree.ProposalAdd, Add: a}, {Type: tree.ProposalAdd, Add: b}}
		}, nil, []rule.Rule{rule.KeyPackageInitUnique, kept}},
		{"an add with the key of an update", func(w *world) []*message.Proposal {
			u := w.updateProposal(liar, nil)
			a := w.keyPackage(identity(w.t, "new"), func(kp *message.KeyPackage) { kp.Leaf.EncryptionKey = u.Update.EncryptionKey })
			return []*message.Proposal{{Type: tree.ProposalAdd, Add: a}, u}
		}, nil, []rule.Rule{rule.LeafEncryptionKeyUnique, kept}},
	}
}

func badOthers() []bad {
	refused := func(name string, r rule.Rule, p ...*message.Proposal) bad {
		return bad{name, these(p...), []rule.Rule{r}, nil}
	}
	left := func(name string, r rule.Rule, p ...*message.Proposal) bad {
		return bad{name, these(p...), nil, []rule.Rule{r}}
	}
	unsupported := required(tree.RequiredCapabilities{Extensions: []tree.ExtensionType{extUnknown}})
	nothing := required(tree.RequiredCapabilities{Proposals: []tree.ProposalType{0xF123}})
	nobody := required(tree.RequiredCapabilities{Credentials: []tree.CredentialType{credNobody}})
	return []bad{
		refused("remove of a blank leaf", rule.RemoveMember, remove(7)),
		left("remove of the committer", rule.ListOwnRemove, remove(0)),
		{"remove twice", func(w *world) []*message.Proposal {
			again := *remove(1) // the same content is the same proposal unless something else differs
			return []*message.Proposal{remove(1), &again}
		}, nil, []rule.Rule{kept}},
		left("psk that nobody knows", rule.PSKAvailable, psk("unknown", 32)),
		left("resumption psk of another group", rule.PSKAvailable, resumptionPSK(schedule.UsageApplication, "other", 1)),
		left("resumption psk of an epoch to come", rule.PSKAvailable, resumptionPSK(schedule.UsageApplication, "world", 999)),
		refused("psk with a short nonce", rule.PSKNonce, psk("known", 31)),
		refused("psk with a long nonce", rule.PSKNonce, psk("known", 33)),
		refused("psk for a reinit", rule.PSKUsage, resumptionPSK(schedule.UsageReInit, "world", 1)),
		refused("psk for a branch", rule.PSKUsage, resumptionPSK(schedule.UsageBranch, "world", 1)),
		{"psk twice", func(*world) []*message.Proposal {
			again := *psk("known", 32)
			again.PSK.Nonce = bytes.Repeat([]byte{7}, 32)
			return []*message.Proposal{psk("known", 32), &again}
		}, nil, []rule.Rule{rule.ListDuplicatePSK, kept}},
		left("extensions that nobody supports", rule.ContextExtensions, contextExtensions(tree.Extensions{{Type: extUnknown}})),
		left("extensions that require an unsupported extension", rule.ContextRequired, contextExtensions(unsupported)),
		left("extensions that require an unsupported proposal", rule.ContextRequired, contextExtensions(nothing)),
		left("extensions that require an unsupported credential", rule.ContextRequired, contextExtensions(nobody)),
		refused("extensions with a type twice", rule.ExtensionsUnique, contextExtensions(tree.Extensions{{Type: extKnown}, {Type: extKnown}})),
		refused("external senders that do not decode", rule.ContextExternalSenders, contextExtensions(tree.Extensions{{Type: tree.ExtExternalSenders, Data: []byte{9}}})),
		{"extensions twice", these(contextExtensions(tree.Extensions{{Type: extKnown, Data: []byte{1}}}), contextExtensions(tree.Extensions{{Type: extKnown, Data: []byte{2}}})), nil, []rule.Rule{rule.ListContextTwice, kept}},
		refused("reinit to a lower version", rule.ReInitVersion, reinit(0, worldSuite)),
		left("reinit to an unknown version", rule.ReInitVersion, reinit(2, worldSuite)),
		left("reinit to an unknown suite", rule.JoinReInit, reinit(1, 0xFFF7)),
		{"reinit among others", func(w *world) []*message.Proposal {
			return []*message.Proposal{reinit(1, worldSuite), w.updateProposal(liar, nil)}
		}, nil, []rule.Rule{rule.ListReInitAlone, kept}},
		refused("external init", rule.ListExternalInit, &message.Proposal{Type: tree.ProposalExternalInit, KEMOutput: make([]byte, 32)}),
	}
}

func storedWorld(t *testing.T) *world {
	t.Helper()
	known := func(id schedule.PSKID) (suite.Secret, bool) { return make(suite.Secret, 32), string(id.ID) == "known" }
	ext := append(required(tree.RequiredCapabilities{Proposals: []tree.ProposalType{tree.ProposalSelfRemove}}), tree.Extension{Type: extKnown})
	return newWorld(t, worldOptions{extensions: ext, cfg: Config{PSK: known}})
}

// live fails the test unless each of the honest can send to the others, someone can join
// them and one of them can come back from outside.
func (w *world) live(honest ...int) {
	w.t.Helper()
	for _, from := range honest {
		next, msg, err := w.members[from].Encrypt([]byte("on we go"), nil)
		if err != nil {
			w.t.Fatalf("member %d cannot send: %v", from, err)
		}
		w.members[from] = next
		for _, to := range honest {
			if to != from {
				w.deliver(to, msg)
			}
		}
	}
	at := w.members[honest[0]]
	kp := must(identity(w.t, "joiner").NewKeyPackage(worldTime, KeyPackageOptions{}))(w.t)
	p := must(at.Commit(CommitOptions{Add: []*message.KeyPackage{kp.Public}}, worldTime))(w.t)
	must(Join(w.cfg, []*KeyPackage{kp}, p.Welcome, JoinOptions{}, worldTime))(w.t)
	info := must(at.GroupInfo(GroupInfoOptions{}))(w.t)
	must(ExternalJoin(w.cfg, w.members[honest[1]].id, info, ExternalOptions{Resync: true}, worldTime))(w.t)
}

// brokenBy checks that err carries the rule.
func brokenBy(err error, want rule.Rule) error {
	if got, ok := rule.Of(err); !ok || got != want {
		return fmt.Errorf("want rule %s: %w", want, errors.Join(errors.New("got"), err))
	}
	return nil
}

// Whatever a member proposes, what can't be committed is refused on receipt or left out
// by an honest committer, who learns who sent it; and the others go on after one commit,
// with a tree that can be joined.
func TestBadProposalsNeverStopACommit(t *testing.T) {
	for _, b := range append(append(badUpdates(), badAdds()...), badOthers()...) {
		t.Run(b.name, func(t *testing.T) { b.run(t) })
	}
}

func (b bad) run(t *testing.T) {
	w := storedWorld(t)
	var refs [][]byte
	for i, p := range b.proposal(w) {
		msg := w.forge(liar, proposalContent(p), nil)
		for _, to := range []int{0, 1, 3} {
			if i < len(b.refused) {
				if err := brokenBy(w.refused(to, msg), b.refused[i]); err != nil {
					t.Fatalf("proposal %d on receipt: %v", i, err)
				}
				continue
			}
			w.deliver(to, msg)
		}
		if i >= len(b.refused) && len(w.members[0].pub.proposals) > len(refs) {
			refs = append(refs, w.members[0].pub.proposals[len(refs)].ref)
		}
	}
	p := must(w.members[0].Commit(CommitOptions{}, worldTime))(t)
	b.checkLeftOut(t, w, p, refs)
	followers := []int{1, 3}
	for _, to := range followers {
		w.deliver(to, p.Commit)
	}
	w.members[0] = p.Next
	if b.name == "remove twice" { // member 1 is out
		followers = []int{3}
	}
	if p.Next.Status() == Active {
		w.live(append([]int{0}, followers...)...)
	}
}

func (b bad) checkLeftOut(t *testing.T, w *world, p *Pending, refs [][]byte) {
	t.Helper()
	left := p.LeftOut
	for i, want := range b.leftOut {
		if want == kept {
			continue
		}
		if len(left) == 0 || !bytes.Equal(left[0].Ref, refs[i]) {
			t.Fatalf("proposal %d is not named as left out: %+v", i, left)
		}
		if err := brokenBy(left[0].Reason, want); err != nil {
			t.Errorf("proposal %d left out: %v", i, err)
		}
		if l, _ := left[0].Sender.Leaf(); l != liar || !left[0].Credential.Equal(w.members[liar].id.Credential) {
			t.Errorf("left out: sender %+v, want member %d", left[0].Author, liar)
		}
		left = left[1:]
	}
	if len(left) != 0 {
		t.Errorf("left out too: %+v", left)
	}
	_, ev, err := w.members[1].Process(p.Commit, worldTime)
	must(ev, err)(t)
	if n := len(ev.(*EpochStarted).LeftOut); n != len(p.LeftOut) {
		t.Errorf("who follows hears of %d proposals that are void, want %d", n, len(p.LeftOut))
	}
}

// A proposal that can't be committed blocks sending until the next commit of anybody, of
// any kind, and no longer; also from a state that an older version saved, which took the
// proposal unchecked.
func TestUncheckedStoredProposalIsLeftOut(t *testing.T) {
	list := badUpdates()[:9]
	for _, b := range badUpdates() {
		if b.name == "update with another's signature key" {
			list = append(list, b)
		}
	}
	for _, b := range list {
		t.Run(b.name, func(t *testing.T) {
			w := storedWorld(t)
			for _, m := range []int{0, 1, 3} {
				for _, p := range b.proposal(w) {
					g := *w.members[m]
					c := proposalContent(p)
					c.GroupID, c.Epoch, c.Sender = g.ID(), g.Epoch(), message.Member(liar)
					auth := must(message.Sign(w.members[liar].id.Signer, message.WirePublic, c, g.pub.context))(t)
					pub := *g.pub
					pub.proposals = append(pub.proposals, stored{ref: []byte{byte(len(pub.proposals))}, msg: auth})
					g.pub = &pub
					w.members[m] = reloaded(t, w.cfg, &g)
				}
			}
			_, _, err := w.members[1].Encrypt([]byte("x"), nil)
			wantRule(t, err, rule.SendPending)
			p := must(w.members[1].Commit(CommitOptions{Remove: []tree.LeafIndex{liar}}, worldTime))(t)
			q := must(w.members[1].Commit(CommitOptions{}, worldTime))(t)
			if len(q.LeftOut) != 1 {
				t.Errorf("left out %+v, want the Update", q.LeftOut)
			}
			for _, pending := range []*Pending{p, q} {
				for _, to := range []int{0, 3} {
					_, _, err := w.members[to].Process(pending.Commit, worldTime)
					if err != nil {
						t.Fatal(err)
					}
				}
			}
			must(q.Next, nil)(t)
			_, _, err = q.Next.Encrypt([]byte("x"), nil)
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// What the application does not allow is left out, with what it said.
func TestKeepDecides(t *testing.T) {
	w := storedWorld(t)
	w.deliver(0, w.forge(liar, proposalContent(remove(3)), nil))
	w.deliver(0, w.forge(3, proposalContent(w.updateProposal(3, nil)), nil))
	refusal := errors.New("only an admin removes")
	p := must(w.members[0].Commit(CommitOptions{Keep: func(p *ProposalStored) error {
		if p.Proposal.Type == tree.ProposalRemove {
			return refusal
		}
		return nil
	}}, worldTime))(t)
	if len(p.LeftOut) != 1 || !errors.Is(p.LeftOut[0].Reason, refusal) {
		t.Errorf("left out %+v, want the Remove", p.LeftOut)
	}
	if n := len(must(message.Parse(p.Commit))(t).Public.Content.Commit.Proposals); n != 1 {
		t.Errorf("%d proposals are committed, want the Update alone", n)
	}
}

// What belongs together is committed together: an Add of a member beside the Remove that
// makes room, extensions that only a member who leaves does not know, an Update with
// the capability that new extensions ask for.
func TestGoodCombinationsAreCommitted(t *testing.T) {
	for name, build := range map[string]func(w *world) []*message.Proposal{
		"back again": func(w *world) []*message.Proposal {
			return []*message.Proposal{{Type: tree.ProposalAdd, Add: w.keyPackage(w.members[3].id, nil)}, remove(3)}
		},
		"extensions and the update that allows them": func(w *world) []*message.Proposal {
			return []*message.Proposal{contextExtensions(tree.Extensions{{Type: 0xF002}}), w.updateProposal(liar, func(l *tree.LeafNode) {
				l.Capabilities.Extensions = append(l.Capabilities.Extensions, 0xF002)
			})}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, worldOptions{identity: func(i int, id *Identity) {
				if i != liar {
					id.Extensions = append(id.Extensions, 0xF002)
				}
			}})
			for _, p := range build(w) {
				msg := w.forge(liar, proposalContent(p), nil)
				for _, to := range []int{0, 1} {
					w.deliver(to, msg)
				}
			}
			p := must(w.members[0].Commit(CommitOptions{}, worldTime))(t)
			if len(p.LeftOut) != 0 {
				t.Errorf("left out: %v", p.LeftOut[0].Reason)
			}
			w.deliver(1, p.Commit)
		})
	}
}

// An Update and an Add that do not go with the extensions that are committed are left
// out, though they go with the present ones.
func TestChosenExtensionsDecide(t *testing.T) {
	w := newWorld(t, worldOptions{})
	for _, p := range []*message.Proposal{
		contextExtensions(tree.Extensions{{Type: extKnown}}),
		w.updateProposal(liar, func(l *tree.LeafNode) { l.Capabilities.Extensions = nil }),
		{Type: tree.ProposalAdd, Add: w.keyPackage(identity(t, "new"), func(kp *message.KeyPackage) { kp.Leaf.Capabilities.Extensions = nil })},
	} {
		for _, to := range []int{0, 1} {
			w.deliver(to, w.forge(liar, proposalContent(p), nil))
		}
	}
	p := must(w.members[0].Commit(CommitOptions{}, worldTime))(t)
	if len(p.LeftOut) != 2 {
		t.Fatalf("%d left out, want the Update and the Add", len(p.LeftOut))
	}
	for _, l := range p.LeftOut {
		wantRule(t, l.Reason, rule.LeafGroupExtensions)
	}
	w.deliver(1, p.Commit)
}

// Our own Update can't be committed by us: it is left out, and by others it is committed.
func TestOwnUpdateIsLeftOut(t *testing.T) {
	w := newWorld(t, worldOptions{})
	next, msg, err := w.members[0].ProposeUpdate(nil, worldTime)
	w.members[0] = must(next, err)(t)
	w.deliver(1, msg)
	p := must(w.members[0].Commit(CommitOptions{}, worldTime))(t)
	if len(p.LeftOut) != 1 {
		t.Fatalf("left out %+v, want our Update", p.LeftOut)
	}
	wantRule(t, p.LeftOut[0].Reason, rule.ListOwnUpdate)
	w.deliver(1, p.Commit)
	if q := must(w.members[1].Commit(CommitOptions{NoPath: true}, worldTime))(t); len(q.LeftOut) != 0 {
		t.Errorf("left out %v", q.LeftOut[0].Reason)
	}
}

// A SelfRemove that a member who stays does not know gives way to a Remove of the same
// leaf, which had given way to it.
func TestSelfRemoveThatNotAllKnow(t *testing.T) {
	w := newWorld(t, worldOptions{proposals: func(member int) []tree.ProposalType {
		if member == 3 {
			return nil
		}
		return []tree.ProposalType{tree.ProposalSelfRemove}
	}})
	for _, p := range []*message.Proposal{remove(liar), {Type: tree.ProposalSelfRemove}} {
		for _, to := range []int{0, 1, 3} {
			w.deliver(to, w.forge(liar, proposalContent(p), nil))
		}
	}
	p := must(w.members[0].Commit(CommitOptions{}, worldTime))(t)
	if len(p.LeftOut) != 1 || brokenBy(p.LeftOut[0].Reason, rule.ListUnsupported) != nil {
		t.Errorf("left out %+v, want the SelfRemove", p.LeftOut)
	}
	for _, to := range []int{1, 3} {
		w.deliver(to, p.Commit)
	}
	if p.Next.pub.tree.Leaf(liar) != nil {
		t.Error("the member that was to be removed is still in")
	}
}

// External senders and would-be members can't stop a commit either.
func TestBadOutsideProposalsNeverStopACommit(t *testing.T) {
	w := storedWorld(t)
	g := w.members[0]
	old := must(identity(t, "old").NewKeyPackage(worldTime.Add(-365*24*time.Hour), KeyPackageOptions{}))(t)
	for _, msg := range [][]byte{
		must(ProposeJoin(old, g.ID(), g.Epoch()))(t),
		must(ExternalProposal(w.external, 0, g.ID(), g.Epoch(), psk("unknown", 32)))(t),
		must(ExternalProposal(w.external, 0, g.ID(), g.Epoch(), contextExtensions(tree.Extensions{{Type: extUnknown}})))(t),
		must(ExternalProposal(w.external, 0, g.ID(), g.Epoch(), remove(0)))(t),
		must(ExternalProposal(w.external, 0, g.ID(), g.Epoch(), reinit(1, 0xFFF7)))(t),
	} {
		for _, to := range []int{0, 1, 2, 3} {
			w.deliver(to, msg)
		}
	}
	p := must(w.members[0].Commit(CommitOptions{}, worldTime))(t)
	if len(p.LeftOut) != 5 {
		t.Errorf("%d left out, want all five", len(p.LeftOut))
	}
	if string(p.LeftOut[1].Credential.Identity) != "server" {
		t.Errorf("the second is said to come from %q", p.LeftOut[1].Credential.Identity)
	}
	w.accept(0, p)
	w.live(0, 1, 2, 3)
}
