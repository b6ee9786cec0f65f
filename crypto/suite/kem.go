package suite

import (
	"crypto/hkdf"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha3"
	"crypto/sha512"
	"errors"
	"fmt"
	"sync"

	"github.com/cloudflare/circl/dh/x448"
	chpke "github.com/cloudflare/circl/hpke"
	ckem "github.com/cloudflare/circl/kem"
)

// PublicKey is an encoded HPKE public key (RFC 9420 §5.1.1).
type PublicKey []byte

// PrivateKey is an HPKE private key of one suite. Parsing can cost a scalar
// multiplication, so it happens once, on first use. Safe for concurrent use.
type PrivateKey struct {
	s   *Suite
	raw Secret

	once   sync.Once
	parsed any // what the kem made of raw; written under once
	public PublicKey
	err    error
}

// Format shows nothing of the key.
func (k *PrivateKey) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// Bytes returns the key's encoding, which is secret.
func (k *PrivateKey) Bytes() Secret { return k.raw }

// Public returns the matching public key, or an error if the private key is malformed.
func (k *PrivateKey) Public() (PublicKey, error) {
	k.load()
	return k.public, k.err
}

// Clone returns a key that stays when this one's bytes are erased.
func (k *PrivateKey) Clone() *PrivateKey {
	k.load()
	return &PrivateKey{s: k.s, raw: append(Secret(nil), k.raw...), parsed: k.parsed, public: k.public, err: k.err}
}

func (k *PrivateKey) load() {
	k.once.Do(func() {
		if k.parsed == nil {
			k.parsed, k.public, k.err = k.s.kem.parse(k.raw)
		}
	})
}

// Ciphertext is an HPKECiphertext (RFC 9420 §7.6).
type Ciphertext struct {
	KEMOutput  []byte
	Ciphertext []byte
}

// kem is the HPKE of one suite in base mode. Parsed keys are opaque to the caller.
type kem interface {
	generate() (parsed any, raw Secret, pub PublicKey, err error)
	derivePair(ikm Secret) (parsed any, raw Secret, pub PublicKey, err error)
	parse(raw Secret) (parsed any, pub PublicKey, err error)
	check(pub PublicKey) error
	seal(pub PublicKey, info, plaintext []byte) (Ciphertext, error)
	open(parsed any, c Ciphertext, info []byte) ([]byte, error)
	exportSend(pub PublicKey, label string, length int) (secret Secret, enc []byte, err error)
	exportReceive(parsed any, enc []byte, label string, length int) (Secret, error)
}

// NewPrivateKey wraps an encoded private key. Whether it is well formed shows when it
// is used.
func (s *Suite) NewPrivateKey(raw Secret) *PrivateKey { return &PrivateKey{s: s, raw: raw} }

func (s *Suite) wrap(parsed any, raw Secret, pub PublicKey) *PrivateKey {
	return &PrivateKey{s: s, raw: raw, parsed: parsed, public: pub}
}

// GenerateKeyPair makes a fresh HPKE key pair.
func (s *Suite) GenerateKeyPair() (*PrivateKey, PublicKey, error) {
	parsed, raw, pub, err := s.kem.generate()
	if err != nil {
		return nil, nil, fmt.Errorf("generate hpke key: %w", err)
	}
	return s.wrap(parsed, raw, pub), pub, nil
}

// DeriveKeyPair derives an HPKE key pair from a secret (RFC 9420 §5.1, §7.4).
func (s *Suite) DeriveKeyPair(ikm Secret) (*PrivateKey, PublicKey, error) {
	parsed, raw, pub, err := s.kem.derivePair(ikm)
	if err != nil {
		return nil, nil, fmt.Errorf("derive hpke key: %w", err)
	}
	return s.wrap(parsed, raw, pub), pub, nil
}

// CheckPublicKey reports whether pub is a well-formed HPKE public key of the suite.
func (s *Suite) CheckPublicKey(pub PublicKey) error { return s.kem.check(pub) }

// EncryptWithLabel seals plaintext to pub (RFC 9420 §5.1.3).
func (s *Suite) EncryptWithLabel(pub PublicKey, label string, context, plaintext []byte) (Ciphertext, error) {
	var c Ciphertext
	var err error
	labelled(label, context, func(info []byte) { c, err = s.kem.seal(pub, info, plaintext) })
	if err != nil {
		return Ciphertext{}, fmt.Errorf("seal to public key: %w", err)
	}
	return c, nil
}

// DecryptWithLabel opens c (RFC 9420 §5.1.3). Its only error is ErrOpen.
func (s *Suite) DecryptWithLabel(priv *PrivateKey, label string, context []byte, c Ciphertext) (Secret, error) {
	if priv.load(); priv.err != nil {
		return nil, ErrOpen
	}
	var out Secret
	var err error
	labelled(label, context, func(info []byte) { out, err = s.kem.open(priv.parsed, c, info) })
	if err != nil {
		return nil, ErrOpen
	}
	return out, nil
}

// externalInitLabel is the HPKE export label of RFC 9420 §8.3.
const externalInitLabel = "MLS 1.0 external init secret"

// ExternalInitSend makes a fresh init secret for the holders of pub (RFC 9420 §8.3).
func (s *Suite) ExternalInitSend(pub PublicKey) (initSecret Secret, kemOutput []byte, err error) {
	initSecret, kemOutput, err = s.kem.exportSend(pub, externalInitLabel, s.nh)
	if err != nil {
		return nil, nil, fmt.Errorf("export init secret: %w", err)
	}
	return initSecret, kemOutput, nil
}

// ExternalInitReceive recovers the init secret of an external commit. Its only error
// is ErrOpen.
func (s *Suite) ExternalInitReceive(priv *PrivateKey, kemOutput []byte) (Secret, error) {
	if priv.load(); priv.err != nil {
		return nil, ErrOpen
	}
	out, err := s.kem.exportReceive(priv.parsed, kemOutput, externalInitLabel, s.nh)
	if err != nil {
		return nil, ErrOpen
	}
	return out, nil
}

// stdKEM is HPKE from the standard library.
type stdKEM struct {
	kem        hpke.KEM
	kdf        hpke.KDF
	aead       hpke.AEAD
	derive     derive
	secretSize int  // bytes of an encoded private key
	x25519     bool // the public key is, or ends in, an X25519 key
	hybrid     bool // X-Wing
}

func (k stdKEM) unpack(priv hpke.PrivateKey, err error) (any, Secret, PublicKey, error) {
	if err != nil {
		return nil, nil, nil, err
	}
	raw, err := priv.Bytes()
	if err != nil {
		return nil, nil, nil, err
	}
	return priv, raw, priv.PublicKey().Bytes(), nil
}

func (k stdKEM) generate() (any, Secret, PublicKey, error) { return k.unpack(k.kem.GenerateKey()) }

func (k stdKEM) derivePair(ikm Secret) (any, Secret, PublicKey, error) {
	if k.derive == unlabelled {
		return k.unpack(k.kem.NewPrivateKey(sha3.SumSHAKE256(ikm, k.secretSize)))
	}
	return k.unpack(k.kem.DeriveKeyPair(ikm))
}

func (k stdKEM) parse(raw Secret) (any, PublicKey, error) {
	// Encoders that drop leading zero bytes exist (P-521 keys of 65 bytes).
	if n := k.secretSize - len(raw); n > 0 && n <= 2 {
		raw = append(make(Secret, n, k.secretSize), raw...)
	}
	priv, err := k.kem.NewPrivateKey(raw)
	if err != nil {
		return nil, nil, err
	}
	return priv, priv.PublicKey().Bytes(), nil
}

func (k stdKEM) check(pub PublicKey) error {
	if k.hybrid {
		if !wellFormedXWing(pub) {
			return errors.New("public key is malformed")
		}
	} else if _, err := k.kem.NewPublicKey(pub); err != nil {
		return err
	}
	if k.x25519 && lowOrder(pub[len(pub)-32:]) { // the last component of X-Wing
		return errors.New("public key has low order")
	}
	return nil
}

// Sizes of an X-Wing public key, in bytes (draft-connolly-cfrg-xwing-kem §5.4).
const (
	xwingSize = 1216
	ringSize  = 1152 // of the ML-KEM part: 768 coefficients of 12 bits
	modulus   = 3329
)

// wellFormedXWing makes the checks of FIPS 203 §7.2: length, and coefficients below the
// modulus. The standard library makes the same, but also expands the matrix, which takes
// as long as verifying a signature; a joiner checks the keys of every member.
func wellFormedXWing(pub []byte) bool {
	if len(pub) != xwingSize {
		return false
	}
	for i := 0; i < ringSize; i += 3 {
		a := uint16(pub[i]) | uint16(pub[i+1]&0x0f)<<8
		b := uint16(pub[i+1])>>4 | uint16(pub[i+2])<<4
		if a >= modulus || b >= modulus {
			return false
		}
	}
	return true
}

// lowOrder reports whether an X25519 public key gives the all-zero secret with every
// private key (RFC 7748 §6.1), so that sealing to it fails. A member who could publish
// one would stop the others from committing.
func lowOrder(pub []byte) bool {
	point := [32]byte(pub)
	point[31] &= 0x7f // ignored by RFC 7748
	for _, bad := range lowOrderPoints() {
		if point == bad {
			return true
		}
	}
	return false
}

// lowOrderPoints are the seven encodings of points of order 1, 2, 4 and 8 on Curve25519
// and its twist, those not reduced modulo p = 2^255-19 included.
func lowOrderPoints() [7][32]byte {
	nearP := func(first byte) (p [32]byte) {
		for i := range p {
			p[i] = 0xff
		}
		p[0], p[31] = first, 0x7f
		return p
	}
	return [7][32]byte{
		{},
		{1},
		nearP(0xec), nearP(0xed), nearP(0xee),
		{
			0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a,
			0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
		},
		{
			0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b,
			0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
		},
	}
}

func (k stdKEM) seal(pub PublicKey, info, plaintext []byte) (Ciphertext, error) {
	key, err := k.kem.NewPublicKey(pub)
	if err != nil {
		return Ciphertext{}, err
	}
	enc, sender, err := hpke.NewSender(key, k.kdf, k.aead, info)
	if err != nil {
		return Ciphertext{}, err
	}
	ct, err := sender.Seal(nil, plaintext)
	return Ciphertext{enc, ct}, err
}

func (k stdKEM) open(parsed any, c Ciphertext, info []byte) ([]byte, error) {
	r, err := hpke.NewRecipient(c.KEMOutput, parsed.(hpke.PrivateKey), k.kdf, k.aead, info)
	if err != nil {
		return nil, err
	}
	return r.Open(nil, c.Ciphertext)
}

func (k stdKEM) exportSend(pub PublicKey, label string, length int) (Secret, []byte, error) {
	key, err := k.kem.NewPublicKey(pub)
	if err != nil {
		return nil, nil, err
	}
	enc, sender, err := hpke.NewSender(key, k.kdf, k.aead, nil)
	if err != nil {
		return nil, nil, err
	}
	secret, err := sender.Export(label, length)
	return secret, enc, err
}

func (k stdKEM) exportReceive(parsed any, enc []byte, label string, length int) (Secret, error) {
	r, err := hpke.NewRecipient(enc, parsed.(hpke.PrivateKey), k.kdf, k.aead, nil)
	if err != nil {
		return nil, err
	}
	return r.Export(label, length)
}

// x448KEM is HPKE over X448, which the standard library lacks. Its DeriveKeyPair is
// ours (RFC 9180 §7.1.3): the one of circl panics unless ikm has exactly 56 bytes, and
// MLS hands it Nh = 64.
type x448KEM struct {
	scheme ckem.Scheme
	suite  chpke.Suite
}

func newX448KEM(kdf chpke.KDF, aead chpke.AEAD) kem {
	id := chpke.KEM_X448_HKDF_SHA512
	return x448KEM{id.Scheme(), chpke.NewSuite(id, kdf, aead)}
}

func (k x448KEM) generate() (any, Secret, PublicKey, error) {
	return k.fromRaw(Random(x448.Size))
}

func (k x448KEM) fromRaw(raw Secret) (any, Secret, PublicKey, error) {
	parsed, pub, err := k.parse(raw)
	return parsed, raw, pub, err
}

func (k x448KEM) derivePair(ikm Secret) (any, Secret, PublicKey, error) {
	const suiteID = "KEM\x00\x21"
	prk, err := hkdf.Extract(sha512.New, []byte("HPKE-v1"+suiteID+"dkp_prk"+string(ikm)), nil)
	if err != nil {
		return nil, nil, nil, err
	}
	raw, err := hkdf.Expand(sha512.New, prk, "\x00\x38HPKE-v1"+suiteID+"sk", x448.Size)
	if err != nil {
		return nil, nil, nil, err
	}
	return k.fromRaw(raw)
}

func (k x448KEM) parse(raw Secret) (any, PublicKey, error) {
	priv, err := k.scheme.UnmarshalBinaryPrivateKey(raw)
	if err != nil {
		return nil, nil, err
	}
	pub, err := priv.Public().MarshalBinary()
	return priv, pub, err
}

func (k x448KEM) check(pub PublicKey) error {
	if _, err := k.scheme.UnmarshalBinaryPublicKey(pub); err != nil {
		return err
	}
	// A low-order key gives the all-zero secret with every private key.
	var shared, secret, point x448.Key
	copy(point[:], pub)
	secret[0] = 4
	if !x448.Shared(&shared, &secret, &point) {
		return errors.New("public key has low order")
	}
	return nil
}

func (k x448KEM) sender(pub PublicKey, info []byte) (enc []byte, s chpke.Sealer, err error) {
	key, err := k.scheme.UnmarshalBinaryPublicKey(pub)
	if err != nil {
		return nil, nil, err
	}
	sender, err := k.suite.NewSender(key, info)
	if err != nil {
		return nil, nil, err
	}
	return sender.Setup(rand.Reader)
}

func (k x448KEM) receiver(parsed any, enc, info []byte) (chpke.Opener, error) {
	if len(enc) != x448.Size {
		return nil, errors.New("kem output has the wrong length")
	}
	r, err := k.suite.NewReceiver(parsed.(ckem.PrivateKey), info)
	if err != nil {
		return nil, err
	}
	return r.Setup(enc)
}

func (k x448KEM) seal(pub PublicKey, info, plaintext []byte) (Ciphertext, error) {
	enc, s, err := k.sender(pub, info)
	if err != nil {
		return Ciphertext{}, err
	}
	ct, err := s.Seal(plaintext, nil)
	return Ciphertext{enc, ct}, err
}

func (k x448KEM) open(parsed any, c Ciphertext, info []byte) ([]byte, error) {
	r, err := k.receiver(parsed, c.KEMOutput, info)
	if err != nil {
		return nil, err
	}
	return r.Open(c.Ciphertext, nil)
}

func (k x448KEM) exportSend(pub PublicKey, label string, length int) (Secret, []byte, error) {
	enc, s, err := k.sender(pub, nil)
	if err != nil {
		return nil, nil, err
	}
	return s.Export([]byte(label), uint(length)), enc, nil
}

func (k x448KEM) exportReceive(parsed any, enc []byte, label string, length int) (Secret, error) {
	r, err := k.receiver(parsed, enc, nil)
	if err != nil {
		return nil, err
	}
	return r.Export([]byte(label), uint(length)), nil
}
