package mls

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// Trap 1: a commit with exactly one Remove and no path is refused, as is one with a
// SelfRemove; a member being removed needs no capability; an Update of a member that is
// also removed is left out by the committer and refused by the others.
func TestTrapPaths(t *testing.T) {
	w := newWorld(t, worldOptions{})
	c := &message.Commit{Proposals: []message.ProposalOrRef{{Proposal: remove(2)}}}
	wantRule(t, w.refused(1, w.forge(0, &message.Content{Type: message.ContentCommit, Commit: c}, nil)), rule.PathRequired)

	mixed := newWorld(t, worldOptions{proposals: func(member int) []tree.ProposalType {
		if member == 3 {
			return nil // does not know SelfRemove
		}
		return []tree.ProposalType{tree.ProposalSelfRemove}
	}})
	self := mixed.forge(2, proposalContent(&message.Proposal{Type: tree.ProposalSelfRemove}), nil)
	for _, to := range []int{0, 1} {
		mixed.deliver(to, self)
	}
	p := must(mixed.members[0].Commit(CommitOptions{Remove: []tree.LeafIndex{3}}, worldTime))(t)
	mixed.deliver(1, p.Commit)

	next, update, err := w.members[2].ProposeUpdate(nil, worldTime)
	w.members[2] = must(next, err)(t)
	for _, to := range []int{0, 1, 3} {
		w.deliver(to, update)
	}
	removing := must(w.members[0].Commit(CommitOptions{Remove: []tree.LeafIndex{2}}, worldTime))(t)
	if n := len(must(message.Parse(removing.Commit))(t).Public.Content.Commit.Proposals); n != 1 {
		t.Errorf("the commit has %d proposals, want the Remove alone", n)
	}
	both := &message.Commit{Path: w.path(), Proposals: []message.ProposalOrRef{{Ref: w.members[1].pub.proposals[0].ref}, {Proposal: remove(2)}}}
	wantRule(t, w.refused(1, w.forge(0, &message.Content{Type: message.ContentCommit, Commit: both}, nil)), rule.ListSameLeaf)
}

// Trap 2: blanks, unmerged leaves and removals in any order leave trees that validate
// and that joiners accept.
func TestTrapTreeHashes(t *testing.T) {
	w := newWorld(t, worldOptions{})
	for round := range 6 {
		by := round % 2
		kp := must(identity(t, fmt.Sprint("n", round)).NewKeyPackage(worldTime, KeyPackageOptions{}))(t)
		opt := CommitOptions{Add: []*message.KeyPackage{kp.Public}, NoPath: round%3 != 0}
		if round >= 4 {
			opt.Remove = []tree.LeafIndex{tree.LeafIndex(round)}
		}
		p := must(w.members[by].Commit(opt, worldTime))(t)
		w.accept(by, p)
		joined := must(Join(w.cfg, []*KeyPackage{kp}, p.Welcome, JoinOptions{}, worldTime))(t)
		w.agree(w.members[0], w.members[1], joined)
		if err := joined.pub.tree.Validate(); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
}

// Trap 3: the ratchet is part of the saved state, and reading a message twice neither
// works nor harms the ratchet.
func TestTrapRatchetPersisted(t *testing.T) {
	w := newWorld(t, worldOptions{})
	var msgs [][]byte
	for i := range 4 {
		next, msg, err := w.members[0].Encrypt([]byte{byte(i)}, nil)
		w.members[0] = reloaded(t, w.cfg, must(next, err)(t))
		msgs = append(msgs, msg)
	}
	for _, i := range []int{2, 0, 3, 1} {
		w.deliver(1, msgs[i])
		w.members[1] = reloaded(t, w.cfg, w.members[1])
		wantRule(t, w.refused(1, msgs[i]), rule.FrameGenerationUsed)
	}
}

// Trap 4: a commit arrives while our own is pending; we are removed while ours is
// pending; our pending commit wins after a crash. In each case we go on.
func TestTrapPendingCommits(t *testing.T) {
	w := newWorld(t, worldOptions{cfg: Config{PrivateHandshake: true}})
	own := must(w.members[1].Commit(CommitOptions{}, worldTime))(t)
	other := must(w.members[0].Commit(CommitOptions{}, worldTime))(t)
	w.members[1] = own.Current
	w.accept(0, other)
	w.agree(w.members...)

	own = must(w.members[1].Commit(CommitOptions{}, worldTime))(t)
	crashed := reloaded(t, w.cfg, own.Current)
	if _, ev, err := crashed.Process(own.Commit, worldTime); err != nil {
		t.Fatal(err)
	} else if _, ok := ev.(*Echo); !ok {
		t.Errorf("own commit: got %T, want an echo", ev)
	}
	w.members[1] = own.Current
	w.accept(0, must(w.members[0].Commit(CommitOptions{Remove: []tree.LeafIndex{1}}, worldTime))(t))
	if w.members[1].Status() != Removed {
		t.Error("removed while a commit is pending, but not told")
	}
	_, _, err := w.members[1].Encrypt([]byte("x"), nil)
	wantRule(t, err, rule.GroupClosed)
}

// Trap 5: leaf indices beyond the tree are refused, not wrapped.
func TestTrapLeafIndexOverflow(t *testing.T) {
	w := newWorld(t, worldOptions{})
	for _, l := range []tree.LeafIndex{4, 0x7fffffff, 0x80000000, 0xffffffff} {
		wantRule(t, w.commit(remove(l)), rule.RemoveMember)
		c := proposalContent(remove(1))
		c.Sender = message.Member(l)
		wantRule(t, w.refused(1, w.forge(0, c, nil)), rule.FrameSender)
	}
}

// Trap 6: a tag that is cut short is wrong, and nothing secret shows in any print of a
// group.
func TestTrapTagsAndPrints(t *testing.T) {
	w := newWorld(t, worldOptions{})
	m := must(message.Parse(w.forge(0, proposalContent(w.updateProposal(0, nil)), nil)))(t)
	for _, n := range []int{0, 1, 31} {
		cut := *m.Public
		cut.MembershipTag = cut.MembershipTag[:n]
		wantRule(t, w.refused(1, codec.Marshal(&message.Message{Public: &cut})), rule.FrameMembershipTag)
	}
	g := w.members[0]
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", slog.Any("secret", g.epoch.Init), slog.Any("epoch", g.epoch))
	for _, print := range []string{
		fmt.Sprintf("%v %+v %x", g.epoch.Init, g.epoch, g.epoch.Init),
		fmt.Sprintf("%v %+v %x", g.id.Signer, *g.id, g.priv.Key(0)), log.String(),
	} {
		for _, secret := range []suite.Secret{g.epoch.Init, g.epoch.SenderData, g.id.Signer.Bytes(), g.priv.Key(0).Bytes()} {
			hexed := fmt.Sprintf("%x", []byte(secret))
			decimal := strings.Trim(fmt.Sprintf("%d", []byte(secret)), "[]")
			if strings.Contains(print, hexed) || strings.Contains(print, decimal) || bytes.Contains([]byte(print), secret) {
				t.Fatalf("a secret shows in %q", print)
			}
		}
	}
}

// Trap 7: the same secret gives different keys in labelled and unlabelled suites, and a
// key package of one is refused in a group of the other.
func TestTrapPostQuantumDrift(t *testing.T) {
	labelled := must(suite.Lookup(suite.Default))(t)
	legacy := must(suite.Lookup(suite.LegacyXWingChaChaSHA256))(t)
	secret := suite.Random(32)
	_, a, err := labelled.DeriveKeyPair(secret)
	must(a, err)(t)
	_, b, err := legacy.DeriveKeyPair(secret)
	must(b, err)(t)
	if bytes.Equal(a, b) {
		t.Error("both ways of deriving give the same key")
	}
	if !labelled.PostQuantum() || must(suite.Lookup(worldSuite))(t).PostQuantum() {
		t.Error("post-quantum suites are not told apart")
	}
	cfg := &Config{}
	g := must(Create(cfg, must(NewIdentity(suite.Default, []byte("a")))(t), nil, nil, worldTime))(t)
	kp := must(must(NewIdentity(suite.LegacyXWingChaChaSHA256, []byte("b")))(t).NewKeyPackage(worldTime, KeyPackageOptions{}))(t)
	_, err = g.Commit(CommitOptions{Add: []*message.KeyPackage{kp.Public}}, worldTime)
	wantRule(t, err, rule.KeyPackageSuite)
}

// Trap 8: leaf 0 can be removed and taken again; an external committer sits where it was
// put; its commit uses the present epoch's external key; a duplicate welcome is harmless.
func TestTrapLeafZero(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.accept(1, must(w.members[1].Commit(CommitOptions{Remove: []tree.LeafIndex{0}}, worldTime))(t))
	stale := must(w.members[1].GroupInfo(GroupInfoOptions{}))(t)
	p := must(ExternalJoin(w.cfg, identity(t, "e"), stale, ExternalOptions{}, worldTime))(t)
	if p.Next.Self() != 0 {
		t.Errorf("the joiner is at leaf %d, want 0", p.Next.Self())
	}
	for _, to := range []int{1, 2, 3} {
		w.deliver(to, p.Commit)
	}
	w.agree(p.Next, w.members[1], w.members[2], w.members[3])
	late := must(ExternalJoin(w.cfg, identity(t, "f"), stale, ExternalOptions{}, worldTime))(t)
	wantRule(t, w.refused(1, late.Commit), rule.FrameEpoch)
	a := must(Join(w.cfg, []*KeyPackage{w.lastKP}, w.welcome, JoinOptions{}, worldTime))(t)
	b := must(Join(w.cfg, []*KeyPackage{w.lastKP}, w.welcome, JoinOptions{}, worldTime))(t)
	w.agree(a, b)
}

// Trap 9: the most recent skipped keys are kept and older ones dropped.
func TestTrapRatchetLimits(t *testing.T) {
	w := newWorld(t, worldOptions{cfg: Config{Limits: schedule.Limits{OutOfOrder: 2, Forward: 10}}})
	var msgs [][]byte
	for i := range 12 {
		next, msg, err := w.members[0].Encrypt([]byte{byte(i)}, nil)
		w.members[0] = must(next, err)(t)
		msgs = append(msgs, msg)
	}
	wantRule(t, w.refused(1, msgs[11]), rule.FrameRatchetTooFar)
	w.deliver(1, msgs[10])
	wantRule(t, w.refused(1, msgs[7]), rule.FrameGenerationUsed)
	w.deliver(1, msgs[8])
	w.deliver(1, msgs[9])
	w.deliver(1, msgs[11])
}

// A message that is truncated anywhere or has any bit flipped is refused and changes
// nothing, in every kind of message.
func TestSpoiledMessagesAreRefused(t *testing.T) {
	for _, private := range []bool{false, true} {
		w := newWorld(t, worldOptions{cfg: Config{PrivateHandshake: private}})
		_, app, err := w.members[0].Encrypt([]byte("application"), []byte("aad"))
		must(app, err)(t)
		_, proposal, err := w.members[0].ProposeUpdate(nil, worldTime)
		must(proposal, err)(t)
		commit := must(w.members[0].Commit(CommitOptions{}, worldTime))(t).Commit
		for what, msg := range map[string][]byte{"application": app, "proposal": proposal, "commit": commit} {
			for i := range msg {
				spoiled := bytes.Clone(msg)
				spoiled[i] ^= 1 << (i % 8)
				if next, _, err := w.members[1].Process(spoiled, worldTime); err == nil || next != w.members[1] {
					t.Errorf("%s with byte %d changed is accepted", what, i)
				}
				if i%7 == 0 {
					if _, _, err := w.members[1].Process(msg[:i], worldTime); err == nil {
						t.Errorf("%s cut to %d bytes is accepted", what, i)
					}
				}
			}
			if _, _, err := w.members[1].Process(msg, worldTime); err != nil {
				t.Errorf("%s unspoiled, after the spoiled ones: %v", what, err)
			}
		}
	}
}

// A private message that does not decrypt says that and nothing more.
func TestDecryptionFailureSaysNothing(t *testing.T) {
	w := newWorld(t, worldOptions{})
	_, msg, err := w.members[0].Encrypt([]byte("x"), nil)
	must(msg, err)(t)
	for _, i := range []int{len(msg) - 1, len(msg) - 60} {
		spoiled := bytes.Clone(msg)
		spoiled[i] ^= 1
		if _, _, err := w.members[1].Process(spoiled, worldTime); !errors.Is(err, message.ErrDecrypt) || err.Error() != message.ErrDecrypt.Error() {
			t.Errorf("byte %d: got %v, want %v alone", i, err, message.ErrDecrypt)
		}
	}
}

// Messages of another group, and of a member after its removal, are refused.
func TestForeignMessagesAreRefused(t *testing.T) {
	w, other := newWorld(t, worldOptions{}), newWorld(t, worldOptions{})
	_, foreign, err := other.members[0].Encrypt([]byte("x"), nil) // same id, other secrets
	must(foreign, err)(t)
	if err := w.refused(1, foreign); !errors.Is(err, message.ErrDecrypt) {
		t.Errorf("got %v", err)
	}
	removed := w.members[2]
	w.accept(0, must(w.members[0].Commit(CommitOptions{Remove: []tree.LeafIndex{2}}, worldTime))(t))
	pretended := *removed
	context := *removed.pub.context
	context.Epoch = w.members[0].Epoch()
	public := *removed.pub
	public.context = &context
	pretended.pub = &public
	_, msg, err := pretended.Encrypt([]byte("still here"), nil)
	must(msg, err)(t)
	if w.refused(1, msg) == nil {
		t.Error("a removed member's message is accepted")
	}
	_, after, err := w.members[0].Encrypt([]byte("secret"), nil)
	must(after, err)(t)
	if _, _, err := w.members[2].Process(after, worldTime); err == nil {
		t.Error("a removed member reads a later epoch")
	}
}
