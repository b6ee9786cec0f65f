// Package message has the wire messages of RFC 9420 §6, §10 and §12: framing, proposals
// and commits, key packages, group infos and welcomes, with their protection.
//
// What was received and what was checked are different types, so that no step can be
// skipped: a [PublicMessage] or [PrivateMessage] gives a [Signed] only to whoever holds
// the group's keys, and a Signed gives an [Authenticated] only against the sender's
// signature key. Only an Authenticated can be processed or hashed into a transcript.
//
// This package must never look up keys or decide who may send what beyond what the
// framing itself says: that is the group's.
//
// Reading order: types.go, content.go, signed.go, private.go, keypackage.go, welcome.go,
// envelope.go.
package message

import (
	"fmt"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// WireFormat numbers the kinds of MLSMessage (RFC 9420 §17.2).
type WireFormat uint16

// Wire formats.
const (
	WirePublic     WireFormat = 1
	WirePrivate    WireFormat = 2
	WireWelcome    WireFormat = 3
	WireGroupInfo  WireFormat = 4
	WireKeyPackage WireFormat = 5
)

// ContentType tells what a framed content carries (RFC 9420 §6).
type ContentType uint8

// Content types.
const (
	ContentApplication ContentType = 1
	ContentProposal    ContentType = 2
	ContentCommit      ContentType = 3
)

// SenderType tells who sends (RFC 9420 §6).
type SenderType uint8

// Sender types.
const (
	SenderMember            SenderType = 1
	SenderExternal          SenderType = 2
	SenderNewMemberProposal SenderType = 3
	SenderNewMemberCommit   SenderType = 4
)

// Sender names who sends: a leaf index for members, an index into external_senders for
// external senders, nothing for new members.
type Sender struct {
	Type  SenderType
	Index uint32
}

// Member returns the sender at a leaf.
func Member(l tree.LeafIndex) Sender { return Sender{SenderMember, uint32(l)} }

// Leaf returns the sender's leaf index; ok is false for other sender types.
func (s Sender) Leaf() (l tree.LeafIndex, ok bool) {
	return tree.LeafIndex(s.Index), s.Type == SenderMember
}

// AppendTo appends the wire form.
func (s Sender) AppendTo(b []byte) []byte {
	b = append(b, byte(s.Type))
	if s.Type == SenderMember || s.Type == SenderExternal {
		b = codec.Uint32(b, s.Index)
	}
	return b
}

// ReadSender decodes a sender.
func ReadSender(r *codec.Reader) Sender {
	s := Sender{Type: SenderType(r.Uint8())}
	switch s.Type {
	case SenderMember, SenderExternal:
		s.Index = r.Uint32()
	case SenderNewMemberProposal, SenderNewMemberCommit:
	default:
		r.Fail(fmt.Errorf("sender type %d: %w", s.Type, codec.ErrValue))
	}
	return s
}

// ReInit is the contents of a ReInit proposal (RFC 9420 §12.1.5).
type ReInit struct {
	GroupID    []byte
	Version    tree.Version
	Suite      suite.ID
	Extensions tree.Extensions
}

// AppendTo appends the wire form.
func (p *ReInit) AppendTo(b []byte) []byte {
	b = codec.Bytes(b, p.GroupID)
	b = codec.Uint16(codec.Uint16(b, uint16(p.Version)), uint16(p.Suite))
	return p.Extensions.AppendTo(b)
}

// ReadReInit decodes a ReInit proposal's contents.
func ReadReInit(r *codec.Reader) *ReInit {
	return &ReInit{r.Bytes(), tree.Version(r.Uint16()), suite.ID(r.Uint16()), tree.ReadExtensions(r)}
}

// Proposal is one proposal (RFC 9420 §12.1); Type says which field counts.
type Proposal struct {
	Type       tree.ProposalType
	Add        *KeyPackage
	Update     *tree.LeafNode
	Remove     tree.LeafIndex
	PSK        schedule.PSKID
	ReInit     *ReInit
	KEMOutput  []byte          // ExternalInit
	Extensions tree.Extensions // GroupContextExtensions
}

// AppendTo appends the wire form.
func (p *Proposal) AppendTo(b []byte) []byte {
	return p.AppendBody(codec.Uint16(b, uint16(p.Type)))
}

// AppendBody appends the wire form without the proposal type.
func (p *Proposal) AppendBody(b []byte) []byte {
	switch p.Type {
	case tree.ProposalAdd:
		return p.Add.AppendTo(b)
	case tree.ProposalUpdate:
		return p.Update.AppendTo(b)
	case tree.ProposalRemove:
		return codec.Uint32(b, uint32(p.Remove))
	case tree.ProposalPSK:
		return p.PSK.AppendTo(b)
	case tree.ProposalReInit:
		return p.ReInit.AppendTo(b)
	case tree.ProposalExternalInit:
		return codec.Bytes(b, p.KEMOutput)
	case tree.ProposalGroupContextExtensions:
		return p.Extensions.AppendTo(b)
	default: // SelfRemove is empty
		return b
	}
}

// ReadProposal decodes a proposal.
func ReadProposal(r *codec.Reader) *Proposal {
	return ReadProposalBody(r, tree.ProposalType(r.Uint16()))
}

// ReadProposalBody decodes a proposal whose type is known. A type we do not know has a
// body of unknown length, so the message that carries it cannot be read.
func ReadProposalBody(r *codec.Reader, t tree.ProposalType) *Proposal {
	p := &Proposal{Type: t}
	switch t {
	case tree.ProposalAdd:
		p.Add = ReadKeyPackage(r)
	case tree.ProposalUpdate:
		p.Update = tree.ReadLeafNode(r)
	case tree.ProposalRemove:
		p.Remove = tree.LeafIndex(r.Uint32())
	case tree.ProposalPSK:
		p.PSK = schedule.ReadPSKID(r)
	case tree.ProposalReInit:
		p.ReInit = ReadReInit(r)
	case tree.ProposalExternalInit:
		p.KEMOutput = r.Bytes()
	case tree.ProposalGroupContextExtensions:
		p.Extensions = tree.ReadExtensions(r)
	case tree.ProposalSelfRemove:
	default:
		r.Fail(fmt.Errorf("proposal type 0x%04x: %w", uint16(t), codec.ErrValue))
	}
	return p
}

// PathRequired reports whether a commit with this proposal needs a path (RFC 9420 §12.4,
// §17.4).
func (p *Proposal) PathRequired() bool {
	switch p.Type {
	case tree.ProposalAdd, tree.ProposalPSK, tree.ProposalReInit:
		return false
	default:
		return true
	}
}

// ProposalOrRef is a proposal by value, or by reference if Proposal is nil.
type ProposalOrRef struct {
	Proposal *Proposal
	Ref      []byte
}

// AppendTo appends the wire form.
func (p ProposalOrRef) AppendTo(b []byte) []byte {
	if p.Proposal != nil {
		return p.Proposal.AppendTo(append(b, 1))
	}
	return codec.Bytes(append(b, 2), p.Ref)
}

func readProposalOrRef(r *codec.Reader) ProposalOrRef {
	switch t := r.Uint8(); t {
	case 1:
		return ProposalOrRef{Proposal: ReadProposal(r)}
	case 2:
		return ProposalOrRef{Ref: r.Bytes()}
	default:
		r.Fail(fmt.Errorf("proposal or reference type %d: %w", t, codec.ErrValue))
		return ProposalOrRef{}
	}
}

// Commit starts a new epoch (RFC 9420 §12.4). Path is nil where absent.
type Commit struct {
	Proposals []ProposalOrRef
	Path      *tree.UpdatePath
}

// MaxProposals bounds the proposals of one commit, and with them those whom one welcome
// lets in.
const MaxProposals = 8192

// MaxPSKs bounds the PSKs of one commit or welcome: each costs several hashes, and a
// look-up by the application. Honest ones have one or two.
const MaxPSKs = 64

// AppendTo appends the wire form.
func (c *Commit) AppendTo(b []byte) []byte {
	b = codec.Optional(codec.AppendList(b, c.Proposals), c.Path != nil)
	if c.Path != nil {
		b = c.Path.AppendTo(b)
	}
	return b
}

// ReadCommit decodes a commit.
func ReadCommit(r *codec.Reader) *Commit {
	c := &Commit{Proposals: codec.ListUpTo(r, MaxProposals, readProposalOrRef)}
	if r.Optional() {
		c.Path = tree.ReadUpdatePath(r)
	}
	return c
}
