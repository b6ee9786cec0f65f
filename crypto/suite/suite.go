// Package suite is the table of MLS cipher suites and the labelled cryptographic
// operations of RFC 9420 §5 and §8 over them. A suite is one row: adding one is adding
// a row in table.go. Everything above this package takes a *Suite and never names an
// algorithm, so a group cannot mix suites by accident.
//
// It must never print a secret (type Secret), compare tags in variable time, or trust
// a suite number alone across stacks: numbers from 0x004D on are provisional
// (draft-ietf-mls-pq-ciphersuites) and mean different suites in other stacks.
//
// Reading order: table.go, suite.go (labelled operations), kem.go, signature.go,
// secret.go.
package suite

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"errors"
	"fmt"
	"hash"
	"slices"
	"sync"

	"quicproquo/crypto/codec"
)

// ErrOpen is the only thing a failed decryption says.
var ErrOpen = errors.New("decryption failed")

// Label prefixes every label (RFC 9420 §5.1.2).
const labelPrefix = "MLS 1.0 "

// Suite is one cipher suite, safe for concurrent use and immutable.
type Suite struct {
	row     row
	kem     kem
	newHash func() hash.Hash
	hashes  sync.Pool // *hmacState, always reset
	newAEAD func(key []byte) (cipher.AEAD, error)
	nh, nk  int
}

// ID returns the suite's number.
func (s *Suite) ID() ID { return s.row.id }

// Name returns the suite's name as in RFC 9420 §17.1 or the draft it comes from.
func (s *Suite) Name() string { return s.row.name }

// PostQuantum reports whether the suite's key encapsulation resists a quantum
// computer; a client uses it to refuse mixing, not the number.
func (s *Suite) PostQuantum() bool { return s.row.kem == kemXWing }

// HashSize returns KDF.Nh, the size in bytes of hashes and of secrets.
func (s *Suite) HashSize() int { return s.nh }

// KeySize returns AEAD.Nk in bytes.
func (s *Suite) KeySize() int { return s.nk }

// NonceSize returns AEAD.Nn in bytes: 12 for every AEAD in the table.
func (s *Suite) NonceSize() int { return 12 }

// Hash returns the hash of the concatenation of parts.
func (s *Suite) Hash(parts ...[]byte) []byte {
	h := s.newHash()
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(make([]byte, 0, s.nh))
}

// RefHash computes a hash reference (RFC 9420 §5.2). The label is used as it stands.
func (s *Suite) RefHash(label string, value []byte) []byte {
	head := codec.Bytes(nil, []byte(label))
	return s.Hash(codec.Length(head, len(value)), value)
}

// MAC computes the HMAC of data.
func (s *Suite) MAC(key Secret, data []byte) []byte {
	return s.hmac(make([]byte, 0, s.nh), key, data)
}

// maxBlock is the largest block size of a hash in the table, in bytes (SHA-512).
const maxBlock = 128

// hmacState is what one HMAC needs. It is erased between uses.
type hmacState struct {
	h        hash.Hash
	pad, sum [maxBlock]byte
}

// hmac appends the HMAC (RFC 2104) of the parts to out. It is written out over pooled
// hash states because the standard one allocates two states per key, and nearly every
// key here is used once.
func (s *Suite) hmac(out []byte, key Secret, parts ...[]byte) []byte {
	w := s.hashes.Get().(*hmacState)
	h, pad := w.h, &w.pad
	block := h.BlockSize()
	h.Reset()
	if len(key) > block {
		h.Write(key)
		h.Sum(pad[:0])
		h.Reset()
	} else {
		copy(pad[:], key)
	}
	for i := range pad[:block] {
		pad[i] ^= 0x36
	}
	h.Write(pad[:block])
	for _, p := range parts {
		h.Write(p)
	}
	inner := h.Sum(w.sum[:0])
	h.Reset()
	for i := range pad[:block] {
		pad[i] ^= 0x36 ^ 0x5c
	}
	h.Write(pad[:block])
	h.Write(inner)
	out = h.Sum(out)
	h.Reset()
	clear(pad[:])
	clear(w.sum[:])
	s.hashes.Put(w)
	return out
}

// VerifyMAC reports in constant time whether tag is the MAC of data; a tag of another
// length is wrong.
func (s *Suite) VerifyMAC(key Secret, data, tag []byte) bool {
	return hmac.Equal(s.MAC(key, data), tag)
}

// Extract is KDF.Extract.
func (s *Suite) Extract(salt, ikm []byte) Secret {
	out, err := hkdf.Extract(s.newHash, ikm, salt)
	if err != nil {
		panic("suite: extract: " + err.Error()) // only FIPS mode with short keys
	}
	return out
}

// Zero returns the all-zero secret of KDF.Nh bytes.
func (s *Suite) Zero() Secret { return make(Secret, s.nh) }

// Random returns n fresh random bytes.
func Random(n int) Secret {
	b := make(Secret, n)
	rand.Read(b) // never fails (crypto/rand documentation)
	return b
}

// ExpandWithLabel derives length bytes from secret (RFC 9420 §8).
func (s *Suite) ExpandWithLabel(secret Secret, label string, context []byte, length int) Secret {
	info := make([]byte, 0, 2+1+len(labelPrefix)+len(label)+4+len(context))
	info = codec.Uint16(info, uint16(length))
	info = codec.Length(info, len(labelPrefix)+len(label))
	info = append(info, labelPrefix...)
	info = append(info, label...)
	info = codec.Bytes(info, context)
	return s.expand(secret, info, length)
}

// expand is HKDF-Expand (RFC 5869 §2.3).
func (s *Suite) expand(prk Secret, info []byte, length int) Secret {
	if length > 255*s.nh {
		panic("suite: expand beyond 255 blocks")
	}
	out := make([]byte, 0, (length+s.nh-1)/s.nh*s.nh)
	var last []byte
	counter := [1]byte{1}
	for ; len(out) < length; counter[0]++ {
		out = s.hmac(out, prk, last, info, counter[:])
		last = out[len(out)-s.nh:]
	}
	clear(out[length:])
	return out[:length:length]
}

// DeriveSecret is ExpandWithLabel with an empty context and Nh bytes (RFC 9420 §8).
func (s *Suite) DeriveSecret(secret Secret, label string) Secret {
	return s.ExpandWithLabel(secret, label, nil, s.nh)
}

// DeriveTreeSecret derives from a ratchet secret (RFC 9420 §9.1).
func (s *Suite) DeriveTreeSecret(secret Secret, label string, generation uint32, length int) Secret {
	return s.ExpandWithLabel(secret, label, codec.Uint32(make([]byte, 0, 4), generation), length)
}

// Seal encrypts and authenticates plaintext under a single-use key.
func (s *Suite) Seal(key, nonce Secret, aad, plaintext []byte) ([]byte, error) {
	return s.SealInPlace(key, nonce, aad, append(make([]byte, 0, len(plaintext)+Overhead), plaintext...))
}

// Overhead is the size of the tag of every AEAD in the table, in bytes.
const Overhead = 16

// SealInPlace encrypts like Seal and overwrites the plaintext; with Overhead bytes to
// spare in it, it allocates nothing for the ciphertext.
func (s *Suite) SealInPlace(key, nonce Secret, aad, plaintext []byte) ([]byte, error) {
	a, err := s.newAEAD(key)
	if err != nil {
		return nil, fmt.Errorf("set up aead: %w", err)
	}
	out := a.Seal(plaintext[:0], nonce, plaintext, aad)
	if cap(plaintext) < len(out) {
		clear(plaintext)
	}
	return out, nil
}

// Open is the inverse of Seal. Its only error is ErrOpen.
func (s *Suite) Open(key, nonce Secret, aad, ciphertext []byte) ([]byte, error) {
	a, err := s.newAEAD(key)
	if err != nil {
		return nil, ErrOpen
	}
	plaintext, err := a.Open(nil, nonce, ciphertext, aad)
	if err != nil {
		return nil, ErrOpen
	}
	return plaintext, nil
}

// labelled passes the encoding of EncryptContext (RFC 9420 §5.1.3) to use, which must not
// keep it.
func labelled(label string, context []byte, use func(b []byte)) {
	codec.Scratch(func(b []byte) []byte {
		const heads = 8 // the lengths of both vectors
		b = slices.Grow(b, heads+len(labelPrefix)+len(label)+len(context))
		return appendLabelled(b, label, len(context), func(b []byte) []byte { return append(b, context...) })
	}, use)
}

// appendLabelled appends the encoding shared by SignContent and EncryptContext (RFC 9420
// §5.1.2, §5.1.3) of about n bytes that fill appends.
func appendLabelled(b []byte, label string, n int, fill func(b []byte) []byte) []byte {
	b = codec.Length(b, len(labelPrefix)+len(label))
	b = append(b, labelPrefix...)
	b = append(b, label...)
	return codec.VectorAbout(b, n, fill)
}

// NewHash returns the suite's hash function.
func (s *Suite) NewHash() hash.Hash { return s.newHash() }
