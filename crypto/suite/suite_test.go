package suite_test

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/hpke"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/suite"
)

func each(t *testing.T, f func(t *testing.T, s *suite.Suite)) {
	t.Helper()
	for _, id := range suite.All() {
		s, err := suite.Lookup(id)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(s.Name(), func(t *testing.T) { f(t, s) })
	}
}

// The table has the thirteen suites, each once, and a name that says what it is.
func TestTable(t *testing.T) {
	seen := map[suite.ID]bool{}
	for _, id := range suite.All() {
		if seen[id] {
			t.Errorf("suite %#x is in the table twice", id)
		}
		seen[id] = true
	}
	if len(seen) != 13 || !seen[suite.Default] {
		t.Errorf("got %d suites, want 13 with the default", len(seen))
	}
	var unknown suite.UnknownError
	if _, err := suite.Lookup(0x7777); !errors.As(err, &unknown) {
		t.Errorf("got %v, want an unknown suite", err)
	}
}

// Signing, sealing and exporting work in every suite, and their failures say one thing.
func TestRoundTrips(t *testing.T) {
	each(t, func(t *testing.T, s *suite.Suite) {
		t.Helper()
		signer, err := s.GenerateSigner()
		if err != nil {
			t.Fatal(err)
		}
		again, err := s.NewSigner(signer.Bytes())
		if err != nil || !bytes.Equal(again.Public(), signer.Public()) {
			t.Fatalf("reload signer: %v", err)
		}
		sig, err := again.SignWithLabel("a", []byte("m"))
		if err != nil || s.VerifyWithLabel(signer.Public(), "a", []byte("m"), sig) != nil {
			t.Fatalf("sign and verify: %v", err)
		}
		signed, err := again.AppendSigned(nil, "a", 0, func(b []byte) []byte { return append(b, 'm') })
		if err != nil || !bytes.Equal(signed.Wire(), codec.Bytes([]byte("m"), signed.Signature)) ||
			s.VerifyWithLabel(signer.Public(), "a", []byte("m"), signed.Signature) != nil {
			t.Fatalf("want what was signed and its signature: got %x, %v", signed.Wire(), err)
		}
		for _, bad := range [][]byte{nil, sig[:len(sig)-1], append(bytes.Clone(sig), 0)} {
			if err := s.VerifyWithLabel(signer.Public(), "a", []byte("m"), bad); !errors.Is(err, suite.ErrSignature) {
				t.Errorf("a signature of %d bytes: got %v", len(bad), err)
			}
		}
		if err := s.VerifyWithLabel(signer.Public()[1:], "a", []byte("m"), sig); !errors.Is(err, suite.ErrSignature) {
			t.Errorf("a short public key: got %v", err)
		}
		if _, err := s.NewSigner(signer.Bytes()[:4]); err == nil {
			t.Error("a signature key of 4 bytes is accepted")
		}
		sealAndExport(t, s)
	})
}

func sealAndExport(t *testing.T, s *suite.Suite) {
	t.Helper()
	for _, n := range []int{32, 48, 64} { // Nh of every hash: derivation must take each
		if _, _, err := s.DeriveKeyPair(suite.Random(n)); err != nil {
			t.Errorf("derive from %d bytes: %v", n, err)
		}
	}
	priv, pub, err := s.GenerateKeyPair()
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.EncryptWithLabel(pub, "l", []byte("context"), []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := s.DecryptWithLabel(s.NewPrivateKey(priv.Bytes()), "l", []byte("context"), c)
	if err != nil || string(plain) != "secret" {
		t.Fatalf("open: %v", err)
	}
	if _, err := s.DecryptWithLabel(priv, "other", []byte("context"), c); !errors.Is(err, suite.ErrOpen) {
		t.Errorf("another label: got %v", err)
	}
	c.KEMOutput = c.KEMOutput[1:]
	if _, err := s.DecryptWithLabel(priv, "l", []byte("context"), c); !errors.Is(err, suite.ErrOpen) {
		t.Errorf("a short kem output: got %v", err)
	}
	sent, enc, err := s.ExternalInitSend(pub)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.ExternalInitReceive(priv, enc); err != nil || !got.Equal(sent) {
		t.Errorf("external init: %v", err)
	}
	if s.CheckPublicKey(pub) != nil || s.CheckPublicKey(pub[1:]) == nil {
		t.Error("public keys are not checked for their length")
	}
}

// Public keys of low order are refused before anybody tries to seal to them.
func TestLowOrderKeysAreRefused(t *testing.T) {
	order4 := []byte{
		0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a,
		0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
	}
	order8 := []byte{
		0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b,
		0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
	}
	high := bytes.Repeat([]byte{0xff}, 32)
	high[0] = 0xec // p-1 with the ignored top bit set
	for _, id := range []suite.ID{suite.X25519AES128SHA256Ed25519, suite.Default} {
		s, err := suite.Lookup(id)
		if err != nil {
			t.Fatal(err)
		}
		_, pub, err := s.GenerateKeyPair()
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range [][]byte{make([]byte, 32), order4, order8, high} {
			spoiled := bytes.Clone(pub)
			copy(spoiled[len(spoiled)-32:], bad)
			if _, err := s.EncryptWithLabel(spoiled, "l", nil, nil); err == nil {
				t.Errorf("%x: sealing works, so it is not of low order", bad)
			}
			if s.CheckPublicKey(spoiled) == nil {
				t.Errorf("%x is accepted", bad)
			}
		}
	}
	s, err := suite.Lookup(suite.X448AES256SHA512Ed448)
	if err != nil {
		t.Fatal(err)
	}
	if s.CheckPublicKey(make([]byte, 56)) == nil {
		t.Error("the zero point of X448 is accepted")
	}
}

// The quick check of X-Wing keys accepts and refuses what the standard library does.
func TestXWingKeyCheckAgreesWithStandard(t *testing.T) {
	s, err := suite.Lookup(suite.Default)
	if err != nil {
		t.Fatal(err)
	}
	std := hpke.MLKEM768X25519()
	_, pub, err := s.GenerateKeyPair()
	if err != nil {
		t.Fatal(err)
	}
	agree := func(what string, key []byte) {
		t.Helper()
		_, stdErr := std.NewPublicKey(key)
		if err := s.CheckPublicKey(key); (err == nil) != (stdErr == nil) {
			t.Errorf("%s: got %v, the standard library says %v", what, err, stdErr)
		}
	}
	agree("a good key", pub)
	agree("a short key", pub[1:])
	agree("a long key", append(bytes.Clone(pub), 0))
	for i := 0; i+2 < 1152; i += 3 {
		for _, c := range [][2]uint16{{3328, 0}, {3329, 0}, {0, 3328}, {0, 3329}, {4095, 4095}} {
			key := bytes.Clone(pub)
			key[i], key[i+1], key[i+2] = byte(c[0]), byte(c[0]>>8)|byte(c[1]<<4), byte(c[1]>>4)
			if i%96 == 0 {
				agree(fmt.Sprintf("coefficients %v at %d", c, i), key)
			}
		}
	}
}

// MAC and expand agree with the standard library's, for keys around the block size and
// lengths around the hash size.
func TestHMACAgreesWithStandard(t *testing.T) {
	each(t, func(t *testing.T, s *suite.Suite) {
		t.Helper()
		for _, n := range []int{0, 1, 63, 64, 65, 127, 128, 129, 200} {
			key := suite.Random(n)
			want := hmac.New(s.NewHash, key)
			want.Write([]byte("data"))
			if !s.VerifyMAC(key, []byte("data"), want.Sum(nil)) {
				t.Errorf("a key of %d bytes gives another mac", n)
			}
		}
		prk := suite.Random(s.HashSize())
		for _, n := range []int{0, 1, s.HashSize() - 1, s.HashSize(), s.HashSize() + 1, 3*s.HashSize() + 5} {
			info := append([]byte{byte(n >> 8), byte(n), 9}, "MLS 1.0 x"...)
			info = append(info, 1, 'c')
			want, err := hkdf.Expand(s.NewHash, prk, string(info), n)
			if err != nil {
				t.Fatal(err)
			}
			if got := s.ExpandWithLabel(prk, "x", []byte("c"), n); !bytes.Equal(got, want) {
				t.Errorf("expand to %d bytes differs", n)
			}
		}
	})
}

// A secret prints, logs and encodes as text to a placeholder, and can be zeroed.
func TestSecretShowsNothing(t *testing.T) {
	s := suite.Secret("hunter2hunter2")
	raw, err := json.Marshal(map[string]suite.Secret{"k": s})
	if err != nil {
		t.Fatal(err)
	}
	for _, out := range []string{fmt.Sprintf("%v %s %x %X %q %+v %#v %d", s, s, s, s, s, s, s, s), string(raw), s.LogValue().String()} {
		if strings.Contains(out, "hunter") || strings.Contains(out, "68756e") || strings.Contains(out, "104 117") {
			t.Errorf("the secret shows in %q", out)
		}
	}
	copied := s.Clone()
	s.Zero()
	if !bytes.Equal(s, make([]byte, 14)) || string(copied) != "hunter2hunter2" {
		t.Error("zeroing reached the copy or missed the original")
	}
}
