package content

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"capnproto.org/go/capnp/v3"

	"quicproquo/schemas"
)

// Encode returns the one encoding of a message. It refuses what Decode would.
func Encode(m Message) ([]byte, error) {
	if m.Body == nil {
		return nil, fmt.Errorf("%w: no body", ErrMalformed)
	}
	if unknown, ok := m.Body.(Unknown); ok {
		return encodeUnknown(m, unknown)
	}
	sent := m.Sent.UnixMilli()
	if sent < 0 || sent > maxSent {
		return nil, fmt.Errorf("%w: sent in the year %d", ErrLimit, m.Sent.Year())
	}
	if err := errors.Join(checkTimer(m.ExpireAfter), checkBody(m.Body)); err != nil {
		return nil, fmt.Errorf("encode %v: %w", m.Body.kind(), err)
	}
	_, seg := schemas.NewMessage()
	root, err := schemas.NewRootContent(seg)
	if err != nil {
		return nil, fmt.Errorf("encode message: %w", err)
	}
	root.SetVersion(Version)
	root.SetSentMs(uint64(sent))
	root.SetSilent(m.Body.kind().silent())
	root.SetExpireAfterMs(uint64(m.ExpireAfter.Milliseconds()))
	if err := errors.Join(root.SetId(m.ID[:]), encodeBody(root.Body(), m.Body)); err != nil {
		return nil, fmt.Errorf("encode %v: %w", m.Body.kind(), err)
	}
	return canonical(capnp.Struct(root))
}

// encodeUnknown gives back the bytes of a message that was not understood.
func encodeUnknown(m Message, u Unknown) ([]byte, error) {
	same, err := Decode(u.Raw)
	if err != nil {
		return nil, err
	}
	body, ok := same.Body.(Unknown)
	if !ok || same.ID != m.ID || body.Tag != u.Tag || body.Version != u.Version || body.Silent != u.Silent {
		return nil, fmt.Errorf("%w: the bytes of an unknown kind are another message's", ErrMalformed)
	}
	return bytes.Clone(u.Raw), nil
}

// canonical returns the canonical form of a struct (Cap'n Proto, "Canonicalization")
// as one framed segment.
func canonical(s capnp.Struct) ([]byte, error) {
	segment, err := capnp.Canonicalize(s)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	frame := make([]byte, frameHead, frameHead+len(segment))
	binary.LittleEndian.PutUint32(frame[4:], uint32(len(segment)/wordSize))
	return append(frame, segment...), nil
}

const (
	wordSize  = 8
	frameHead = 8 // the table of one segment
)

func encodeBody(to schemas.Content_body, body Body) error {
	switch b := body.(type) {
	case Text:
		s, err := to.NewText()
		return errors.Join(err, s.SetText(b.Text))
	case Reply:
		s, err := to.NewReply()
		return errors.Join(err, s.SetTo(b.To[:]), s.SetText(b.Text))
	case Reaction:
		s, err := to.NewReaction()
		s.SetRemove(b.Remove)
		return errors.Join(err, s.SetTo(b.To[:]), s.SetEmoji(b.Emoji))
	case Edit:
		s, err := to.NewEdit()
		return errors.Join(err, s.SetTo(b.To[:]), s.SetText(b.Text))
	case Delete:
		s, err := to.NewDelete()
		return errors.Join(err, s.SetTo(b.To[:]))
	case Receipt:
		s, err := to.NewReceipt()
		s.SetKind(uint8(b.Kind))
		return errors.Join(err, s.SetIds(joined(b.IDs)))
	case Typing:
		s, err := to.NewTyping()
		s.SetActive(b.Active)
		return err
	case GroupInfo:
		s, err := to.NewGroupInfo()
		return errors.Join(err, s.SetTitle(b.Title))
	case Timer:
		s, err := to.NewTimer()
		s.SetAfterMs(uint64(b.After.Milliseconds()))
		return err
	case Rejoined:
		s, err := to.NewRejoined()
		s.SetEpoch(b.Epoch)
		return errors.Join(err, s.SetAuthenticator(b.Authenticator))
	case Unreadable:
		s, err := to.NewUnreadable()
		return errors.Join(err, s.SetEnvelopes(joined(b.Envelopes)))
	}
	panic(fmt.Sprintf("content: a body of type %T is not of this package", body))
}

func joined(ids []ID) []byte {
	all := make([]byte, 0, len(ids)*len(ID{}))
	for _, id := range ids {
		all = append(all, id[:]...)
	}
	return all
}
