package suite

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"slices"

	"github.com/cloudflare/circl/sign/ed448"
	"github.com/cloudflare/circl/sign/mldsa/mldsa44"

	"quicproquo/crypto/codec"
)

// SignaturePublicKey is an encoded signature public key (RFC 9420 §5.1.1).
type SignaturePublicKey []byte

// ErrSignature is the only thing a failed signature check says.
var ErrSignature = errors.New("signature is not valid")

// Signer holds a signature private key ready for use. Safe for concurrent use.
type Signer struct {
	s      *Suite
	raw    Secret
	public SignaturePublicKey
	sign   func(message []byte) ([]byte, error)
}

// Format shows nothing of the key.
func (k *Signer) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// Bytes returns the private key's encoding: the seed for EdDSA and ML-DSA, the scalar
// for ECDSA. It is secret.
func (k *Signer) Bytes() Secret { return k.raw }

// Public returns the public key.
func (k *Signer) Public() SignaturePublicKey { return k.public }

// Suite returns the suite the key belongs to.
func (k *Signer) Suite() *Suite { return k.s }

// SignWithLabel signs content (RFC 9420 §5.1.2).
func (k *Signer) SignWithLabel(label string, content []byte) ([]byte, error) {
	return k.SignFilled(label, func(b []byte) []byte { return append(b, content...) })
}

// SignFilled signs what fill appends, which then needs no other memory.
func (k *Signer) SignFilled(label string, fill func(b []byte) []byte) ([]byte, error) {
	var sig []byte
	var err error
	codec.Scratch(func(b []byte) []byte { return appendLabelled(b, label, 0, fill) }, func(b []byte) {
		sig, err = k.sign(b)
	})
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", label, err)
	}
	return sig, nil
}

// Signed is what was signed and its signature, in one buffer.
type Signed struct {
	Buffer    []byte // begins with what the signature covers besides
	Start     int    // of the content in Buffer; the signature follows as opaque<V>
	Signature []byte
}

// Wire returns the content and the signature.
func (s Signed) Wire() []byte { return s.Buffer[s.Start:] }

// AppendSigned appends to the empty b what fill appends, about n bytes, and signs it there.
// The result has room for an AEAD tag.
func (k *Signer) AppendSigned(b []byte, label string, n int, fill func(b []byte) []byte) (Signed, error) {
	const room = 256 + mldsa44.SignatureSize // label and headers before, the largest signature and a tag after
	content := 0
	b = appendLabelled(slices.Grow(b, n+room), label, n, func(b []byte) []byte {
		start := len(b)
		b = fill(b)
		content = len(b) - start
		return b
	})
	sig, err := k.sign(b)
	if err != nil {
		return Signed{b, len(b), nil}, fmt.Errorf("sign %s: %w", label, err)
	}
	return Signed{codec.Bytes(b, sig), len(b) - content, sig}, nil
}

// GenerateSigner makes a fresh signature key.
func (s *Suite) GenerateSigner() (*Signer, error) {
	switch s.row.sign {
	case ed25519Sign:
		return s.NewSigner(Random(ed25519.SeedSize))
	case ed448Sign:
		return s.NewSigner(Random(ed448.SeedSize))
	case mldsa44Sign:
		return s.NewSigner(Random(mldsa44.SeedSize))
	default:
		key, err := ecdsa.GenerateKey(s.curve(), rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("generate signature key: %w", err)
		}
		raw, err := key.Bytes()
		if err != nil {
			return nil, fmt.Errorf("encode signature key: %w", err)
		}
		return s.NewSigner(raw)
	}
}

// NewSigner reads an encoded private key.
func (s *Suite) NewSigner(raw Secret) (*Signer, error) {
	switch s.row.sign {
	case ed25519Sign:
		return s.ed25519Signer(raw)
	case ed448Sign:
		return s.ed448Signer(raw)
	case mldsa44Sign:
		return s.mldsaSigner(raw)
	default:
		return s.ecdsaSigner(raw)
	}
}

func wrongSize(got, want int) error {
	return fmt.Errorf("signature key has %d bytes, want %d", got, want)
}

func (s *Suite) ed25519Signer(raw Secret) (*Signer, error) {
	if len(raw) != ed25519.SeedSize {
		return nil, wrongSize(len(raw), ed25519.SeedSize)
	}
	key := ed25519.NewKeyFromSeed(raw)
	sign := func(m []byte) ([]byte, error) { return ed25519.Sign(key, m), nil }
	return &Signer{s, raw, SignaturePublicKey(key.Public().(ed25519.PublicKey)), sign}, nil
}

func (s *Suite) ed448Signer(raw Secret) (*Signer, error) {
	if len(raw) != ed448.SeedSize {
		return nil, wrongSize(len(raw), ed448.SeedSize)
	}
	key := ed448.NewKeyFromSeed(ed448.PrivateKey(raw))
	sign := func(m []byte) ([]byte, error) { return ed448.Sign(key, m, ""), nil }
	return &Signer{s, raw, SignaturePublicKey(key.Public().(ed448.PublicKey)), sign}, nil
}

func (s *Suite) mldsaSigner(raw Secret) (*Signer, error) {
	if len(raw) != mldsa44.SeedSize {
		return nil, wrongSize(len(raw), mldsa44.SeedSize)
	}
	pub, key := mldsa44.NewKeyFromSeed((*[mldsa44.SeedSize]byte)(raw))
	sign := func(m []byte) ([]byte, error) {
		sig := make([]byte, mldsa44.SignatureSize)
		err := mldsa44.SignTo(key, m, nil, true, sig)
		return sig, err
	}
	return &Signer{s, raw, pub.Bytes(), sign}, nil
}

func (s *Suite) ecdsaSigner(raw Secret) (*Signer, error) {
	curve := s.curve()
	size := (curve.Params().BitSize + 7) / 8
	if n := size - len(raw); n > 0 && n <= 2 {
		raw = append(make(Secret, n, size), raw...) // encoders that drop leading zeros exist
	}
	key, err := ecdsa.ParseRawPrivateKey(curve, raw)
	if err != nil {
		return nil, fmt.Errorf("parse signature key: %w", err)
	}
	pub, err := key.PublicKey.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encode signature key: %w", err)
	}
	sign := func(m []byte) ([]byte, error) {
		return ecdsa.SignASN1(rand.Reader, key, s.digest(m))
	}
	return &Signer{s, raw, pub, sign}, nil
}

func (s *Suite) curve() elliptic.Curve {
	switch s.row.sign {
	case p256Sign:
		return elliptic.P256()
	case p384Sign:
		return elliptic.P384()
	case p521Sign:
		return elliptic.P521()
	default:
		panic("suite: signature scheme has no curve")
	}
}

// digest hashes a message as the signature scheme wants it, which is not always the
// suite's own hash (RFC 8446 §4.2.3).
func (s *Suite) digest(m []byte) []byte {
	switch s.row.sign {
	case p256Sign:
		d := sha256.Sum256(m)
		return d[:]
	case p384Sign:
		d := sha512.Sum384(m)
		return d[:]
	default:
		d := sha512.Sum512(m)
		return d[:]
	}
}

// VerifyWithLabel checks a signature (RFC 9420 §5.1.2). Its only error is
// ErrSignature.
func (s *Suite) VerifyWithLabel(pub SignaturePublicKey, label string, content, sig []byte) error {
	return s.VerifyFilled(pub, label, sig, func(b []byte) []byte { return append(b, content...) })
}

// VerifyFilled checks the signature of what fill appends.
func (s *Suite) VerifyFilled(pub SignaturePublicKey, label string, sig []byte, fill func(b []byte) []byte) error {
	err := ErrSignature
	codec.Scratch(func(b []byte) []byte { return appendLabelled(b, label, 0, fill) }, func(b []byte) {
		if s.verify(pub, b, sig) {
			err = nil
		}
	})
	return err
}

func (s *Suite) verify(pub SignaturePublicKey, message, sig []byte) bool {
	switch s.row.sign {
	case ed25519Sign:
		return len(pub) == ed25519.PublicKeySize && ed25519.Verify(ed25519.PublicKey(pub), message, sig)
	case ed448Sign:
		return len(pub) == ed448.PublicKeySize && ed448.Verify(ed448.PublicKey(pub), message, sig, "")
	case mldsa44Sign:
		var key mldsa44.PublicKey
		return key.UnmarshalBinary(pub) == nil && mldsa44.Verify(&key, message, nil, sig)
	default:
		key, err := ecdsa.ParseUncompressedPublicKey(s.curve(), pub)
		return err == nil && ecdsa.VerifyASN1(key, s.digest(message), sig)
	}
}

// CheckSignatureKey reports whether pub is a well-formed public key of the scheme, and one
// that somebody must hold the private key of.
func (s *Suite) CheckSignatureKey(pub SignaturePublicKey) error {
	var size int
	switch s.row.sign {
	case ed25519Sign:
		size = ed25519.PublicKeySize
	case ed448Sign:
		size = ed448.PublicKeySize
	case mldsa44Sign:
		size = mldsa44.PublicKeySize
	default:
		_, err := ecdsa.ParseUncompressedPublicKey(s.curve(), pub)
		return err
	}
	if len(pub) != size {
		return wrongSize(len(pub), size)
	}
	switch s.row.sign {
	case ed25519Sign:
		return ed25519Curve.check(pub)
	case ed448Sign:
		return ed448Curve.check(pub)
	default:
		return nil
	}
}
