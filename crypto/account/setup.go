package account

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"log/slog"

	"github.com/gtank/ristretto255"
)

// Setup holds the OPAQUE secrets of a cluster, created once by [NewSetup] and
// the same on every node. It prints as [redacted]; [Setup.Wrap] is the only way
// to write it. It is immutable and safe for concurrent use until
// [Setup.Destroy].
//
// Key pair, OPRF seed, name secret and fake record live as long as the cluster:
// the first two are inside every account's record, the others in the answers to
// unknown names, which must not change. Only the handshake key rotates.
type Setup struct {
	// version counts handshake keys, from 1. It is the version of the wrapped
	// secret record.
	version uint32
	akeSeed [nok]byte // seed of the AKE key pair, RFC 9807 §6.4.1
	// oprfSeed: with it and the records, passwords can be guessed offline.
	oprfSeed   [nh]byte
	nameSecret [32]byte                     // gives credential identifiers
	fake       [RegistrationUploadSize]byte // what unknown names log in with, and never can
	handshake  [32]byte                     // seals what version has begun
	previous   [32]byte                     // seals what version-1 has begun; zero in version 1
}

// A setup encodes as
//
//	magic (4) ‖ format (1) ‖ suite (1) ‖ version (4) ‖ AKE seed (32) ‖ OPRF seed (64) ‖ name secret (32) ‖ fake record (192) ‖ handshake key (32) ‖ previous (32)
//
// big-endian, and each setup has exactly one encoding.
const (
	setupMagic  = "qpqO"
	setupFormat = 1
	setupSize   = len(setupMagic) + 1 + 1 + 4 + nok + nh + 32 + RegistrationUploadSize + 32 + 32
)

// NewSetup draws the secrets of a new cluster.
func NewSetup() *Setup {
	s := &Setup{version: 1}
	for _, secret := range [][]byte{s.akeSeed[:], s.oprfSeed[:], s.nameSecret[:], s.handshake[:]} {
		fill(secret)
	}
	s.drawFake()
	return s
}

// drawFake makes the record that stands in for those that do not exist: its
// public key is hashed to the group, so nobody ever knew the private one, and
// its envelope is zero (RFC 9807 §6.3.2.2), which the mask hides.
func (s *Setup) drawFake() {
	var uniform [64]byte
	fill(uniform[:])
	public, err := ristretto255.NewIdentityElement().SetUniformBytes(uniform[:])
	if err != nil {
		panic("64 bytes map to the group: " + err.Error())
	}
	copy(s.fake[:], public.Bytes())
	fill(s.fake[elementSize : elementSize+nh])
}

// fill draws random bytes. crypto/rand ends the process rather than fail.
func fill(b []byte) { _, _ = rand.Read(b) }

// Rotate returns the next version: a new handshake key, the present one kept so
// that logins under way still finish. Rotate twice within [HandshakeLifetime]
// and those begun before the first rotation start again.
func (s *Setup) Rotate() *Setup {
	next := *s
	next.version++
	next.previous = s.handshake
	fill(next.handshake[:])
	return &next
}

// Version is the version of the secret record: 1, and one more for each rotation.
func (s *Setup) Version() uint32 { return s.version }

// Destroy overwrites the secrets. The setup must not be used afterwards.
func (s *Setup) Destroy() { *s = Setup{} }

// serverKey derives the AKE key pair.
func (s *Setup) serverKey() *serverKey {
	secret := deriveScalar(s.akeSeed[:], infoDHKey)
	key := &serverKey{secret: secret}
	copy(key.public[:], ristretto255.NewIdentityElement().ScalarBaseMult(secret).Bytes())
	key.identity = string(key.public[:])
	return key
}

// credentialID is RFC 9807's credential_identifier: 43 characters of base64url,
// so that implementations whose interface takes text can hold the same records.
type credentialID [43]byte

// credentialID derives the identifier of a name (HKDF-SHA-512 of the name
// secret). It depends on nothing else: a name that nobody has, one just
// registered and one with a new password are evaluated alike.
func (s *Setup) credentialID(name Username) credentialID {
	raw, err := hkdf.Expand(sha512.New, s.nameSecret[:], "qpq credential identifier v1\x00"+name.canonical, 32)
	if err != nil {
		panic("expand 32 bytes: " + err.Error())
	}
	var id credentialID
	base64.RawURLEncoding.Encode(id[:], raw)
	return id
}

// encode returns the canonical encoding, in the clear: for [Setup.Wrap] only.
func (s *Setup) encode() []byte {
	b := make([]byte, 0, setupSize)
	b = append(b, setupMagic...)
	b = append(b, setupFormat, byte(SuiteRistretto255))
	b = binary.BigEndian.AppendUint32(b, s.version)
	for _, field := range s.fields() {
		b = append(b, field...)
	}
	return b
}

func (s *Setup) fields() [][]byte {
	return [][]byte{s.akeSeed[:], s.oprfSeed[:], s.nameSecret[:], s.fake[:], s.handshake[:], s.previous[:]}
}

// decodeSetup reads encode's bytes. All its errors are [ErrSetup].
func decodeSetup(b []byte) (*Setup, error) {
	if len(b) < len(setupMagic)+2 || !bytes.HasPrefix(b, []byte(setupMagic)) {
		return nil, fmt.Errorf("%w: not an opaque setup", ErrSetup)
	}
	if f, suite := b[4], Suite(b[5]); f != setupFormat || suite != SuiteRistretto255 {
		return nil, fmt.Errorf("%w: format %d suite %d, this program knows %d and %d: upgrade it", ErrSetup, f, suite, setupFormat, SuiteRistretto255)
	}
	if len(b) != setupSize {
		return nil, fmt.Errorf("%w: it has %d bytes, want %d", ErrSetup, len(b), setupSize)
	}
	s := &Setup{version: binary.BigEndian.Uint32(b[6:])}
	at := 10
	for _, field := range s.fields() {
		at += copy(field, b[at:])
	}
	if err := s.check(); err != nil {
		s.Destroy()
		return nil, err
	}
	return s, nil
}

// check refuses what NewSetup and Rotate cannot have made.
func (s *Setup) check() error {
	if s.version == 0 || (s.version == 1) != allZero(s.previous[:]) {
		return fmt.Errorf("%w: version %d does not fit its handshake keys", ErrSetup, s.version)
	}
	for _, secret := range [][]byte{s.akeSeed[:], s.oprfSeed[:], s.nameSecret[:], s.handshake[:]} {
		if allZero(secret) {
			return fmt.Errorf("%w: a secret is all zero", ErrSetup)
		}
	}
	if _, err := decodeRegistration(s.fake[:]); err != nil {
		return fmt.Errorf("%w: its fake record is damaged", ErrSetup)
	}
	return nil
}

// String keeps the secrets out of logs and errors.
func (*Setup) String() string { return redacted }

// GoString keeps the secrets out of %#v.
func (*Setup) GoString() string { return redacted }

// Format keeps the secrets out of every verb. It has a value receiver so that
// a dereferenced setup does not print either.
func (Setup) Format(f fmt.State, _ rune) { writeRedacted(f) }

// LogValue keeps the secrets out of slog.
func (Setup) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText keeps the secrets out of JSON and every other text encoding.
func (Setup) MarshalText() ([]byte, error) { return []byte(redacted), nil }
