package mls

import (
	"bytes"
	"fmt"
	"time"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// ExternalOptions say how to join by external commit.
type ExternalOptions struct {
	RatchetTree []byte           // where the group info has none
	Resync      bool             // remove our old leaf, found by Successor
	SelfRemoves [][]byte         // pending SelfRemove proposals, as MLSMessages
	PSKs        []schedule.PSKID // nonces are made here
	AAD         []byte
	// Check may refuse the group before anything is made, once the group info's signature
	// and tree are verified. signer is the leaf that signed it.
	Check func(group *PublicGroup, signer Member) error
}

// ExternalJoin enters a group without an invitation, by a commit (RFC 9420 §12.4.3.2).
// Pending.Current is nil: if the commit is not accepted, try again with a new group info.
func ExternalJoin(cfg *Config, id *Identity, groupInfo []byte, opt ExternalOptions, now time.Time) (*Pending, error) {
	info, err := parseGroupInfo(bytes.Clone(groupInfo))
	if err != nil {
		return nil, err
	}
	if info.Context.Suite != id.Signer.Suite().ID() {
		return nil, rule.Break(rule.GroupInfoSuite, "got 0x%04x, want 0x%04x", uint16(info.Context.Suite), uint16(id.Signer.Suite().ID()))
	}
	data, ok := info.Extensions.Get(tree.ExtExternalPub)
	if !ok {
		return nil, rule.Break(rule.GroupInfoExternalPub, "ask for a group info that has it")
	}
	external, err := codec.Unmarshal(data, (*codec.Reader).Bytes)
	if err != nil {
		return nil, rule.Because(rule.GroupInfoExternalPub, err)
	}
	pub, err := publicFromInfo(cfg, info, bytes.Clone(opt.RatchetTree), now)
	if err != nil {
		return nil, err
	}
	if opt.Check != nil {
		if err := opt.Check(pub, Member{info.Signer, pub.tree.Leaf(info.Signer)}); err != nil {
			return nil, err
		}
	}
	return externalCommit(cfg, id, pub, external, opt, now)
}

func externalCommit(cfg *Config, id *Identity, pub *PublicGroup, external suite.PublicKey, opt ExternalOptions, now time.Time) (*Pending, error) {
	initSecret, kemOutput, err := pub.s.ExternalInitSend(external)
	if err != nil {
		return nil, rule.Because(rule.GroupInfoExternalPub, err)
	}
	defer initSecret.Zero()
	sender := message.Sender{Type: message.SenderNewMemberCommit}
	list := []resolved{{Proposal: &message.Proposal{Type: tree.ProposalExternalInit, KEMOutput: kemOutput}, sender: sender}}
	for _, psk := range opt.PSKs {
		psk.Nonce = suite.Random(pub.s.HashSize())
		list = append(list, resolved{Proposal: &message.Proposal{Type: tree.ProposalPSK, PSK: psk}, sender: sender})
	}
	if opt.Resync {
		old, err := pub.ownOld(cfg, id)
		if err != nil {
			return nil, err
		}
		list = append(list, resolved{Proposal: &message.Proposal{Type: tree.ProposalRemove, Remove: old}, sender: sender})
	}
	if pub, list, err = pub.addSelfRemoves(cfg, list, opt.SelfRemoves, now); err != nil {
		return nil, err
	}
	c, err := pub.change(cfg, list, sender, false, now)
	if err != nil {
		return nil, fmt.Errorf("join by external commit: %w", err)
	}
	self, err := c.edit.Reserve()
	if err != nil {
		return nil, err
	}
	g := &Group{cfg: cfg, pub: pub, id: id, priv: tree.NewPrivate(self, nil)}
	b := &builder{g: g, change: c, opt: CommitOptions{AAD: opt.AAD}, id: id, wire: message.WirePublic}
	lookup := func(psk schedule.PSKID) (suite.Secret, bool) {
		if cfg.PSK == nil {
			return nil, false
		}
		return cfg.PSK(psk)
	}
	if err := b.build(lookup, initSecret, true); err != nil {
		return nil, fmt.Errorf("join by external commit: %w", err)
	}
	return b.externalPending()
}

// externalPending frames the commit; there is no past to go back to.
func (b *builder) externalPending() (*Pending, error) {
	framed, msg, err := b.g.frame(b.auth)
	if err != nil {
		return nil, err
	}
	b.joiner.Zero()
	b.path.Zero()
	b.next.past, b.next.sent = nil, framed.sent
	return &Pending{Next: b.next, Commit: msg}, nil
}

// ownOld finds the leaf that a resync replaces: the one with our signature key, else
// the one whose credential ours may succeed.
func (p *PublicGroup) ownOld(cfg *Config, id *Identity) (tree.LeafIndex, error) {
	if i, ok := p.tree.FindKey(id.Signer.Public()); ok {
		return i, nil
	}
	for i, l := range p.tree.Members {
		if cfg.auth().Successor(l.Credential, id.Credential) == nil {
			return i, nil
		}
	}
	return 0, rule.Break(rule.ExternalSuccessor, "no member has our identity")
}

// addSelfRemoves validates pending SelfRemove proposals, whose membership tag a joiner
// cannot check (draft-ietf-mls-extensions §4.3.1), and refers to them.
func (p *PublicGroup) addSelfRemoves(cfg *Config, list []resolved, msgs [][]byte, now time.Time) (*PublicGroup, []resolved, error) {
	for _, raw := range msgs {
		next, ev, err := p.Process(cfg, raw, now)
		if err != nil {
			return nil, nil, fmt.Errorf("take self-remove proposal: %w", err)
		}
		st, ok := ev.(*ProposalStored)
		if !ok || st.Proposal.Type != tree.ProposalSelfRemove {
			return nil, nil, rule.Break(rule.ExternalReference, "only SelfRemove proposals can be taken along")
		}
		p = next
		list = append(list, resolved{st.Proposal, st.Sender, st.Ref})
	}
	return p, list, nil
}
