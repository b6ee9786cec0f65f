package mls

import (
	"bytes"
	"slices"
	"time"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
	"quicproquo/internal/planted"
)

// store keeps a verified proposal for a later commit. It refuses what no commit of this
// epoch can hold; what depends on the rest of a commit, such as an Add of a client that
// a Remove may make room for, waits for the committer, who leaves it out if need be. The
// same proposal twice is stored once.
func (p *PublicGroup) store(cfg *Config, auth *message.Authenticated, now time.Time) (*PublicGroup, *ProposalStored, error) {
	c := auth.Content()
	st := newStored(p.s, auth)
	if p.find(st.ref) != nil {
		return p, p.storedEvent(st), nil
	}
	if err := p.checkStored(st); err != nil {
		return nil, nil, err
	}
	if err := p.checkProposalSender(auth); err != nil {
		return nil, nil, err
	}
	r := resolved{c.Proposal, c.Sender, nil}
	if err := p.checkProposal(cfg, r, p.context.Extensions, now); err != nil {
		return nil, nil, err
	}
	if err := p.checkMembership(r); err != nil && !planted.On(planted.ProposalFilterOff) {
		return nil, nil, err
	}
	next := *p
	next.proposals = append(slices.Clip(p.proposals), st)
	return &next, p.storedEvent(st), nil
}

// checkMembership checks a proposal on receipt against the present group (RFC 9420
// §7.3): the parameters of an Update, and keys that must be nobody's.
func (p *PublicGroup) checkMembership(r resolved) error {
	switch r.Type {
	case tree.ProposalAdd:
		for _, key := range []suite.PublicKey{r.Add.Leaf.EncryptionKey, r.Add.InitKey} {
			if x, found := p.tree.FindEncryptionKey(key); found {
				return rule.Break(rule.LeafEncryptionKeyUnique, "node %d has it", x)
			}
		}
	case tree.ProposalUpdate:
		if err := p.checkParameters(r.Update, p.context.Extensions); err != nil {
			return err
		}
		if x, found := p.tree.FindEncryptionKey(r.Update.EncryptionKey); found {
			return rule.Break(rule.LeafEncryptionKeyUnique, "node %d has it", x)
		}
		return checkAmong(p.tree, []Member{{tree.LeafIndex(r.sender.Index), r.Update}})
	case tree.ProposalPSK:
		return checkPSKUsage(r.PSK, false)
	default:
	}
	return nil
}

// checkAgain checks a waiting proposal again as far as that is cheap: a saved state may
// come from a version that checked less on receipt.
func (p *PublicGroup) checkAgain(cfg *Config, r resolved, now time.Time) error {
	switch r.Type {
	case tree.ProposalAdd:
		return r.Add.Leaf.CheckSelf(p.s)
	case tree.ProposalUpdate:
		if err := p.checkSuite(p.tree.Leaf(tree.LeafIndex(r.sender.Index)), r.Update); err != nil {
			return err
		}
		return r.Update.CheckSelf(p.s)
	case tree.ProposalPSK:
		if err := checkPSKUsage(r.PSK, false); err != nil {
			return err
		}
	default:
	}
	return p.checkProposal(cfg, r, p.context.Extensions, now)
}

// newStored is a verified proposal with its reference.
func newStored(s *suite.Suite, auth *message.Authenticated) stored {
	encoded := codec.Marshal(auth)
	return stored{s.RefHash(message.ProposalRefLabel, encoded), auth, len(encoded)}
}

func (p *PublicGroup) find(ref []byte) *stored {
	for i := range p.proposals {
		if bytes.Equal(p.proposals[i].ref, ref) {
			return &p.proposals[i]
		}
	}
	return nil
}

// checkProposalSender checks who may send which proposal, how (RFC 9420 §6.1, §12.1.8).
func (p *PublicGroup) checkProposalSender(auth *message.Authenticated) error {
	c := auth.Content()
	switch c.Sender.Type {
	case message.SenderExternal:
		switch c.Proposal.Type {
		case tree.ProposalAdd, tree.ProposalRemove, tree.ProposalPSK, tree.ProposalReInit, tree.ProposalGroupContextExtensions:
		default:
			return rule.Break(rule.ExternalSenderProposal, "proposal type %d", c.Proposal.Type)
		}
	case message.SenderNewMemberProposal:
		if c.Proposal.Type != tree.ProposalAdd {
			return rule.Break(rule.NewMemberProposal, "proposal type %d", c.Proposal.Type)
		}
	default:
	}
	if c.Proposal.Type == tree.ProposalSelfRemove && auth.Wire() != message.WirePublic {
		return rule.Break(rule.SelfRemovePublic, "got wire format %d", auth.Wire())
	}
	if c.Proposal.Type == tree.ProposalExternalInit {
		return rule.Break(rule.ListExternalInit, "sent as a proposal")
	}
	return nil
}

// resolved is a proposal of a commit with its sender; ref is nil for one by value.
type resolved struct {
	*message.Proposal
	sender message.Sender
	ref    []byte
}

// resolve looks up the proposals of a commit.
func (p *PublicGroup) resolve(c *message.Commit, committer message.Sender) ([]resolved, error) {
	byRef := make(map[string]stored, len(p.proposals))
	for _, st := range p.proposals {
		byRef[string(st.ref)] = st
	}
	out := make([]resolved, 0, len(c.Proposals))
	for _, pr := range c.Proposals {
		if pr.Proposal != nil {
			out = append(out, resolved{pr.Proposal, committer, nil})
			continue
		}
		st, known := byRef[string(pr.Ref)]
		if !known {
			return nil, rule.Break(rule.ListUnknownReference, "reference %x", clip(pr.Ref))
		}
		out = append(out, resolved{st.msg.Content().Proposal, st.msg.Content().Sender, pr.Ref})
	}
	return out, nil
}

// checkProposal checks one proposal by itself (RFC 9420 §12.1). ext are the extensions
// that will be in force.
func (p *PublicGroup) checkProposal(cfg *Config, r resolved, ext tree.Extensions, now time.Time) error {
	switch r.Type {
	case tree.ProposalAdd:
		return p.checkAdd(cfg, r.Add, ext, now)
	case tree.ProposalUpdate:
		return p.checkUpdate(cfg, r, now)
	case tree.ProposalRemove:
		if p.tree.Leaf(r.Remove) == nil {
			return rule.Break(rule.RemoveMember, "leaf %d", r.Remove)
		}
	case tree.ProposalPSK:
		if n := len(r.PSK.Nonce); n != p.s.HashSize() {
			return rule.Break(rule.PSKNonce, "got %d bytes, want %d", n, p.s.HashSize())
		}
	case tree.ProposalReInit:
		if r.ReInit.Version < p.context.Version {
			return rule.Break(rule.ReInitVersion, "from %d to %d", p.context.Version, r.ReInit.Version)
		}
		return checkContextForm(r.ReInit.Extensions) // the group could not be founded
	case tree.ProposalGroupContextExtensions:
		return checkContextExtensions(cfg, p, r.Extensions, now)
	case tree.ProposalSelfRemove:
		if r.sender.Type != message.SenderMember {
			return rule.Break(rule.SelfRemovePublic, "sender type %d", r.sender.Type)
		}
	default:
	}
	return nil
}

func (p *PublicGroup) checkAdd(cfg *Config, kp *message.KeyPackage, ext tree.Extensions, now time.Time) error {
	if err := kp.Verify(p.s); err != nil {
		return err
	}
	if err := p.checkSuite(nil, kp.Leaf); err != nil {
		return err
	}
	if err := p.checkParameters(kp.Leaf, ext); err != nil {
		return err
	}
	return cfg.validate(kp.Leaf, now)
}

func (p *PublicGroup) checkUpdate(cfg *Config, r resolved, now time.Time) error {
	at, ok := r.sender.Leaf()
	old := p.tree.Leaf(at)
	if !ok || old == nil {
		return rule.Break(rule.FrameSender, "an Update comes from a member only")
	}
	if r.Update.Source != tree.SourceUpdate {
		return rule.Break(rule.LeafSourceUpdate, "got %d", r.Update.Source)
	}
	return p.checkReplacement(cfg, old, r.Update, at, now)
}

// checkReplacement checks a leaf that replaces another, or comes in at a free place if
// old is nil (RFC 9420 §7.3), as far as that does not depend on other members.
func (p *PublicGroup) checkReplacement(cfg *Config, old, next *tree.LeafNode, at tree.LeafIndex, now time.Time) error {
	if old != nil && bytes.Equal(old.EncryptionKey, next.EncryptionKey) {
		return rule.Break(rule.LeafFreshKey, "leaf %d", at)
	}
	if err := next.Check(p.s, p.context.GroupID, at); err != nil {
		return err
	}
	if err := p.checkSuite(old, next); err != nil {
		return err
	}
	unchanged := old != nil && bytes.Equal(old.SignatureKey, next.SignatureKey) && old.Credential.Equal(next.Credential)
	if unchanged {
		return nil
	}
	if err := cfg.validate(next, now); err != nil {
		return err
	}
	if old == nil {
		return nil
	}
	return rule.Because(rule.LeafCredential, cfg.auth().Successor(old.Credential, next.Credential))
}

// checkSuite checks that a leaf lists the group's suite (RFC 9420 §7.2). Peers write trees
// whose leaves do not, so that this is asked of who founds a group, is added, or listed
// it before (old, nil for none), and of no other.
func (p *PublicGroup) checkSuite(old, l *tree.LeafNode) error {
	lists := func(l *tree.LeafNode) bool { return slices.Contains(l.Capabilities.Suites, uint16(p.context.Suite)) }
	if lists(l) || old != nil && !lists(old) {
		return nil
	}
	return rule.Break(rule.LeafSuite, "suite 0x%04x", uint16(p.context.Suite))
}

// checkParameters checks that a leaf goes with the group's version and extensions
// (RFC 9420 §7.3, §13.4).
func (p *PublicGroup) checkParameters(l *tree.LeafNode, ext tree.Extensions) error {
	c := &l.Capabilities
	if !slices.Contains(c.Versions, p.context.Version) {
		return rule.Break(rule.LeafVersion, "version %d", p.context.Version)
	}
	supported := c.Supported()
	for _, e := range ext {
		if !supported.Extension(e.Type) {
			return rule.Break(rule.LeafGroupExtensions, "extension type 0x%04x", uint16(e.Type))
		}
	}
	if required, ok, err := requiredCapabilities(ext); err != nil {
		return err
	} else if ok && !required.SatisfiedBy(c) {
		return rule.Break(rule.LeafRequired, "a required capability is missing")
	}
	return nil
}

func requiredCapabilities(ext tree.Extensions) (q tree.RequiredCapabilities, ok bool, err error) {
	data, ok := ext.Get(tree.ExtRequiredCapabilities)
	if !ok {
		return q, false, nil
	}
	q, err = codec.Unmarshal(data, tree.ReadRequiredCapabilities)
	return q, true, rule.Because(rule.LeafRequired, err)
}

// checkContextExtensions checks new group context extensions by themselves.
func checkContextExtensions(cfg *Config, p *PublicGroup, ext tree.Extensions, now time.Time) error {
	if err := checkContextForm(ext); err != nil {
		return err
	}
	if err := checkContextLength(ext); err != nil {
		return err
	}
	data, ok := ext.Get(tree.ExtExternalSenders)
	if old, was := p.context.Extensions.Get(tree.ExtExternalSenders); !ok || (was && bytes.Equal(old, data)) {
		return nil
	}
	senders, err := codec.Unmarshal(data, tree.ReadExternalSenders)
	if err != nil {
		return rule.Because(rule.ContextExternalSenders, err)
	}
	for _, s := range senders {
		if err := cfg.auth().Validate(s.Credential, s.SignatureKey, now); err != nil {
			return rule.Because(rule.ContextExternalSenders, err)
		}
		if err := p.s.CheckSignatureKey(s.SignatureKey); err != nil {
			return rule.Because(rule.ContextExternalSenders, err)
		}
	}
	return nil
}

// checkContextForm checks what group context extensions are whatever the group: unique,
// decodable, and in their place (RFC 9420 §13.4, §17.3).
func checkContextForm(ext tree.Extensions) error {
	if err := ext.CheckUnique(); err != nil {
		return err
	}
	for _, t := range []tree.ExtensionType{tree.ExtRatchetTree, tree.ExtExternalPub} {
		if _, has := ext.Get(t); has {
			return rule.Break(rule.ContextPlaces, "extension type %d", t)
		}
	}
	_, _, err := requiredCapabilities(ext)
	return err
}

// checkPSKUsage refuses reinit and branch PSKs outside the commit that founds a group
// (RFC 9420 §12.1.4).
func checkPSKUsage(id schedule.PSKID, founding bool) error {
	if id.Type == schedule.PSKResumption && id.Usage != schedule.UsageApplication && !founding {
		return rule.Break(rule.PSKUsage, "usage %d", id.Usage)
	}
	return nil
}
