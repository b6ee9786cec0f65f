package suite_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/hex"
	"strings"
	"testing"

	"filippo.io/edwards25519"

	"quicproquo/crypto/suite"
)

// torsion returns the points of Ed25519 whose order divides 8, found by multiplying
// points by the order of the prime subgroup.
func torsion(t *testing.T) map[string]bool {
	t.Helper()
	one, err := edwards25519.NewScalar().SetCanonicalBytes(append([]byte{1}, make([]byte, 31)...))
	if err != nil {
		t.Fatal(err)
	}
	minusOne := edwards25519.NewScalar().Negate(one)
	found := map[string]bool{}
	for i := 0; len(found) < 8 && i < 1000; i++ {
		seed := sha512.Sum512([]byte{byte(i), byte(i >> 8)})
		p, err := new(edwards25519.Point).SetBytes(seed[:32])
		if err != nil {
			continue // half of all strings are no points
		}
		q := new(edwards25519.Point).ScalarMult(minusOne, p)
		found[string(q.Add(q, p).Bytes())] = true
	}
	if len(found) != 8 {
		t.Fatalf("found %d points of small order, want 8", len(found))
	}
	return found
}

func lookup(t *testing.T, id suite.ID) *suite.Suite {
	t.Helper()
	s, err := suite.Lookup(id)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// refusedKey fails the test unless an encoding, with either sign, is refused with words.
func refusedKey(t *testing.T, s *suite.Suite, key []byte, words string) {
	t.Helper()
	for _, sign := range []byte{0, 0x80} {
		k := bytes.Clone(key)
		k[len(k)-1] ^= sign
		if err := s.CheckSignatureKey(k); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("key %x: got %v, want one that says %q", k, err, words)
		}
	}
}

// Public keys of Ed25519 with small order, in every encoding, are refused: with such a
// key anybody signs anything. So are those that are not reduced. Generated keys pass.
func TestEd25519SmallOrderKeys(t *testing.T) {
	s := lookup(t, suite.X25519AES128SHA256Ed25519)
	for key := range torsion(t) {
		refusedKey(t, s, []byte(key), "small order")
	}
	// The identity as a key: the signature of "anything" is R = identity, S = 0.
	forged := make([]byte, ed25519.SignatureSize)
	forged[0] = 1
	if !ed25519.Verify(ed25519.PublicKey(append([]byte{1}, make([]byte, 31)...)), []byte("anything"), forged) {
		t.Error("the library refuses the forged signature by itself: the check may go")
	}
	for first := 0xed; first <= 0xff; first++ {
		key := bytes.Repeat([]byte{0xff}, 32)
		key[0], key[31] = byte(first), 0x7f
		refusedKey(t, s, key, "canonical")
	}
	good := bytes.Repeat([]byte{0xff}, 32)
	good[0], good[31] = 0xeb, 0x7f // one below the largest y
	if err := s.CheckSignatureKey(good); err != nil {
		t.Errorf("a reduced key: %v", err)
	}
}

// The same for Ed448, whose points of small order are y = 0, 1 and -1.
func TestEd448SmallOrderKeys(t *testing.T) {
	s := lookup(t, suite.X448AES256SHA512Ed448)
	prime, err := hex.DecodeString(strings.Repeat("ff", 28) + "fe" + strings.Repeat("ff", 27) + "00")
	if err != nil {
		t.Fatal(err)
	}
	minusOne := bytes.Clone(prime)
	minusOne[0] = 0xfe
	one := append([]byte{1}, make([]byte, 56)...)
	for _, key := range [][]byte{make([]byte, 57), one, minusOne} {
		refusedKey(t, s, key, "small order")
	}
	largest := append(bytes.Repeat([]byte{0xff}, 56), 0)
	high := append(make([]byte, 56), 1)
	for _, key := range [][]byte{prime, largest, high} {
		refusedKey(t, s, key, "canonical")
	}
}

// Keys that are made pass, and one of the wrong length does not.
func TestGeneratedSignatureKeysPass(t *testing.T) {
	each(t, func(t *testing.T, s *suite.Suite) {
		t.Helper()
		for range 8 {
			signer, err := s.GenerateSigner()
			if err != nil {
				t.Fatal(err)
			}
			if err := s.CheckSignatureKey(signer.Public()); err != nil {
				t.Errorf("a generated key: %v", err)
			}
			if s.CheckSignatureKey(signer.Public()[1:]) == nil || s.CheckSignatureKey(append(bytes.Clone(signer.Public()), 0)) == nil {
				t.Error("a key of the wrong length passes")
			}
		}
	})
}
