package account

import (
	"bytes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha512"
	"encoding/binary"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
)

// A wrapped setup, the secret record that the log carries, is
//
//	magic (4) ‖ format (1) ‖ version (4) ‖ nonce (24) ‖ XChaCha20-Poly1305(setup) ‖ tag (16)
//
// under a key derived from the cluster key with HKDF-SHA-512, so that the
// cluster key itself keys no cipher. Everything before the nonce is associated
// data: an old record cannot pass for a new version. 24-byte nonces may be
// drawn at random without a limit to count.
const (
	wrapMagic  = "qpqS"
	wrapFormat = 1
	wrapHeader = len(wrapMagic) + 1 + 4
	wrapInfo   = "qpq opaque setup wrap v1"
	// WrappedSetupSize is the length of a wrapped setup in bytes.
	WrappedSetupSize = wrapHeader + chacha20poly1305.NonceSizeX + setupSize + chacha20poly1305.Overhead
)

// Wrap encrypts the setup under the cluster key (KEK), for the replicated state.
// Wrap with another key to move to it.
func (s *Setup) Wrap(kek [32]byte) []byte {
	plain := s.encode()
	defer clear(plain)
	b := make([]byte, 0, WrappedSetupSize)
	b = append(b, wrapMagic...)
	b = append(b, wrapFormat)
	b = binary.BigEndian.AppendUint32(b, s.version)
	return sealRandom(wrapAEAD(kek), b, plain)
}

// Unwrap decrypts a secret record. All its errors are [ErrSetup].
func Unwrap(kek [32]byte, wrapped []byte) (*Setup, error) {
	version, err := WrappedVersion(wrapped)
	if err != nil {
		return nil, err
	}
	plain, ok := openRandom(wrapAEAD(kek), wrapped, wrapHeader)
	if !ok {
		return nil, fmt.Errorf("%w: wrong cluster key or damaged record", ErrSetup)
	}
	defer clear(plain)
	s, err := decodeSetup(plain)
	if err != nil {
		return nil, err
	}
	if s.version != version {
		return nil, fmt.Errorf("%w: version %d in a record of version %d", ErrSetup, s.version, version)
	}
	return s, nil
}

// WrappedVersion reads the version of a secret record without opening it, for a
// store that holds no key: a newer version replaces an older one. It is not
// authenticated; [Unwrap] does that. All its errors are [ErrSetup].
func WrappedVersion(wrapped []byte) (uint32, error) {
	if len(wrapped) < wrapHeader || !bytes.HasPrefix(wrapped, []byte(wrapMagic)) {
		return 0, fmt.Errorf("%w: not a wrapped opaque setup", ErrSetup)
	}
	if f := wrapped[len(wrapMagic)]; f != wrapFormat {
		return 0, fmt.Errorf("%w: wrap format %d, this program knows %d: upgrade it", ErrSetup, f, wrapFormat)
	}
	if len(wrapped) != WrappedSetupSize {
		return 0, fmt.Errorf("%w: it has %d bytes, want %d", ErrSetup, len(wrapped), WrappedSetupSize)
	}
	return binary.BigEndian.Uint32(wrapped[len(wrapMagic)+1:]), nil
}

func wrapAEAD(kek [32]byte) cipher.AEAD {
	key, err := hkdf.Key(sha512.New, kek[:], nil, wrapInfo, chacha20poly1305.KeySize)
	if err != nil {
		panic("derive 32 bytes: " + err.Error())
	}
	defer clear(key)
	return newAEAD(key)
}

func newAEAD(key []byte) cipher.AEAD {
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		panic("a key of 32 bytes: " + err.Error())
	}
	return aead
}

// sealRandom appends nonce and ciphertext to header, which it authenticates.
func sealRandom(aead cipher.AEAD, header, plain []byte) []byte {
	n := len(header)
	var nonce [chacha20poly1305.NonceSizeX]byte
	fill(nonce[:])
	out := append(header, nonce[:]...) //nolint:gocritic // the header grows into the result
	return aead.Seal(out, nonce[:], plain, out[:n])
}

// openRandom opens what sealRandom made with a header of n bytes. The caller
// has checked that sealed is longer than header and nonce.
func openRandom(aead cipher.AEAD, sealed []byte, n int) (plain []byte, ok bool) {
	nonce := sealed[n : n+chacha20poly1305.NonceSizeX]
	plain, err := aead.Open(nil, nonce, sealed[n+len(nonce):], sealed[:n])
	return plain, err == nil
}
