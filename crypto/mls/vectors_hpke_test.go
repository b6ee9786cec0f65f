package mls_test

import (
	"crypto/hkdf"
	"crypto/hpke"
	"crypto/sha256"
	"crypto/sha3"
	"fmt"
	"path/filepath"
	"testing"

	"quicproquo/crypto/suite"
)

type hpkeCase struct {
	KEM         uint16   `json:"kem_id"`
	KDF         uint16   `json:"kdf_id"`
	AEAD        uint16   `json:"aead_id"`
	Info        hexBytes // hex of the hex string in the draft's files
	IKMR        hexBytes `json:"ikmR"`
	SKRm        hexBytes `json:"skRm"`
	PKRm        hexBytes `json:"pkRm"`
	Enc         hexBytes
	Encryptions []struct{ AAD, CT, PT hexBytes }
	Exports     []struct {
		Context hexBytes `json:"exporter_context"`
		L       int
		Value   hexBytes `json:"exported_value"`
	}
}

// suiteForKEM names one of our suites that uses an HPKE KEM.
func suiteForKEM(kem uint16) (suite.ID, bool) {
	id, ok := map[uint16]suite.ID{
		0x10: suite.P256AES128SHA256P256, 0x11: suite.P384AES256SHA384P384, 0x12: suite.P521AES256SHA512P521,
		0x20: suite.X25519AES128SHA256Ed25519, 0x21: suite.X448AES256SHA512Ed448,
		0x647a: suite.Default,
	}[kem]
	return id, ok
}

// Key derivation of every KEM that a suite uses, and opening and exporting wherever the
// standard library has the KEM and the KDF, agree with draft-ietf-hpke-pq.
func TestHPKEPQVectors(t *testing.T) {
	var all []hpkeCase
	readVectors(t, filepath.Join("testdata", "hpke-pq.json.gz"), &all)
	derived, opened := 0, 0
	for i, c := range all {
		t.Run(fmt.Sprintf("%d/kem%04x/kdf%d", i, c.KEM, c.KDF), func(t *testing.T) {
			if id, ok := suiteForKEM(c.KEM); ok {
				s, err := suite.Lookup(id)
				noError(t, "suite", err)
				priv, pub, err := s.DeriveKeyPair(suite.Secret(c.IKMR))
				noError(t, "derive key pair", err)
				equal(t, "public key", pub, c.PKRm)
				if c.KEM != 0x20 && c.KEM != 0x21 { // Montgomery scalars may or may not be clamped
					equal(t, "private key", priv.Bytes(), c.SKRm)
				}
				loaded, err := s.NewPrivateKey(suite.Secret(c.SKRm)).Public()
				noError(t, "load private key", err)
				equal(t, "loaded public key", loaded, c.PKRm)
				derived++
			}
			kem, err := hpke.NewKEM(c.KEM)
			if err != nil {
				return // X448 is checked above
			}
			priv, err := kem.DeriveKeyPair(c.IKMR)
			noError(t, "derive key pair", err)
			equal(t, "public key", priv.PublicKey().Bytes(), c.PKRm)
			kdf, err := hpke.NewKDF(c.KDF)
			if err != nil {
				return // TurboSHAKE is not in the standard library and in no suite
			}
			aead, err := hpke.NewAEAD(c.AEAD)
			noError(t, "aead", err)
			r, err := hpke.NewRecipient(c.Enc, priv, kdf, aead, c.Info)
			noError(t, "recipient", err)
			for _, e := range c.Encryptions {
				plain, err := r.Open(e.AAD, e.CT)
				noError(t, "open", err)
				equal(t, "plaintext", plain, e.PT)
			}
			for _, e := range c.Exports {
				value, err := r.Export(string(e.Context), e.L)
				noError(t, "export", err)
				equal(t, "exported value", value, e.Value)
			}
			opened++
		})
	}
	fmt.Printf("hpke-pq vectors: %d of %d cases, %d through a suite, %d opened\n", len(all), len(all), derived, opened)
}

type xwingCase struct {
	Seed  hexBytes
	ESeed hexBytes `json:"eseed"`
	SS    hexBytes `json:"ss"`
	SK    hexBytes `json:"sk"`
	PK    hexBytes `json:"pk"`
	CT    hexBytes `json:"ct"`
}

// The X-Wing draft's keys and shared secrets come out of the suites that use X-Wing, for
// both ways of deriving keys.
func TestXWingVectors(t *testing.T) {
	var all []xwingCase
	readVectors(t, filepath.Join("testdata", "xwing-draft.json.gz"), &all)
	for i, c := range all {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			for _, id := range []suite.ID{suite.Default, suite.LegacyXWingChaChaSHA256} {
				s, err := suite.Lookup(id)
				noError(t, "suite", err)
				priv := s.NewPrivateKey(suite.Secret(c.SK))
				pub, err := priv.Public()
				noError(t, "load private key", err)
				equal(t, "public key", pub, c.PK)
			}
			// The init secret that an external commit exports shows the shared secret.
			s, err := suite.Lookup(suite.Default)
			noError(t, "suite", err)
			got, err := s.ExternalInitReceive(s.NewPrivateKey(suite.Secret(c.SK)), c.CT)
			noError(t, "decapsulate", err)
			equal(t, "exported secret", got, exportFrom(t, c.SS))

			legacy, err := suite.Lookup(suite.LegacyXWingChaChaSHA256)
			noError(t, "suite", err)
			derived, _, err := legacy.DeriveKeyPair(suite.Secret(c.ESeed))
			noError(t, "derive key pair", err)
			equal(t, "unlabelled seed", derived.Bytes(), sha3.SumSHAKE256(c.ESeed, 32))
		})
	}
	fmt.Printf("x-wing vectors: %d of %d cases\n", len(all), len(all))
}

// exportFrom is the base-mode key schedule of RFC 9180 §5.1 from a shared secret, for KEM
// 0x647a, HKDF-SHA256 and AES-128-GCM, up to MLS's external init secret.
func exportFrom(t *testing.T, shared []byte) []byte {
	t.Helper()
	suiteID := "HPKE\x64\x7a\x00\x01\x00\x01"
	extract := func(salt []byte, label string, ikm []byte) []byte {
		out, err := hkdf.Extract(sha256.New, []byte("HPKE-v1"+suiteID+label+string(ikm)), salt)
		noError(t, "extract", err)
		return out
	}
	expand := func(prk []byte, label string, info []byte, n byte) []byte {
		out, err := hkdf.Expand(sha256.New, prk, "\x00"+string([]byte{n})+"HPKE-v1"+suiteID+label+string(info), int(n))
		noError(t, "expand", err)
		return out
	}
	context := append([]byte{0}, extract(nil, "psk_id_hash", nil)...)
	context = append(context, extract(nil, "info_hash", nil)...)
	secret := extract(shared, "secret", nil)
	exporter := expand(secret, "exp", context, 32)
	return expand(exporter, "sec", []byte("MLS 1.0 external init secret"), 32)
}
