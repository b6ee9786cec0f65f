package suite

import (
	"bytes"
	"encoding/hex"
	"errors"
)

// Errors of EdDSA public keys that no honest signer has.
var (
	errNotReduced = errors.New("public key is not in canonical form")
	errSmallOrder = errors.New("public key has small order")
)

// edwards is what is needed of a curve to tell bad public keys from good ones: its field
// prime, and the y coordinates of the points whose order divides the cofactor. With such
// a key anybody can make a signature that verifies, of any message. All little-endian,
// without the sign of x.
type edwards struct {
	prime []byte
	small [][]byte
}

func fromHex(text string) []byte {
	b, err := hex.DecodeString(text)
	if err != nil {
		panic(err)
	}
	return b
}

var (
	// ed25519Curve has points of order 4, 1, 2, and two pairs of order 8 (RFC 8032 §5.1).
	ed25519Curve = edwards{
		prime: fromHex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
		small: [][]byte{
			make([]byte, 32),
			append([]byte{1}, make([]byte, 31)...),
			fromHex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
			fromHex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
			fromHex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
		},
	}
	// ed448Curve has points of order 4, 1 and 2 (RFC 8032 §5.2).
	ed448Curve = edwards{
		prime: fromHex("fffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffffffffffffffffffffffffffffffffffffffffffffffffff00"),
		small: [][]byte{
			make([]byte, 57),
			append([]byte{1}, make([]byte, 56)...),
			fromHex("fefffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffffffffffffffffffffffffffffffffffffffffffffffffff00"),
		},
	}
)

// check refuses an encoding that is not reduced or is of small order. One that is no
// point at all verifies no signature.
func (e *edwards) check(pub []byte) error {
	y := bytes.Clone(pub)
	y[len(y)-1] &= 0x7f // the sign of x
	if !less(y, e.prime) {
		return errNotReduced
	}
	for _, small := range e.small {
		if bytes.Equal(y, small) {
			return errSmallOrder
		}
	}
	return nil
}

// less compares two little-endian numbers of the same length, neither of them secret.
func less(a, b []byte) bool {
	for i := len(a) - 1; i >= 0; i-- {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return false
}
