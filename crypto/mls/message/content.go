package message

import (
	"fmt"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
)

// Content is a FramedContent (RFC 9420 §6); Type says which of the last three counts.
type Content struct {
	GroupID           []byte
	Epoch             uint64
	Sender            Sender
	AuthenticatedData []byte
	Type              ContentType
	Application       []byte
	Proposal          *Proposal
	Commit            *Commit
}

// AppendTo appends the wire form.
func (c *Content) AppendTo(b []byte) []byte {
	b = codec.Uint64(codec.Bytes(b, c.GroupID), c.Epoch)
	b = codec.Bytes(c.Sender.AppendTo(b), c.AuthenticatedData)
	return c.appendBody(append(b, byte(c.Type)))
}

func (c *Content) appendBody(b []byte) []byte {
	switch c.Type {
	case ContentApplication:
		return codec.Bytes(b, c.Application)
	case ContentProposal:
		return c.Proposal.AppendTo(b)
	default:
		return c.Commit.AppendTo(b)
	}
}

func readContent(r *codec.Reader) *Content {
	c := &Content{GroupID: r.Bytes(), Epoch: r.Uint64(), Sender: ReadSender(r), AuthenticatedData: r.Bytes()}
	c.Type = ContentType(r.Uint8())
	c.readBody(r)
	return c
}

func (c *Content) readBody(r *codec.Reader) {
	switch c.Type {
	case ContentApplication:
		c.Application = r.Bytes()
	case ContentProposal:
		c.Proposal = ReadProposal(r)
	case ContentCommit:
		c.Commit = ReadCommit(r)
	default:
		r.Fail(fmt.Errorf("content type %d: %w", c.Type, codec.ErrValue))
	}
}

// AuthData is FramedContentAuthData (RFC 9420 §6.1).
type AuthData struct {
	Signature       []byte
	ConfirmationTag []byte // commits only
}

func (a AuthData) appendTo(b []byte, t ContentType) []byte {
	b = codec.Bytes(b, a.Signature)
	if t == ContentCommit {
		b = codec.Bytes(b, a.ConfirmationTag)
	}
	return b
}

func readAuthData(r *codec.Reader, t ContentType) AuthData {
	a := AuthData{Signature: r.Bytes()}
	if t == ContentCommit {
		a.ConfirmationTag = r.Bytes()
	}
	return a
}

// appendTBS appends the FramedContentTBS (RFC 9420 §6.1); the group context is covered for members and
// joiners only.
func (c *Content) appendTBS(b []byte, wire WireFormat, context *schedule.GroupContext) []byte {
	b = codec.Uint16(b, uint16(tree.MLS10))
	b = c.AppendTo(codec.Uint16(b, uint16(wire)))
	if c.Sender.Type == SenderMember || c.Sender.Type == SenderNewMemberCommit {
		b = context.AppendTo(b)
	}
	return b
}
