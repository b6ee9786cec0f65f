package message

import (
	"fmt"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/suite"
)

const framedLabel = "FramedContentTBS"

// Signed is a content with a signature that nobody has checked yet. One from outside
// has passed the membership tag or the decryption.
type Signed struct {
	wire    WireFormat
	content *Content
	auth    AuthData
}

// Content returns the unverified content, for finding the key to verify it with.
func (m *Signed) Content() *Content { return m.content }

// Wire returns the wire format that the signature covers.
func (m *Signed) Wire() WireFormat { return m.wire }

// Verify checks the signature (RFC 9420 §6.1).
func (m *Signed) Verify(s *suite.Suite, key suite.SignaturePublicKey, context *schedule.GroupContext) (*Authenticated, error) {
	err := s.VerifyFilled(key, framedLabel, m.auth.Signature, func(b []byte) []byte {
		return m.content.appendTBS(b, m.wire, context)
	})
	if err != nil {
		return nil, rule.Because(rule.FrameSignature, err)
	}
	return &Authenticated{*m}, nil
}

// Authenticated is an AuthenticatedContent whose signature was made here or verified.
type Authenticated struct{ m Signed }

// Sign signs content as a member, joiner or external sender. A commit gets its
// confirmation tag later, by Confirm.
func Sign(key *suite.Signer, wire WireFormat, content *Content, context *schedule.GroupContext) (*Authenticated, error) {
	sig, err := key.SignFilled(framedLabel, func(b []byte) []byte {
		return content.appendTBS(b, wire, context)
	})
	if err != nil {
		return nil, fmt.Errorf("sign message: %w", err)
	}
	return &Authenticated{Signed{wire, content, AuthData{Signature: sig}}}, nil
}

// Confirm returns the commit with its confirmation tag.
func (a *Authenticated) Confirm(tag []byte) *Authenticated {
	m := a.m
	m.auth.ConfirmationTag = tag
	return &Authenticated{m}
}

// Content returns the verified content.
func (a *Authenticated) Content() *Content { return a.m.content }

// Wire returns the wire format.
func (a *Authenticated) Wire() WireFormat { return a.m.wire }

// ConfirmationTag returns a commit's tag, which the signature does not cover.
func (a *Authenticated) ConfirmationTag() []byte { return a.m.auth.ConfirmationTag }

// AppendTo appends the AuthenticatedContent (RFC 9420 §6).
func (a *Authenticated) AppendTo(b []byte) []byte {
	b = a.m.content.AppendTo(codec.Uint16(b, uint16(a.m.wire)))
	return a.m.auth.appendTo(b, a.m.content.Type)
}

// ReadSigned decodes an AuthenticatedContent, which is as unverified as its source.
func ReadSigned(r *codec.Reader) *Signed {
	m := &Signed{wire: WireFormat(r.Uint16()), content: readContent(r)}
	m.auth = readAuthData(r, m.content.Type)
	return m
}

// Trust takes a content as verified without checking it. It is for our own saved state,
// into which only verified contents go.
func (m *Signed) Trust() *Authenticated { return &Authenticated{*m} }

// TranscriptInput is ConfirmedTranscriptHashInput (RFC 9420 §8.2).
func (a *Authenticated) TranscriptInput() []byte {
	b := a.m.content.AppendTo(codec.Uint16(nil, uint16(a.m.wire)))
	return codec.Bytes(b, a.m.auth.Signature)
}

// ProposalRefLabel is the label of a proposal's reference: the RefHash of its
// AuthenticatedContent (RFC 9420 §5.2).
const ProposalRefLabel = "MLS 1.0 Proposal Reference"

// Ref is the reference of a proposal (RFC 9420 §5.2).
func (a *Authenticated) Ref(s *suite.Suite) []byte {
	return s.RefHash(ProposalRefLabel, a.AppendTo(nil))
}

// PublicMessage is signed but not encrypted (RFC 9420 §6.2).
type PublicMessage struct {
	Content       *Content
	Auth          AuthData
	MembershipTag []byte // members only
}

// AppendTo appends the wire form.
func (m *PublicMessage) AppendTo(b []byte) []byte {
	b = m.Auth.appendTo(m.Content.AppendTo(b), m.Content.Type)
	if m.Content.Sender.Type == SenderMember {
		b = codec.Bytes(b, m.MembershipTag)
	}
	return b
}

// ReadPublicMessage decodes a public message.
func ReadPublicMessage(r *codec.Reader) *PublicMessage {
	m := &PublicMessage{Content: readContent(r)}
	m.Auth = readAuthData(r, m.Content.Type)
	if m.Content.Sender.Type == SenderMember {
		m.MembershipTag = r.Bytes()
	}
	return m
}

func (m *PublicMessage) tbm(context *schedule.GroupContext) []byte {
	return m.Auth.appendTo(m.Content.appendTBS(nil, WirePublic, context), m.Content.Type)
}

// Public frames the content without encryption; key is the membership key, unused for
// senders outside the group.
func (a *Authenticated) Public(s *suite.Suite, key suite.Secret, context *schedule.GroupContext) *PublicMessage {
	m := &PublicMessage{Content: a.m.content, Auth: a.m.auth}
	if m.Content.Sender.Type == SenderMember {
		m.MembershipTag = s.MAC(key, m.tbm(context))
	}
	return m
}

// Unprotect checks the membership tag of a member's message and the rules of the frame
// (RFC 9420 §6.2). A nil key skips the tag, for those who follow a group from outside.
func (m *PublicMessage) Unprotect(s *suite.Suite, key suite.Secret, context *schedule.GroupContext) (*Signed, error) {
	if m.Content.Type == ContentApplication {
		return nil, rule.Break(rule.FrameApplication, "got a public message")
	}
	if err := m.Content.checkSender(); err != nil {
		return nil, err
	}
	if m.Content.Sender.Type == SenderMember && key != nil && !s.VerifyMAC(key, m.tbm(context), m.MembershipTag) {
		return nil, rule.Break(rule.FrameMembershipTag, "sender %d", m.Content.Sender.Index)
	}
	return &Signed{WirePublic, m.Content, m.Auth}, nil
}

// checkSender checks that the sender type goes with the content (RFC 9420 §6.1).
func (c *Content) checkSender() error {
	ok := true
	switch c.Sender.Type {
	case SenderExternal, SenderNewMemberProposal:
		ok = c.Type == ContentProposal
	case SenderNewMemberCommit:
		ok = c.Type == ContentCommit
	case SenderMember:
	}
	if !ok {
		return rule.Break(rule.FrameSenderType, "sender type %d, content type %d", c.Sender.Type, c.Type)
	}
	return nil
}
