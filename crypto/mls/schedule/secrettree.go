package schedule

import (
	"fmt"
	"slices"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/mls/treemath"
	"quicproquo/crypto/suite"
)

// Kind tells the two ratchets of a sender apart (RFC 9420 §9).
type Kind uint8

// The ratchets of a sender.
const (
	Handshake Kind = iota
	Application
)

// chunkSize is how many senders' ratchets are copied when one of them moves.
const chunkSize = 32

type (
	sender [2]*ratchet // by Kind; both nil until the sender is first heard
	chunk  [chunkSize]sender
)

// SecretTree holds the message keys of an epoch (RFC 9420 §9). Immutable: moving a
// ratchet copies one chunk.
type SecretTree struct {
	s      *suite.Suite
	size   treemath.Size
	lim    Limits
	root   *secretNode
	chunks []*chunk
}

// NewSecretTree grows a tree from the encryption secret, which it owns.
func NewSecretTree(s *suite.Suite, size treemath.Size, encryption suite.Secret, lim Limits) *SecretTree {
	return &SecretTree{
		s, size, lim, &secretNode{secret: encryption},
		make([]*chunk, (int(size)+chunkSize-1)/chunkSize),
	}
}

// Next takes the next key of a sender, for sending.
func (t *SecretTree) Next(l tree.LeafIndex, kind Kind) (MessageKey, *SecretTree, error) {
	return t.move(l, kind, func(r *ratchet) (MessageKey, *ratchet, error) { return r.next(t.s) })
}

// Take takes the key of a generation, for receiving. The caller keeps the returned tree
// only if the message turns out to be genuine.
func (t *SecretTree) Take(l tree.LeafIndex, kind Kind, generation uint32) (MessageKey, *SecretTree, error) {
	return t.move(l, kind, func(r *ratchet) (MessageKey, *ratchet, error) { return r.take(t.s, generation, t.lim) })
}

func (t *SecretTree) move(l tree.LeafIndex, kind Kind, f func(*ratchet) (MessageKey, *ratchet, error)) (MessageKey, *SecretTree, error) {
	if uint64(l) >= uint64(t.size) {
		return MessageKey{}, nil, rule.Break(rule.FrameSender, "leaf %d of %d", l, t.size)
	}
	next := &SecretTree{t.s, t.size, t.lim, t.root, slices.Clone(t.chunks)}
	var c chunk
	if old := t.chunks[l/chunkSize]; old != nil {
		c = *old
	}
	from := &c[l%chunkSize]
	if from[kind] == nil {
		secret, rest, ok := t.root.take(t.s, t.size.Root().Level(), uint32(l))
		if !ok {
			return MessageKey{}, nil, rule.Break(rule.FrameGenerationUsed, "leaf %d has no secret", l)
		}
		from[Handshake] = &ratchet{secret: t.s.ExpandWithLabel(secret, "handshake", nil, t.s.HashSize())}
		from[Application] = &ratchet{secret: t.s.ExpandWithLabel(secret, "application", nil, t.s.HashSize())}
		next.root = rest
	}
	key, moved, err := f(from[kind])
	if err != nil {
		return MessageKey{}, nil, err
	}
	from[kind] = moved
	next.chunks[l/chunkSize] = &c
	return key, next, nil
}

// Forget returns the tree without the keys of a sender, whose messages it can neither
// make nor read any more.
func (t *SecretTree) Forget(l tree.LeafIndex) *SecretTree {
	if uint64(l) >= uint64(t.size) {
		return t
	}
	next := &SecretTree{t.s, t.size, t.lim, t.root, slices.Clone(t.chunks)}
	if old := t.chunks[l/chunkSize]; old != nil && old[l%chunkSize][0] != nil {
		c := *old
		c[l%chunkSize] = sender{}
		next.chunks[l/chunkSize] = &c
		return next
	}
	secret, rest, ok := t.root.take(t.s, t.size.Root().Level(), uint32(l))
	if !ok {
		return t
	}
	shared := false // with t, which stays as it is
	t.root.each(func(s suite.Secret) { shared = shared || len(s) > 0 && &s[0] == &secret[0] })
	if !shared {
		secret.Zero()
	}
	next.root = rest
	return next
}

// EachSecret visits all secrets.
func (t *SecretTree) EachSecret(visit func(suite.Secret)) {
	t.root.each(visit)
	for _, c := range t.chunks {
		if c == nil {
			continue
		}
		for _, s := range c {
			if s[0] != nil {
				s[0].each(visit)
				s[1].each(visit)
			}
		}
	}
}

// Zero erases all secrets.
func (t *SecretTree) Zero() { t.EachSecret(suite.Secret.Zero) }

// AppendTo appends the state encoding. Limits are configuration and not part of it.
func (t *SecretTree) AppendTo(b []byte) []byte {
	b = t.root.appendTo(codec.Uint32(b, uint32(t.size)))
	return codec.Vector(b, func(b []byte) []byte {
		for i, c := range t.chunks {
			if c == nil {
				continue
			}
			for j, s := range c {
				if s[0] != nil {
					b = codec.Uint32(b, uint32(i*chunkSize+j))
					b = s[Application].appendTo(s[Handshake].appendTo(b))
				}
			}
		}
		return b
	})
}

// ReadSecretTree decodes the state encoding of a tree with the given number of leaves.
func ReadSecretTree(s *suite.Suite, size treemath.Size, lim Limits, r *codec.Reader) *SecretTree {
	if claimed := treemath.Size(r.Uint32()); claimed != size {
		r.Fail(fmt.Errorf("secret tree of %d leaves, want %d: %w", claimed, size, codec.ErrValue))
		return nil
	}
	t := &SecretTree{s: s, size: size, lim: lim, root: readSecretNode(r, size.Root().Level())}
	t.chunks = make([]*chunk, (int(size)+chunkSize-1)/chunkSize)
	v := r.Vector()
	for v.More() {
		l := v.Uint32()
		pair := sender{readRatchet(v), readRatchet(v)}
		if uint64(l) >= uint64(size) {
			v.Fail(fmt.Errorf("ratchet of leaf %d: %w", l, codec.ErrValue))
			break
		}
		if t.chunks[l/chunkSize] == nil {
			t.chunks[l/chunkSize] = new(chunk)
		}
		t.chunks[l/chunkSize][l%chunkSize] = pair
	}
	r.Done(v)
	return t
}

// SenderDataKeys derives key and nonce of the encrypted sender data from a sample of the
// ciphertext (RFC 9420 §6.3.2).
func SenderDataKeys(s *suite.Suite, senderData suite.Secret, ciphertext []byte) (key, nonce suite.Secret) {
	sample := ciphertext[:min(len(ciphertext), s.HashSize())]
	return s.ExpandWithLabel(senderData, "key", sample, s.KeySize()),
		s.ExpandWithLabel(senderData, "nonce", sample, s.NonceSize())
}
