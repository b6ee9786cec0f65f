package account

import (
	"crypto/hkdf"
	"crypto/sha512"
	"fmt"

	"github.com/bytemare/ecc"
	"github.com/gtank/ristretto255"
)

// The OPRF of RFC 9497 in mode 0 (no proofs), as RFC 9807 uses it on a server.

const (
	// oprfContext is contextString of RFC 9497 §3.1: "OPRFV1-" ‖ mode 0 ‖ "-" ‖ suite.
	oprfContext = "OPRFV1-\x00-ristretto255-SHA512"

	infoOPRFKey = "OPAQUE-DeriveKeyPair"              // RFC 9807 §5.1.2
	infoDHKey   = "OPAQUE-DeriveDiffieHellmanKeyPair" // RFC 9807 §6.4.1
	oprfKeyInfo = "OprfKey"                           // RFC 9807 §5.1.2
	deriveDST   = "DeriveKeyPair" + oprfContext       // RFC 9497 §3.2.1
	maxDerive   = 255                                 // tries, RFC 9497 §3.2.1
	maskingInfo = "CredentialResponsePad"             // RFC 9807 §6.3.2.2
	maskedSize  = elementSize + nE                    // server public key ‖ envelope
	deriveInput = nok + 2 + len(infoDHKey) + 1        // capacity for the longest input
)

// deriveScalar is DeriveKeyPair of RFC 9497 §3.2.1 without the public key:
// seed is 32 bytes.
func deriveScalar(seed []byte, info string) *ristretto255.Scalar {
	input := make([]byte, 0, deriveInput)
	input = append(input, seed...)
	input = append(input, byte(len(info)>>8), byte(len(info)))
	input = append(input, info...)
	defer clear(input[:cap(input)])
	for counter := range maxDerive + 1 {
		s := ecc.Ristretto255Sha512.HashToScalar(append(input, byte(counter)), []byte(deriveDST))
		if !s.IsZero() {
			return scalarOf(s)
		}
	}
	panic("256 hashes in a row gave the zero scalar: SHA-512 is broken")
}

func scalarOf(s *ecc.Scalar) *ristretto255.Scalar {
	encoded := s.Encode()
	defer clear(encoded)
	s.Zero()
	scalar, err := ristretto255.NewScalar().SetCanonicalBytes(encoded)
	if err != nil {
		panic("a reduced scalar has a canonical encoding: " + err.Error())
	}
	return scalar
}

// wipe overwrites a scalar.
func wipe(s *ristretto255.Scalar) { s.Set(ristretto255.NewScalar()) }

// oprfKey is the OPRF key of one name (RFC 9807 §5.1.2).
func oprfKey(oprfSeed []byte, id credentialID) *ristretto255.Scalar {
	seed := expand(oprfSeed, string(id[:])+oprfKeyInfo, nok)
	defer clear(seed)
	return deriveScalar(seed, infoOPRFKey)
}

// decodeElement reads a group element and refuses the identity (RFC 9807 §6.1).
func decodeElement(encoded []byte) (*ristretto255.Element, error) {
	e, err := ristretto255.NewIdentityElement().SetCanonicalBytes(encoded)
	if err != nil || e.Equal(ristretto255.NewIdentityElement()) == 1 {
		return nil, fmt.Errorf("%w: not an element of ristretto255, or its identity", ErrMessage)
	}
	return e, nil
}

// expand is HKDF-Expand with SHA-512 for lengths this package knows to be valid.
func expand(prk []byte, info string, length int) []byte {
	out, err := hkdf.Expand(sha512.New, prk, info, length)
	if err != nil {
		panic("expand with a fixed length: " + err.Error())
	}
	return out
}
