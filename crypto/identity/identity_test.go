package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"pgregory.net/rapid"
)

func fixed[T [16]byte | [32]byte](b byte) T {
	var v T
	switch v := any(&v).(type) {
	case *[16]byte:
		copy(v[:], bytes.Repeat([]byte{b}, 16))
	case *[32]byte:
		copy(v[:], bytes.Repeat([]byte{b}, 32))
	}
	return v
}

// vectorKey is the key of RFC 8032 §7.1, test 1.
func vectorKey(tb testing.TB) ed25519.PrivateKey {
	tb.Helper()
	return ed25519.NewKeyFromSeed(unhex(tb, "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
}

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// vectors are one of each statement, of fixed parts.
func vectors() map[string]Statement {
	return map[string]Statement{
		"register":       Register(fixed[[32]byte](1), fixed[[32]byte](2), "alice", bytes.Repeat([]byte{3}, 192)),
		"device":         Device(fixed[[32]byte](2), fixed[[16]byte](4), fixed[[32]byte](5)),
		"hybrid":         HybridKey(fixed[[32]byte](2), bytes.Repeat([]byte{4}, 16), bytes.Repeat([]byte{6}, 1216)),
		"hybrid account": HybridKey(fixed[[32]byte](2), nil, bytes.Repeat([]byte{6}, 1216)),
		"bind":           Bind(fixed[[32]byte](7), fixed[[32]byte](8)),
		"revoke":         RevokeDevice(fixed[[32]byte](2), fixed[[16]byte](4), 1_764_460_800_123),
		"delete":         DeleteAccount(fixed[[32]byte](2), 1_764_460_800_123),
		"password":       ChangePassword(fixed[[32]byte](2), fixed[[32]byte](9), bytes.Repeat([]byte{3}, 192)),
	}
}

// The bytes of every statement and its signature are fixed forever: clients of
// other hands sign them. The values were computed with Python (struct, hashlib
// and the arithmetic of RFC 8032).
func TestStatementVectors(t *testing.T) {
	got := vectors()
	for what, want := range map[string]struct {
		size              int
		digest, signature string
	}{
		"register":       {285, "bd8bc9e65ab641b42637a899979273539ca5ffc740c885af5ef37214f622557d", "262a761d710ae438c224f3869fc05058fc7f8838c83edfe1d6200a42b370f79b7247fcc5df05f83165bd966251a86b771b79b9e602260ffbeb86754219959f08"},
		"device":         {100, "19d108202fd3211ecd1df165e7e1a452880af59d85003eaca6f0e6384ef186fa", "c3cfaca6e7d59c9dbab1da9c714fb7810488dfe139a494c2e1cbe83959b05cbac9593b5f813c6eb294c1b4ce91271ff9c7b4be4439ce4280a392bb062497e60e"},
		"hybrid":         {1288, "2d489e35c16b1da6867bb2d3fa3c8c30451598ae3a56c20c138b82cac4c46a54", "47bc25f9b3ad41abb1c439eedcdf89e26a2d230d862b6d201fa6f0cdceaab0f9ea06c0fc5efeb7426a6998c4987bbf8e92055e86e06ade4efafadfd835fb4d0d"},
		"hybrid account": {1272, "ab603ac80e26abbda247d3a11d716d2a0d31b6a610fe5023175267e7b1551792", "357ca75cbbbe795cd0698d90bbf30c566244f0244f4814c07dea0d163c272987a4e23b416b77e8530c3cd48c17245c658c53dc0e952bc16a4c8abb5ceff0650c"},
		"bind":           {88, "7ee52ff25180550c8166dba4cdab65569458a4c8265bd7db74442698251e40d1", "6fa7ee23aa2cebfb9d1ad29ae652003704c53a5d621878ad8fed2bb5c5946375c1f8841da4c90daab9fc353704fc96a388a1743d2d9fce908c30ed1c92fe1201"},
		"revoke":         {83, "7d106ff981732961f84adbbd9c1764660a318344ec696791ad2889185cafceab", "87a52967d84cf2c73c9859720db45e540aadd139ae112dc830fb0fe582317464926782e8a85c717c3b9106b9c70ad5543a8822824624cc7be6739eaeceba6f06"},
		"delete":         {66, "a40df9d3d9f40041cb05d33dda63bafea5c411f541bb115c292b12c6040ae462", "9b5dee3f207c87d61bcd074b28f8dba44b4afbd96aea9f6580c12c8572dde4c5c6c1c99d98c800a19228c86d059af5bdb38f2dd8616e699525e57d3977462c04"},
		"password":       {285, "59aa51e35cd50201009316ddff8c484ee104d0f6733b7c9c02c8e8b9ee637435", "0ea0dda8b4c8a8f7a8d92469269750b52c1c47d6552d986938688fb71a573b49b7c7fc0b9bae1ba3317b19955be9db9efd2f124eb6bd3031c1134ba87c9f4405"},
	} {
		s := got[what]
		if len(s) != want.size {
			t.Errorf("%s has %d bytes, want %d", what, len(s), want.size)
		}
		if digest := sha256.Sum256(s); hex.EncodeToString(digest[:]) != want.digest {
			t.Errorf("%s: SHA-256 of the bytes is %x, want %s", what, digest, want.digest)
		}
		signature, err := s.Sign(vectorKey(t))
		if err != nil || hex.EncodeToString(signature) != want.signature {
			t.Errorf("%s: signature %x (%v), want %s", what, signature, err, want.signature)
		}
	}
	if len(got) != 8 {
		t.Errorf("there are %d statements and 8 vectors", len(got))
	}
}

// No statement has the bytes of another, whatever its parts: the lengths keep
// parts apart that are as long as they like.
func TestStatementsAreDistinct(t *testing.T) {
	seen := map[string]string{}
	for what, s := range vectors() {
		if other, twice := seen[string(s)]; twice {
			t.Errorf("%s and %s have the same bytes", what, other)
		}
		seen[string(s)] = what
		for at := range s {
			if other, twice := seen[string(s[:at])]; twice {
				t.Errorf("%s begins with the whole of %s", what, other)
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.SliceOfN(rapid.Byte(), 0, 24)
		a, b := [][]byte{part.Draw(t, "a1"), part.Draw(t, "a2")}, [][]byte{part.Draw(t, "b1"), part.Draw(t, "b2")}
		same := bytes.Equal(a[0], b[0]) && bytes.Equal(a[1], b[1])
		if bytes.Equal(statement("x", a...), statement("x", b...)) != same {
			t.Fatalf("%x and %x: the same bytes for different parts", a, b)
		}
	})
}

// A signature holds for its statement, its key and its bits, and for no other.
func TestSignaturesBind(t *testing.T) {
	key := vectorKey(t)
	public, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		t.Fatal("an Ed25519 key has another public key")
	}
	statement := vectors()["bind"]
	signature, err := statement.Sign(key)
	if err != nil {
		t.Fatal(err)
	}
	if !statement.Verify(public, signature) {
		t.Fatal("an honest signature does not verify")
	}
	for what, other := range vectors() {
		if what != "bind" && other.Verify(public, signature) {
			t.Errorf("the signature of a binding verifies as %s", what)
		}
	}
	stranger, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if statement.Verify(stranger, signature) {
		t.Error("verifies under another key")
	}
	for bit := range 8 * len(signature) {
		flipped := bytes.Clone(signature)
		flipped[bit/8] ^= 1 << (bit % 8)
		if statement.Verify(public, flipped) {
			t.Fatalf("verifies with bit %d flipped", bit)
		}
	}
	for _, n := range []int{0, 1, 63} {
		if statement.Verify(public, signature[:n]) || statement.Verify(public[:min(n, 31)], signature) {
			t.Errorf("verifies with %d bytes of signature or key", n)
		}
	}
	if statement.Verify(public, append(bytes.Clone(signature), 0)) {
		t.Error("verifies with a byte more")
	}
}

// Nobody can register a key for which anybody can sign: the points of small
// order, in each encoding, and what is no point at all.
func TestUsableRefusesSmallOrder(t *testing.T) {
	for _, encoded := range []string{
		"0100000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000080",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0000000000000000000000000000000000000000000000000000000000000080",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"0200000000000000000000000000000000000000000000000000000000000000",
	} {
		if Usable(unhex(t, encoded)) {
			t.Errorf("%s is usable", encoded)
		}
	}
	// The forgery that Go's own Verify takes: with the identity point as key,
	// the identity as R and 0 as s fit every message.
	small := unhex(t, "0100000000000000000000000000000000000000000000000000000000000000")
	forged := append(bytes.Clone(small), make([]byte, 32)...)
	statement := vectors()["bind"]
	if !ed25519.Verify(small, statement, forged) {
		t.Fatal("the forgery is none: this test shows nothing")
	}
	if statement.Verify(small, forged) {
		t.Error("a forgery under a key of small order verifies")
	}
	if !Usable(vectorKey(t).Public().(ed25519.PublicKey)) {
		t.Error("an honest key is not usable")
	}
}

// Only Ed25519 keys sign.
func TestSignRefusesOtherKeys(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if signature, err := vectors()["bind"].Sign(key); err == nil {
		t.Errorf("an ECDSA key gave %x", signature)
	}
}

// A part that its length can't tell is a fault of the program.
func TestPartTooLong(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a part of 65,536 bytes was taken")
		}
	}()
	HybridKey([KeySize]byte{}, nil, make([]byte, 1<<16))
}
