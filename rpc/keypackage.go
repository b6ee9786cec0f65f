package rpc

import (
	"bytes"
	"time"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls"
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/suite"
	"quicproquo/schemas"
)

// keyPackageSkew is how far a client's clock may be ahead.
const keyPackageSkew = 10 * time.Minute

// checkKeyPackage refuses a package that would be of no use to whoever takes it,
// and returns when it ends, in milliseconds since 1970. It is an MLSMessage or a
// bare KeyPackage, signed by signer, the key of the device that uploads it.
func checkKeyPackage(data, signer []byte, lastResort bool, now time.Time) (expires uint64, err error) {
	switch {
	case len(data) == 0:
		return 0, refuse(schemas.Code_payloadEmpty)
	case len(data) > schemas.MaxKeyPackage:
		return 0, &refusal{code: schemas.Code_payloadTooLarge, value: schemas.MaxKeyPackage}
	}
	kp := readKeyPackage(data)
	if kp == nil {
		return 0, badPackage("It is neither an MLSMessage with a key package nor a KeyPackage (RFC 9420 §10).", nil)
	}
	s, err := suite.Lookup(kp.Suite)
	if err != nil {
		return 0, badPackage("Its cipher suite is not served here.", err)
	}
	if !bytes.Equal(kp.Leaf.SignatureKey, signer) {
		return 0, badPackage("Its leaf's signature key is not the key of this device.", nil)
	}
	if err := kp.Verify(s); err != nil {
		return 0, badPackage("It breaks a rule of RFC 9420: "+err.Error()+".", err)
	}
	if lastResort && !mls.LastResort(kp) {
		return 0, badPackage("The last-resort package is not marked as one.", nil)
	}
	return checkLifetime(kp, now)
}

// readKeyPackage returns nil for what is no key package. An MLSMessage's wire
// format stands where a bare package has its suite, and one of the numbers means
// both: whichever reads to the end is it.
func readKeyPackage(data []byte) *message.KeyPackage {
	if m, err := message.Parse(data); err == nil && m.KeyPackage != nil {
		return m.KeyPackage
	}
	kp, err := codec.Unmarshal(data, message.ReadKeyPackage)
	if err != nil {
		return nil
	}
	return kp
}

func checkLifetime(kp *message.KeyPackage, now time.Time) (expires uint64, err error) {
	const longest = schemas.MaxKeyPackageDays * 24 * 60 * 60
	from, to := kp.Leaf.Lifetime.NotBefore, kp.Leaf.Lifetime.NotAfter
	switch at := uint64(now.Unix()); {
	case to <= at:
		return 0, badPackage("Its lifetime has ended.", nil)
	case from > at+uint64(keyPackageSkew/time.Second):
		return 0, badPackage("Its lifetime has not begun.", nil)
	case to-from > longest:
		return 0, badPackage("Its lifetime is longer than is allowed (docs/limits.md).", nil)
	}
	return to * 1000, nil
}

func badPackage(why string, cause error) *refusal {
	return &refusal{code: schemas.Code_keyPackageInvalid, detail: why, cause: cause}
}
