package message

import (
	"fmt"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/tree"
)

// Message is an MLSMessage (RFC 9420 §6); exactly one field is set.
type Message struct {
	Public     *PublicMessage
	Private    *PrivateMessage
	Welcome    *Welcome
	GroupInfo  *GroupInfo
	KeyPackage *KeyPackage
}

func (m *Message) body() (WireFormat, codec.Appender) {
	switch {
	case m.Public != nil:
		return WirePublic, m.Public
	case m.Private != nil:
		return WirePrivate, m.Private
	case m.Welcome != nil:
		return WireWelcome, m.Welcome
	case m.GroupInfo != nil:
		return WireGroupInfo, m.GroupInfo
	case m.KeyPackage != nil:
		return WireKeyPackage, m.KeyPackage
	default:
		panic("message: an empty Message has no wire form")
	}
}

// AppendTo appends the wire form.
func (m *Message) AppendTo(b []byte) []byte {
	wire, body := m.body()
	return body.AppendTo(AppendHeader(b, wire))
}

// AppendHeader appends the start of an MLSMessage whose body comes next.
func AppendHeader(b []byte, wire WireFormat) []byte {
	return codec.Uint16(codec.Uint16(b, uint16(tree.MLS10)), uint16(wire))
}

// Parse decodes exactly one MLSMessage. The result aliases b.
func Parse(b []byte) (*Message, error) {
	r := codec.NewReader(b)
	if v := tree.Version(r.Uint16()); r.Err() == nil && v != tree.MLS10 {
		return nil, rule.Break(rule.FrameVersion, "got %d", v)
	}
	m := &Message{}
	switch wire := WireFormat(r.Uint16()); wire {
	case WirePublic:
		m.Public = ReadPublicMessage(r)
	case WirePrivate:
		m.Private = ReadPrivateMessage(r)
	case WireWelcome:
		m.Welcome = ReadWelcome(r)
	case WireGroupInfo:
		m.GroupInfo = ReadGroupInfo(r)
	case WireKeyPackage:
		m.KeyPackage = ReadKeyPackage(r)
	default:
		r.Fail(fmt.Errorf("wire format %d: %w", wire, codec.ErrValue))
	}
	if err := r.Finish(); err != nil {
		return nil, fmt.Errorf("decode mls message: %w", err)
	}
	return m, nil
}
