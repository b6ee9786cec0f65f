package suite

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"

	chpke "github.com/cloudflare/circl/hpke"
	"golang.org/x/crypto/chacha20poly1305"
)

// ID is an MLS cipher suite number (RFC 9420 §17.1).
type ID uint16

// The suites in the table. Numbers from 0x004D on are not assigned by IANA.
const (
	X25519AES128SHA256Ed25519   ID = 0x0001
	P256AES128SHA256P256        ID = 0x0002
	X25519ChaChaSHA256Ed25519   ID = 0x0003
	X448AES256SHA512Ed448       ID = 0x0004
	P521AES256SHA512P521        ID = 0x0005
	X448ChaChaSHA512Ed448       ID = 0x0006
	P384AES256SHA384P384        ID = 0x0007
	LegacyXWingChaChaSHA256     ID = 0x004D
	MLKEM768X25519AES256SHA384  ID = 0x004E
	MLKEM768X25519AES128SHA256  ID = 0x004F
	MLKEM768X25519ChaChaMLDSA44 ID = 0x0052
	XWingAES256SHA512Ed25519    ID = 0xF00D
	XWingChaChaSHA512Ed25519    ID = 0xF00E
	Default                        = MLKEM768X25519AES128SHA256
)

type (
	kemName  uint8
	hashName uint8
	aeadName uint8
	signName uint8
	derive   uint8
)

const (
	kemX25519 kemName = iota
	kemP256
	kemP384
	kemP521
	kemX448
	kemXWing // ML-KEM-768 with X25519, KEM id 0x647a
)

const (
	sha2x256 hashName = iota
	sha2x384
	sha2x512
)

const (
	aes128 aeadName = iota
	aes256
	chacha
)

const (
	ed25519Sign signName = iota
	ed448Sign
	p256Sign
	p384Sign
	p521Sign
	mldsa44Sign
)

// How DeriveKeyPair turns a node secret into a key pair.
const (
	labelled9180 derive = iota // RFC 9180 §7.1.3; for 0x647a draft-ietf-hpke-pq
	unlabelled                 // draft-connolly-cfrg-xwing-kem: SHAKE256(ikm, 32)
)

type row struct {
	id     ID
	name   string
	kem    kemName
	derive derive
	aead   aeadName
	hash   hashName
	sign   signName
}

var rows = [...]row{
	{X25519AES128SHA256Ed25519, "MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519", kemX25519, labelled9180, aes128, sha2x256, ed25519Sign},
	{P256AES128SHA256P256, "MLS_128_DHKEMP256_AES128GCM_SHA256_P256", kemP256, labelled9180, aes128, sha2x256, p256Sign},
	{X25519ChaChaSHA256Ed25519, "MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519", kemX25519, labelled9180, chacha, sha2x256, ed25519Sign},
	{X448AES256SHA512Ed448, "MLS_256_DHKEMX448_AES256GCM_SHA512_Ed448", kemX448, labelled9180, aes256, sha2x512, ed448Sign},
	{P521AES256SHA512P521, "MLS_256_DHKEMP521_AES256GCM_SHA512_P521", kemP521, labelled9180, aes256, sha2x512, p521Sign},
	{X448ChaChaSHA512Ed448, "MLS_256_DHKEMX448_CHACHA20POLY1305_SHA512_Ed448", kemX448, labelled9180, chacha, sha2x512, ed448Sign},
	{P384AES256SHA384P384, "MLS_256_DHKEMP384_AES256GCM_SHA384_P384", kemP384, labelled9180, aes256, sha2x384, p384Sign},
	// draft-ietf-mls-pq-ciphersuites TBD1, TBD2, TBD9.
	{MLKEM768X25519AES128SHA256, "MLS_128_MLKEM768X25519_AES128GCM_SHA256_Ed25519", kemXWing, labelled9180, aes128, sha2x256, ed25519Sign},
	{MLKEM768X25519AES256SHA384, "MLS_128_MLKEM768X25519_AES256GCM_SHA384_Ed25519", kemXWing, labelled9180, aes256, sha2x384, ed25519Sign},
	{MLKEM768X25519ChaChaMLDSA44, "MLS_128_MLKEM768X25519_CHACHA20POLY1305_SHA384_MLDSA44", kemXWing, labelled9180, chacha, sha2x384, mldsa44Sign},
	// Suites of other stacks from before the draft.
	{LegacyXWingChaChaSHA256, "MLS_256_XWING_CHACHA20POLY1305_SHA256_Ed25519", kemXWing, unlabelled, chacha, sha2x256, ed25519Sign},
	{XWingAES256SHA512Ed25519, "MLS_256_XWING_AES256GCM_SHA512_Ed25519", kemXWing, unlabelled, aes256, sha2x512, ed25519Sign},
	{XWingChaChaSHA512Ed25519, "MLS_256_XWING_CHACHA20POLY1305_SHA512_Ed25519", kemXWing, unlabelled, chacha, sha2x512, ed25519Sign},
}

// aliases are rows under numbers that one old stack gave them and others use otherwise:
// they can be looked up by whoever talks to that stack, and are not in All.
var aliases = [...]row{
	{tsmlsXWingAES256, "XWING_AES256GCM_SHA512_Ed25519 as numbered by ts-mls 1.x", kemXWing, unlabelled, aes256, sha2x512, ed25519Sign},
	{tsmlsXWingChaCha, "XWING_CHACHA20POLY1305_SHA512_Ed25519 as numbered by ts-mls 1.x", kemXWing, unlabelled, chacha, sha2x512, ed25519Sign},
}

const (
	tsmlsXWingAES256 ID = 0x0053
	tsmlsXWingChaCha ID = 0x0054
)

// built is written once here and read only.
var built = buildAll()

func buildAll() map[ID]*Suite {
	m := make(map[ID]*Suite, len(rows))
	for _, r := range rows {
		m[r.id] = build(r)
	}
	for _, r := range aliases {
		m[r.id] = build(r)
	}
	return m
}

// UnknownError says that a suite number is not in the table.
type UnknownError ID

func (e UnknownError) Error() string {
	return fmt.Sprintf("cipher suite 0x%04x is unknown: use one of suite.All", uint16(e))
}

// Lookup returns the suite with the given number or an UnknownError.
func Lookup(id ID) (*Suite, error) {
	if s, ok := built[id]; ok {
		return s, nil
	}
	return nil, UnknownError(id)
}

// All returns the numbers of all suites, in the order of the table, aliases aside.
func All() []ID {
	ids := make([]ID, len(rows))
	for i, r := range rows {
		ids[i] = r.id
	}
	return ids
}

func build(r row) *Suite {
	s := &Suite{row: r}
	var kdf hpke.KDF
	switch r.hash {
	case sha2x256:
		s.newHash, s.nh, kdf = sha256.New, sha256.Size, hpke.HKDFSHA256()
	case sha2x384:
		s.newHash, s.nh, kdf = sha512.New384, sha512.Size384, hpke.HKDFSHA384()
	default:
		s.newHash, s.nh, kdf = sha512.New, sha512.Size, hpke.HKDFSHA512()
	}
	var aead hpke.AEAD
	switch r.aead {
	case aes128:
		s.newAEAD, s.nk, aead = newGCM, 16, hpke.AES128GCM()
	case aes256:
		s.newAEAD, s.nk, aead = newGCM, 32, hpke.AES256GCM()
	default:
		s.newAEAD, s.nk, aead = chacha20poly1305.New, chacha20poly1305.KeySize, hpke.ChaCha20Poly1305()
	}
	s.hashes.New = func() any { return &hmacState{h: s.newHash()} }
	s.kem = buildKEM(r, kdf, aead)
	return s
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func buildKEM(r row, kdf hpke.KDF, aead hpke.AEAD) kem {
	std := stdKEM{kdf: kdf, aead: aead, derive: r.derive}
	switch r.kem {
	case kemX25519:
		std.kem, std.secretSize, std.x25519 = hpke.DHKEM(ecdh.X25519()), 32, true
	case kemP256:
		std.kem, std.secretSize = hpke.DHKEM(ecdh.P256()), 32
	case kemP384:
		std.kem, std.secretSize = hpke.DHKEM(ecdh.P384()), 48
	case kemP521:
		std.kem, std.secretSize = hpke.DHKEM(ecdh.P521()), 66
	case kemX448:
		return newX448KEM(chpke.KDF(kdf.ID()), chpke.AEAD(aead.ID()))
	default:
		std.kem, std.secretSize, std.x25519, std.hybrid = hpke.MLKEM768X25519(), 32, true, true
	}
	return std
}
