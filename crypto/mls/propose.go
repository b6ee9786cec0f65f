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

// ProposeAdd proposes to add a client.
func (g *Group) ProposeAdd(kp *message.KeyPackage, aad []byte, now time.Time) (*Group, []byte, error) {
	return g.propose(&message.Proposal{Type: tree.ProposalAdd, Add: kp}, aad, now)
}

// ProposeRemove proposes to remove a member.
func (g *Group) ProposeRemove(l tree.LeafIndex, aad []byte, now time.Time) (*Group, []byte, error) {
	return g.propose(&message.Proposal{Type: tree.ProposalRemove, Remove: l}, aad, now)
}

// ProposePSK proposes to mix a PSK in; its nonce is made here.
func (g *Group) ProposePSK(id schedule.PSKID, aad []byte, now time.Time) (*Group, []byte, error) {
	id.Nonce = suite.Random(g.pub.s.HashSize())
	return g.propose(&message.Proposal{Type: tree.ProposalPSK, PSK: id}, aad, now)
}

// ProposeExtensions proposes to replace the group context extensions.
func (g *Group) ProposeExtensions(ext tree.Extensions, aad []byte, now time.Time) (*Group, []byte, error) {
	return g.propose(&message.Proposal{Type: tree.ProposalGroupContextExtensions, Extensions: ext}, aad, now)
}

// ProposeReInit proposes to start over with other parameters.
func (g *Group) ProposeReInit(r *message.ReInit, aad []byte, now time.Time) (*Group, []byte, error) {
	return g.propose(&message.Proposal{Type: tree.ProposalReInit, ReInit: r}, aad, now)
}

// ProposeLeave proposes our own removal: a SelfRemove where all members support it,
// else a Remove, either to be committed by somebody else.
func (g *Group) ProposeLeave(aad []byte, now time.Time) (*Group, []byte, error) {
	for _, l := range g.pub.tree.Members {
		if !l.Capabilities.SupportsProposal(tree.ProposalSelfRemove) {
			return g.ProposeRemove(g.priv.Self, aad, now)
		}
	}
	return g.propose(&message.Proposal{Type: tree.ProposalSelfRemove}, aad, now)
}

// ProposeUpdate proposes fresh keys for our leaf, for another member to commit. The
// private key waits in the returned state.
func (g *Group) ProposeUpdate(aad []byte, now time.Time) (*Group, []byte, error) {
	key, pub, err := g.pub.s.GenerateKeyPair()
	if err != nil {
		return g, nil, err
	}
	leaf := g.id.leaf(pub, tree.SourceUpdate)
	if err := leaf.Sign(g.id.Signer, g.pub.context.GroupID, g.priv.Self); err != nil {
		return g, nil, err
	}
	next, msg, err := g.propose(&message.Proposal{Type: tree.ProposalUpdate, Update: leaf}, aad, now)
	if err != nil {
		return g, nil, err
	}
	ref := next.pub.proposals[len(next.pub.proposals)-1].ref
	next.updates = append(slices.Clip(g.updates), ownUpdate{ref, key})
	return next, msg, nil
}

func (g *Group) propose(p *message.Proposal, aad []byte, now time.Time) (*Group, []byte, error) {
	if err := g.checkActive(); err != nil {
		return g, nil, err
	}
	if p.Type == tree.ProposalAdd { // a sender judges the lifetime, a receiver does not (RFC 9420 §7.3)
		if err := g.cfg.checkLifetime(p.Add.Leaf.Lifetime, now); err != nil {
			return g, nil, fmt.Errorf("propose: %w", err)
		}
	}
	wire := g.cfg.wire()
	if p.Type == tree.ProposalSelfRemove {
		wire = message.WirePublic
	}
	content := &message.Content{
		GroupID: g.pub.context.GroupID, Epoch: g.pub.context.Epoch, Sender: message.Member(g.priv.Self),
		AuthenticatedData: aad, Type: message.ContentProposal, Proposal: p,
	}
	auth, err := message.Sign(g.id.Signer, wire, content, g.pub.context)
	if err != nil {
		return g, nil, err
	}
	pub, _, err := g.pub.store(g.cfg, auth, now)
	if err != nil {
		return g, nil, fmt.Errorf("propose: %w", err)
	}
	next, msg, err := g.frame(auth)
	if err != nil {
		return g, nil, fmt.Errorf("propose: %w", err)
	}
	next.pub = pub
	return next, msg, nil
}

// ExternalProposal signs a proposal as the external sender at an index of the group's
// external_senders (RFC 9420 §12.1.8).
func ExternalProposal(key *suite.Signer, index uint32, groupID []byte, epoch uint64, p *message.Proposal) ([]byte, error) {
	return outside(key, message.Sender{Type: message.SenderExternal, Index: index}, groupID, epoch, p)
}

// ProposeJoin asks a group to add a client that is not a member (RFC 9420 §12.1.8).
func ProposeJoin(kp *KeyPackage, groupID []byte, epoch uint64) ([]byte, error) {
	p := &message.Proposal{Type: tree.ProposalAdd, Add: kp.Public}
	return outside(kp.Identity.Signer, message.Sender{Type: message.SenderNewMemberProposal}, groupID, epoch, p)
}

func outside(key *suite.Signer, from message.Sender, groupID []byte, epoch uint64, p *message.Proposal) ([]byte, error) {
	if p.Type == tree.ProposalUpdate || p.Type == tree.ProposalExternalInit || p.Type == tree.ProposalSelfRemove {
		return nil, rule.Break(rule.ExternalSenderProposal, "proposal type %d", p.Type)
	}
	content := &message.Content{
		GroupID: groupID, Epoch: epoch, Sender: from, Type: message.ContentProposal, Proposal: p,
	}
	auth, err := message.Sign(key, message.WirePublic, content, nil)
	if err != nil {
		return nil, err
	}
	m := &message.Message{Public: auth.Public(key.Suite(), nil, nil)}
	return codec.Marshal(m), nil
}
