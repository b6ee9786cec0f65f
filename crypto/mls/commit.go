package mls

import (
	"fmt"
	"slices"
	"time"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// CommitOptions say what a commit does beyond the stored proposals.
type CommitOptions struct {
	Add        []*message.KeyPackage
	Remove     []tree.LeafIndex
	PSKs       []schedule.PSKID // nonces are made here
	Extensions *tree.Extensions // replace the group context extensions
	ReInit     *message.ReInit
	NoStored   bool   // leave the stored proposals out; Pending.LeftOut does not name them
	NoPath     bool   // omit the path where the proposals allow it
	NoTree     bool   // send the welcome without the ratchet tree
	AAD        []byte // authenticated data of the commit
	// InfoExtensions go into the group info of the welcome, for those who are added.
	InfoExtensions tree.Extensions
	// Keep says which stored proposals the application allows (RFC 9420 §12.2): one for
	// which it returns an error is left out. Nil allows all.
	Keep func(*ProposalStored) error
	// Identity replaces ours from the new epoch on, where set; a path is needed.
	Identity *Identity
}

// Pending is a commit that is built but not accepted yet.
type Pending struct {
	// Next is our state if the commit is accepted. What is read and sent with Current
	// meanwhile uses up keys that Next has as keys of a past epoch: continue with
	// Next.ContinuePast(present), and keep Next.ForgetPast() until then.
	Next *Group
	// Current is our state in the present epoch, with the key that the commit used
	// deleted: continue from it if another commit wins.
	Current *Group
	// Commit is the MLSMessage for the members, Welcome the one for those added (nil if
	// there are none), to be delivered only when the commit was accepted.
	Commit, Welcome []byte
	// LeftOut are the stored proposals that the commit does not contain because they are
	// invalid or gave way to another, in order of arrival. They are void in Next.
	LeftOut []LeftOut
}

// Commit builds a commit of the stored proposals and those in opt (RFC 9420 §12.4.1).
// It changes nothing: adopt Next when the commit is accepted.
func (g *Group) Commit(opt CommitOptions, now time.Time) (*Pending, error) {
	return g.commit(opt, nil, g.psk, now)
}

// commit builds a commit. founding, where set, is the reinit or branch PSK of a new
// group's first commit.
func (g *Group) commit(opt CommitOptions, founding *schedule.PSKID, psk lookupKey, now time.Time) (*Pending, error) {
	if err := g.checkActive(); err != nil {
		return nil, err
	}
	list := g.ownProposals(opt)
	if founding != nil {
		list = append(list, resolved{Proposal: &message.Proposal{Type: tree.ProposalPSK, PSK: *founding}})
	}
	for i := range list {
		list[i].sender = message.Member(g.priv.Self)
	}
	for _, kp := range opt.Add { // the committer judges lifetimes, nobody after it (RFC 9420 §7.3)
		if err := g.cfg.checkLifetime(kp.Leaf.Lifetime, now); err != nil {
			return nil, fmt.Errorf("commit: %w", err)
		}
	}
	var left []LeftOut
	if !opt.NoStored {
		var chosen []resolved
		chosen, left = g.choose(list, &opt, psk, now)
		list = append(chosen, list...)
	}
	c, err := g.pub.change(g.cfg, list, message.Member(g.priv.Self), founding != nil, now)
	if err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	b := &builder{g: g, change: c, opt: opt, id: g.id, wire: g.cfg.wire()}
	if opt.Identity != nil {
		b.id = opt.Identity
	}
	if err := b.build(psk, g.epoch.Init, !opt.NoPath || c.pathRequired || opt.Identity != nil); err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	pending, err := b.pending()
	if err != nil {
		return nil, err
	}
	pending.LeftOut = left
	return pending, nil
}

// CheckAdd reports what keeps a client from being added in the present epoch, or nil: for
// an application that adds several and wants to know which of them cannot be.
func (g *Group) CheckAdd(kp *message.KeyPackage, now time.Time) error {
	if err := g.checkActive(); err != nil {
		return err
	}
	if err := g.cfg.checkLifetime(kp.Leaf.Lifetime, now); err != nil {
		return err
	}
	by := message.Member(g.priv.Self)
	list := []resolved{{Proposal: &message.Proposal{Type: tree.ProposalAdd, Add: kp}, sender: by}}
	_, err := g.pub.change(g.cfg, list, by, false, now)
	return err
}

// ownProposals are the proposals by value.
func (g *Group) ownProposals(opt CommitOptions) []resolved {
	var out []resolved
	add := func(p *message.Proposal) { out = append(out, resolved{Proposal: p}) }
	for _, l := range opt.Remove {
		add(&message.Proposal{Type: tree.ProposalRemove, Remove: l})
	}
	for _, kp := range opt.Add {
		add(&message.Proposal{Type: tree.ProposalAdd, Add: kp})
	}
	for _, id := range opt.PSKs {
		id.Nonce = suite.Random(g.pub.s.HashSize())
		add(&message.Proposal{Type: tree.ProposalPSK, PSK: id})
	}
	if opt.Extensions != nil {
		add(&message.Proposal{Type: tree.ProposalGroupContextExtensions, Extensions: *opt.Extensions})
	}
	if opt.ReInit != nil {
		add(&message.Proposal{Type: tree.ProposalReInit, ReInit: opt.ReInit})
	}
	return out
}

// builder makes one commit.
type builder struct {
	g      *Group // for an external commit without epoch secrets
	change *change
	opt    CommitOptions
	id     *Identity
	wire   message.WireFormat

	self   tree.LeafIndex
	priv   *tree.Private
	path   *tree.NewPath
	joiner suite.Secret
	psk    suite.Secret
	next   *Group
	auth   *message.Authenticated
}

// build fills next and auth.
func (b *builder) build(lookup lookupKey, initSecret suite.Secret, withPath bool) error {
	p := b.g.pub
	b.self, b.priv = b.g.priv.Self, b.g.priv
	commit := &message.Commit{}
	for _, r := range b.change.list {
		if r.ref != nil {
			commit.Proposals = append(commit.Proposals, message.ProposalOrRef{Ref: r.ref})
		} else {
			commit.Proposals = append(commit.Proposals, message.ProposalOrRef{Proposal: r.Proposal})
		}
	}
	commitSecret := p.s.Zero()
	if withPath {
		if err := b.createPath(); err != nil {
			return err
		}
		commitSecret = b.path.Commit
	}
	t := b.change.edit.Freeze()
	if t.Leaf(b.self) == nil {
		panic("mls: committer has no leaf")
	}
	provisional := p.provisional(t, b.change.extensions)
	if withPath {
		var err error
		if commit.Path, err = t.Encrypt(b.path, codec.Marshal(provisional), b.change.addedLeaves()); err != nil {
			return err
		}
	}
	var err error
	if b.psk, err = pskSecret(p.s, b.change.psks, lookup, rule.PSKAvailable); err != nil {
		return err
	}
	content := &message.Content{
		GroupID: p.context.GroupID, Epoch: p.context.Epoch, Sender: b.change.committer,
		AuthenticatedData: b.opt.AAD, Type: message.ContentCommit, Commit: commit,
	}
	// The signature is made with the key of the present epoch (RFC 9420 §6.1).
	if b.auth, err = message.Sign(b.g.id.Signer, b.wire, content, p.context); err != nil {
		return err
	}
	b.finish(provisional, t, initSecret, commitSecret)
	commitSecret.Zero()
	return nil
}

func (b *builder) createPath() error {
	p := b.g.pub
	var err error
	b.path, b.priv, err = b.change.edit.Create(b.self, b.priv, func(key suite.PublicKey, parentHash []byte) (*tree.LeafNode, error) {
		leaf := b.id.leaf(key, tree.SourceCommit)
		leaf.ParentHash = parentHash
		if err := leaf.Sign(b.id.Signer, p.context.GroupID, b.self); err != nil {
			return nil, err
		}
		return leaf, p.checkOwnLeaf(b.change, b.self, leaf)
	})
	return err
}

// checkOwnLeaf keeps us from committing a leaf that the others would refuse.
func (p *PublicGroup) checkOwnLeaf(c *change, at tree.LeafIndex, l *tree.LeafNode) error {
	if err := l.CheckSelf(p.s); err != nil {
		return err
	}
	if err := p.checkParameters(l, c.extensions); err != nil {
		return err
	}
	return checkAmong(c.edit.Tree(), []Member{{at, l}})
}

// finish derives the next epoch and its confirmation tag.
func (b *builder) finish(provisional *schedule.GroupContext, t *tree.Tree, initSecret, commitSecret suite.Secret) {
	s := b.g.pub.s
	context := *provisional
	context.ConfirmedTranscriptHash = schedule.ConfirmedTranscript(s, b.g.pub.interim, b.auth.TranscriptInput())
	encoded := codec.Marshal(&context)
	b.joiner = schedule.Joiner(s, initSecret, commitSecret, encoded)
	epoch, roots := schedule.FromJoiner(s, b.joiner, b.psk, encoded)
	b.auth = b.auth.Confirm(epoch.ConfirmationTag(s, context.ConfirmedTranscriptHash))
	pub := b.g.pub.advance(provisional, t, b.auth)
	moved := *b.g
	moved.priv, moved.id = b.priv.Prune(t), b.id
	b.next = moved.enter(pub, epoch, roots)
	if b.change.reinit != nil {
		b.next.status, b.next.reinit = ReInited, b.change.reinit
	}
}

// pending frames the commit and the welcome.
func (b *builder) pending() (*Pending, error) {
	current, msg, err := b.g.frame(b.auth)
	if err != nil {
		return nil, err
	}
	welcome, err := b.welcome()
	if err != nil {
		return nil, err
	}
	next := b.next
	if len(next.past) > 0 { // the past epoch must not know the key that the commit used
		next.past = slices.Clone(next.past)
		next.past[len(next.past)-1].secrets = current.secrets.Forget(current.priv.Self)
	}
	next.sent = current.sent
	return &Pending{Next: next, Current: current, Commit: msg, Welcome: welcome}, nil
}

// welcome signs the group info and seals it to who was added, in memory that is used again.
func (b *builder) welcome() (welcome []byte, err error) {
	defer b.joiner.Zero()
	if b.path != nil {
		defer b.path.Zero()
	}
	if len(b.change.added) == 0 {
		return nil, nil
	}
	var info suite.Signed
	codec.Scratch(func(buffer []byte) []byte {
		info, err = b.next.groupInfo(GroupInfoOptions{NoTree: b.opt.NoTree, Extensions: b.opt.InfoExtensions}, buffer)
		return info.Buffer
	}, func([]byte) {
		if err == nil {
			welcome, err = b.sealWelcome(info.Wire())
		}
	})
	return welcome, err
}

// sealWelcome encrypts the group info, in place, and returns the MLSMessage.
func (b *builder) sealWelcome(info []byte) ([]byte, error) {
	to := make([]message.Joiner, len(b.change.added))
	for i, m := range b.change.added {
		to[i].KeyPackage = b.change.packages[i]
		if b.path != nil {
			to[i].PathSecret = b.path.SecretFor(b.self, m.Index)
		}
	}
	w, err := message.SealWelcome(b.g.pub.s, info, b.joiner, b.psk, b.change.psks, to)
	if err != nil {
		return nil, err
	}
	return w.AppendTo(message.AppendHeader(nil, message.WireWelcome)), nil
}
