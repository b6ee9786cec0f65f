package rogue

import (
	"slices"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// Frame says how a content is framed where it is not as it should be. The zero value
// frames it rightly, as a PublicMessage of the member in its epoch.
type Frame struct {
	Wire       message.WireFormat
	Sender     *message.Sender
	GroupID    []byte
	Epoch      *uint64
	AAD        []byte
	Signer     *suite.Signer
	Signature  func([]byte) []byte // the signature
	Tag        func([]byte) []byte // the membership tag
	Confirm    []byte              // the confirmation tag of a commit
	Skip       uint32              // generations that are left out before it
	Padding    []byte              // of a PrivateMessage
	SenderLeaf *tree.LeafIndex     // in a PrivateMessage's sender data
}

// Frame frames a content; Type and body of c must be set. It returns the MLSMessage and
// the content as it was authenticated.
func (m *Member) Frame(c *message.Content, f Frame) ([]byte, *message.Authenticated) {
	auth := m.sign(c, &f)
	if c.Type == message.ContentCommit {
		auth = auth.Confirm(f.Confirm)
	}
	return m.protect(auth, &f), auth
}

// sign completes and signs a content.
func (m *Member) sign(c *message.Content, f *Frame) *message.Authenticated {
	c.GroupID, c.Epoch, c.Sender = m.Context.GroupID, m.Context.Epoch, message.Member(m.Self())
	c.AuthenticatedData = f.AAD
	if f.GroupID != nil {
		c.GroupID = f.GroupID
	}
	if f.Epoch != nil {
		c.Epoch = *f.Epoch
	}
	if f.Sender != nil {
		c.Sender = *f.Sender
	}
	if f.Wire == 0 {
		f.Wire = message.WirePublic
	}
	signer := m.Signer
	if f.Signer != nil {
		signer = f.Signer
	}
	auth, err := message.Sign(signer, f.Wire, c, m.Context)
	if err != nil {
		panic(err) // a signer that was made by its suite signs
	}
	return auth
}

// protect makes the MLSMessage.
func (m *Member) protect(auth *message.Authenticated, f *Frame) []byte {
	if f.Wire == message.WirePrivate {
		return m.private(auth, f)
	}
	p := auth.Public(m.Suite, m.Epoch.MembershipKey, m.Context)
	if f.Signature != nil {
		p.Auth.Signature = f.Signature(p.Auth.Signature)
	}
	if f.Tag != nil {
		p.MembershipTag = f.Tag(p.MembershipTag)
	}
	return codec.Marshal(&message.Message{Public: p})
}

// private encrypts with the member's next key, also what the RFC does not let anybody
// encrypt. message.Authenticated.Private writes what its sender says; this writes any
// leaf into the sender data, and any padding.
func (m *Member) private(auth *message.Authenticated, f *Frame) []byte {
	c := auth.Content()
	var key schedule.MessageKey
	for range f.Skip + 1 {
		var err error
		if key, m.Secrets, err = m.Secrets.Next(m.Self(), c.Type.Kind()); err != nil {
			panic(err) // 2^32 generations are used up
		}
	}
	whole := codec.Marshal(auth)                               // wire format, content, auth
	head := codec.Uint64(codec.Bytes(nil, c.GroupID), c.Epoch) // of the content, up to its sender
	head = codec.Bytes(c.Sender.AppendTo(head), c.AuthenticatedData)
	plain := slices.Concat(whole[2+len(head)+1:], f.Padding) // body and auth
	p := &message.PrivateMessage{GroupID: c.GroupID, Epoch: c.Epoch, Type: c.Type, AuthenticatedData: c.AuthenticatedData}
	senderAAD := append(codec.Uint64(codec.Bytes(nil, c.GroupID), c.Epoch), byte(c.Type))
	p.Ciphertext = must(m.Suite.Seal(key.Key, key.Nonce, codec.Bytes(senderAAD, c.AuthenticatedData), plain))
	leaf := m.Self()
	if f.SenderLeaf != nil {
		leaf = *f.SenderLeaf
	}
	sender := append(codec.Uint32(codec.Uint32(nil, uint32(leaf)), key.Generation), 0, 0, 0, 0) // no reuse guard
	k, nonce := schedule.SenderDataKeys(m.Suite, m.Epoch.SenderData, p.Ciphertext)
	p.EncryptedSenderData = must(m.Suite.Seal(k, nonce, senderAAD, sender))
	return codec.Marshal(&message.Message{Private: p})
}

// must is for what fails only where the machine does.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Propose frames a proposal and remembers it for a commit by reference.
func (m *Member) Propose(p *message.Proposal, f Frame) []byte {
	msg, auth := m.Frame(&message.Content{Type: message.ContentProposal, Proposal: p}, f)
	m.Proposed = append(m.Proposed, auth)
	return msg
}

// Ref refers to a proposal of the epoch.
func (m *Member) Ref(auth *message.Authenticated) message.ProposalOrRef {
	return message.ProposalOrRef{Ref: m.Suite.RefHash(message.ProposalRefLabel, auth.AppendTo(nil))}
}
