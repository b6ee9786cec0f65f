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

// PublicGroup is the public state of one epoch: tree, context, transcript and waiting
// proposals. A server or auditor can follow a group with it, seeing public handshake
// messages but neither secrets nor private messages. An immutable value.
type PublicGroup struct {
	s         *suite.Suite
	context   *schedule.GroupContext
	tree      *tree.Tree
	interim   []byte // interim transcript hash
	tag       []byte // confirmation tag of the commit that began the epoch
	proposals []stored
}

// stored is a valid proposal that waits for a commit.
type stored struct {
	ref  []byte
	msg  *message.Authenticated
	size int // of msg, encoded, in bytes
}

// Suite returns the group's cipher suite.
func (p *PublicGroup) Suite() *suite.Suite { return p.s }

// Context returns the group context, which must not be changed.
func (p *PublicGroup) Context() *schedule.GroupContext { return p.context }

// Tree returns the ratchet tree.
func (p *PublicGroup) Tree() *tree.Tree { return p.tree }

// ID returns the group id.
func (p *PublicGroup) ID() []byte { return bytes.Clone(p.context.GroupID) }

// Epoch returns the epoch number.
func (p *PublicGroup) Epoch() uint64 { return p.context.Epoch }

// Members returns all members from left to right.
func (p *PublicGroup) Members() []Member {
	var out []Member
	for i, l := range p.tree.Members {
		out = append(out, Member{i, l})
	}
	return out
}

// Proposals returns the proposals that wait for a commit, in order of arrival.
func (p *PublicGroup) Proposals() []*ProposalStored {
	out := make([]*ProposalStored, len(p.proposals))
	for i, st := range p.proposals {
		out[i] = p.storedEvent(st)
	}
	return out
}

// without returns the waiting proposals that a commit's list does not name.
func (p *PublicGroup) without(list []resolved) (left []*ProposalStored) {
	named := map[string]bool{}
	for _, r := range list {
		named[string(r.ref)] = true
	}
	for _, st := range p.proposals {
		if !named[string(st.ref)] {
			left = append(left, p.storedEvent(st))
		}
	}
	return left
}

func (p *PublicGroup) storedEvent(st stored) *ProposalStored {
	c := st.msg.Content()
	return &ProposalStored{p.author(c), c.Epoch, st.ref, c.Proposal}
}

// author attributes a verified content of this epoch.
func (p *PublicGroup) author(c *message.Content) Author {
	a := Author{Sender: c.Sender}
	switch c.Sender.Type {
	case message.SenderMember:
		a.Credential = p.tree.Leaf(tree.LeafIndex(c.Sender.Index)).Credential
	case message.SenderExternal:
		if senders, err := p.externalSenders(); err == nil {
			a.Credential = senders[c.Sender.Index].Credential
		}
	case message.SenderNewMemberProposal:
		a.Credential = c.Proposal.Add.Leaf.Credential
	case message.SenderNewMemberCommit:
		a.Credential = c.Commit.Path.Leaf.Credential
	}
	return a
}

func (p *PublicGroup) externalSenders() ([]tree.ExternalSender, error) {
	data, ok := p.context.Extensions.Get(tree.ExtExternalSenders)
	if !ok {
		return nil, rule.Break(rule.ExternalSenderIndex, "the group has no external senders")
	}
	senders, err := codec.Unmarshal(data, tree.ReadExternalSenders)
	return senders, rule.Because(rule.ContextExternalSenders, err)
}

// senderKey returns the signature key that a content must verify with (RFC 9420 §6.1).
func (p *PublicGroup) senderKey(c *message.Content) (suite.SignaturePublicKey, error) {
	switch c.Sender.Type {
	case message.SenderMember:
		l := p.tree.Leaf(tree.LeafIndex(c.Sender.Index))
		if l == nil {
			return nil, rule.Break(rule.FrameSender, "leaf %d is blank", c.Sender.Index)
		}
		return l.SignatureKey, nil
	case message.SenderExternal:
		senders, err := p.externalSenders()
		if err != nil {
			return nil, err
		}
		if uint64(c.Sender.Index) >= uint64(len(senders)) {
			return nil, rule.Break(rule.ExternalSenderIndex, "index %d of %d", c.Sender.Index, len(senders))
		}
		return senders[c.Sender.Index].SignatureKey, nil
	case message.SenderNewMemberProposal:
		if c.Proposal.Type != tree.ProposalAdd {
			return nil, rule.Break(rule.NewMemberProposal, "proposal type %d", c.Proposal.Type)
		}
		return c.Proposal.Add.Leaf.SignatureKey, nil
	default:
		if c.Commit.Path == nil {
			return nil, rule.Break(rule.ExternalPath, "the commit has none")
		}
		return c.Commit.Path.Leaf.SignatureKey, nil
	}
}

// checkFrame checks that a handshake message is for this group and epoch.
func (p *PublicGroup) checkFrame(groupID []byte, epoch uint64) error {
	if !bytes.Equal(groupID, p.context.GroupID) {
		return rule.Break(rule.FrameGroup, "group id %x", clip(groupID))
	}
	if epoch != p.context.Epoch {
		return rule.Break(rule.FrameEpoch, "got %d, want %d", epoch, p.context.Epoch)
	}
	return nil
}

// clip keeps errors short whatever a stranger sends.
func clip(b []byte) []byte { return b[:min(len(b), 32)] }

// verify checks a signature against the sender's key.
func (p *PublicGroup) verify(m *message.Signed) (*message.Authenticated, error) {
	key, err := p.senderKey(m.Content())
	if err != nil {
		return nil, err
	}
	return m.Verify(p.s, key, p.context)
}

// NewPublicGroup starts to follow a group from a group info. ratchetTree is needed
// unless the group info carries it.
func NewPublicGroup(cfg *Config, groupInfo, ratchetTree []byte, now time.Time) (*PublicGroup, error) {
	info, err := parseGroupInfo(bytes.Clone(groupInfo))
	if err != nil {
		return nil, err
	}
	return publicFromInfo(cfg, info, bytes.Clone(ratchetTree), now)
}

// parseGroupInfo takes an MLSMessage or the bare struct.
func parseGroupInfo(b []byte) (*message.GroupInfo, error) {
	m, err := message.Parse(b)
	if err == nil && m.GroupInfo != nil {
		return m.GroupInfo, nil
	}
	info, bareErr := codec.Unmarshal(b, message.ReadGroupInfo)
	if bareErr != nil {
		return nil, fmt.Errorf("decode group info: %w", bareErr)
	}
	return info, nil
}

// Process applies a public handshake message, at a time. Membership and confirmation
// tags cannot be checked from outside: trust the delivery of what is followed.
func (p *PublicGroup) Process(cfg *Config, msg []byte, now time.Time) (*PublicGroup, Event, error) {
	m, err := message.Parse(bytes.Clone(msg))
	if err != nil {
		return p, nil, err
	}
	if m.Public == nil {
		return p, nil, fmt.Errorf("process message: not a public handshake message")
	}
	if err := p.checkFrame(m.Public.Content.GroupID, m.Public.Content.Epoch); err != nil {
		return p, nil, err
	}
	signed, err := m.Public.Unprotect(p.s, nil, p.context)
	if err != nil {
		return p, nil, err
	}
	auth, err := p.verify(signed)
	if err != nil {
		return p, nil, err
	}
	if auth.Content().Type == message.ContentProposal {
		next, ev, err := p.store(cfg, auth, now)
		if err != nil {
			return p, nil, err
		}
		return next, ev, nil
	}
	st, err := p.stage(cfg, auth, now)
	if err != nil {
		return p, nil, err
	}
	return st.next, st.event(p, auth), nil
}
