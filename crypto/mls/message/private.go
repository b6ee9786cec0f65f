package message

import (
	"errors"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// ErrDecrypt is all that a message which does not decrypt says.
var ErrDecrypt = errors.New("message does not decrypt")

// guardSize is the length of a reuse guard in bytes (RFC 9420 §6.3.1).
const guardSize = 4

// PrivateMessage is signed and encrypted (RFC 9420 §6.3).
type PrivateMessage struct {
	GroupID             []byte
	Epoch               uint64
	Type                ContentType
	AuthenticatedData   []byte
	EncryptedSenderData []byte
	Ciphertext          []byte
}

// AppendTo appends the wire form.
func (m *PrivateMessage) AppendTo(b []byte) []byte {
	b = codec.Bytes(m.aad(b), m.EncryptedSenderData)
	return codec.Bytes(b, m.Ciphertext)
}

// senderAAD is SenderDataAAD.
func (m *PrivateMessage) senderAAD(b []byte) []byte {
	return append(codec.Uint64(codec.Bytes(b, m.GroupID), m.Epoch), byte(m.Type))
}

// aad is PrivateContentAAD.
func (m *PrivateMessage) aad(b []byte) []byte {
	return codec.Bytes(m.senderAAD(b), m.AuthenticatedData)
}

// ReadPrivateMessage decodes a private message.
func ReadPrivateMessage(r *codec.Reader) *PrivateMessage {
	m := &PrivateMessage{
		GroupID: r.Bytes(), Epoch: r.Uint64(), Type: ContentType(r.Uint8()),
		AuthenticatedData: r.Bytes(), EncryptedSenderData: r.Bytes(), Ciphertext: r.Bytes(),
	}
	if r.Err() == nil && (m.Type < ContentApplication || m.Type > ContentCommit) {
		r.Fail(codec.ErrValue)
	}
	return m
}

// Kind returns the ratchet that protects a content type.
func (t ContentType) Kind() schedule.Kind {
	if t == ContentApplication {
		return schedule.Application
	}
	return schedule.Handshake
}

// Private encrypts the content for the group with a key taken from the sender's ratchet,
// adding padding zero bytes.
func (a *Authenticated) Private(s *suite.Suite, key schedule.MessageKey, senderData suite.Secret, padding int) (*PrivateMessage, error) {
	c := a.m.content
	m := &PrivateMessage{GroupID: c.GroupID, Epoch: c.Epoch, Type: c.Type, AuthenticatedData: c.AuthenticatedData}
	plain := c.appendBody(make([]byte, 0, 256+len(c.Application)+padding+suite.Overhead))
	plain = a.m.auth.appendTo(plain, c.Type)
	plain = append(plain, make([]byte, padding)...)
	guard := suite.Random(guardSize)
	var err error
	if m.Ciphertext, err = s.SealInPlace(key.Key, guarded(key.Nonce, guard), m.aad(nil), plain); err != nil {
		return nil, err
	}
	head := make([]byte, 0, 8+guardSize)
	head = codec.Uint32(codec.Uint32(head, c.Sender.Index), key.Generation)
	head = append(head, guard...)
	k, nonce := schedule.SenderDataKeys(s, senderData, m.Ciphertext)
	if m.EncryptedSenderData, err = s.Seal(k, nonce, m.senderAAD(nil), head); err != nil {
		return nil, err
	}
	return m, nil
}

// guarded XORs the reuse guard into a copy of the nonce (RFC 9420 §6.3.1).
func guarded(nonce suite.Secret, guard []byte) suite.Secret {
	out := nonce.Clone()
	for i, g := range guard {
		out[i] ^= g
	}
	return out
}

// SenderData says which key opens a private message (RFC 9420 §6.3.2).
type SenderData struct {
	Leaf       tree.LeafIndex
	Generation uint32
	guard      []byte
}

// SenderData decrypts the sender data. Its only error is ErrDecrypt.
func (m *PrivateMessage) SenderData(s *suite.Suite, senderData suite.Secret) (SenderData, error) {
	key, nonce := schedule.SenderDataKeys(s, senderData, m.Ciphertext)
	plain, err := s.Open(key, nonce, m.senderAAD(nil), m.EncryptedSenderData)
	if err != nil {
		return SenderData{}, ErrDecrypt
	}
	r := codec.NewReader(plain)
	d := SenderData{tree.LeafIndex(r.Uint32()), r.Uint32(), r.Fixed(guardSize)}
	if r.Finish() != nil {
		return SenderData{}, ErrDecrypt
	}
	return d, nil
}

// Open decrypts the content with the key that the sender data named. A message that does
// not decrypt says ErrDecrypt and nothing more.
func (m *PrivateMessage) Open(s *suite.Suite, key schedule.MessageKey, from SenderData) (*Signed, error) {
	plain, err := s.Open(key.Key, guarded(key.Nonce, from.guard), m.aad(nil), m.Ciphertext)
	if err != nil {
		return nil, ErrDecrypt
	}
	c := &Content{
		GroupID: m.GroupID, Epoch: m.Epoch, Sender: Member(from.Leaf),
		AuthenticatedData: m.AuthenticatedData, Type: m.Type,
	}
	r := codec.NewReader(plain)
	c.readBody(r)
	out := &Signed{WirePrivate, c, readAuthData(r, c.Type)}
	padding := r.Rest()
	if err := r.Finish(); err != nil {
		return nil, err
	}
	for _, b := range padding {
		if b != 0 {
			return nil, rule.Break(rule.FramePadding, "%d bytes of padding", len(padding))
		}
	}
	return out, nil
}
