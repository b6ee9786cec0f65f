package groupstate

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/identity"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// credentialVersion is the first byte of a credential.
const credentialVersion = 1

// ErrCredential means that a leaf does not prove whose it is.
var ErrCredential = errors.New("the credential is not signed by its account")

// Member is who stands behind a leaf: a device of an account.
type Member struct {
	Account [identity.KeySize]byte
	Device  [identity.DeviceIDSize]byte
}

// Credential is the identity in a basic credential (RFC 9420 §5.3): one byte of
// version, the account's identity key, the device's id, and the account's
// signature over both and the leaf's signature key (identity.Device). So a leaf
// proves its account to everybody who knows the account's key, and no server can
// put a device beside the others.
type Credential struct {
	Member
	Signature [identity.SignatureSize]byte
}

const credentialSize = 1 + identity.KeySize + identity.DeviceIDSize + identity.SignatureSize

// MLS returns the credential as MLS has it.
func (c *Credential) MLS() tree.Credential {
	b := append(make([]byte, 0, credentialSize), credentialVersion)
	b = append(b, c.Account[:]...)
	b = append(b, c.Device[:]...)
	return tree.BasicCredential(append(b, c.Signature[:]...))
}

// ParseCredential reads a credential without checking its signature: those of a
// group's members have been checked by the Authenticator.
func ParseCredential(from tree.Credential) (c Credential, err error) {
	if from.Type != tree.CredentialBasic {
		return c, fmt.Errorf("%w: it is of type %d", ErrCredential, from.Type)
	}
	r := codec.NewReader(from.Identity)
	if v := r.Uint8(); r.Err() == nil && v != credentialVersion {
		return c, fmt.Errorf("%w: version %d is unknown here", ErrCredential, v)
	}
	copy(c.Account[:], r.Fixed(len(c.Account)))
	copy(c.Device[:], r.Fixed(len(c.Device)))
	copy(c.Signature[:], r.Fixed(len(c.Signature)))
	if err := r.Finish(); err != nil {
		return Credential{}, fmt.Errorf("%w: %w", ErrCredential, err)
	}
	return c, nil
}

// Authenticator accepts leaves whose credential is signed by the account that it
// names (RFC 9420 §5.3.1).
type Authenticator struct{}

// Validate implements mls.Authenticator.
func (Authenticator) Validate(from tree.Credential, key suite.SignaturePublicKey, _ time.Time) error {
	c, err := ParseCredential(from)
	if err != nil {
		return err
	}
	if len(key) != identity.KeySize {
		return fmt.Errorf("%w: the leaf's key has %d bytes", ErrCredential, len(key))
	}
	if !identity.Device(c.Account, c.Device, [identity.KeySize]byte(key)).Verify(c.Account[:], c.Signature[:]) {
		return ErrCredential
	}
	return nil
}

// Successor implements mls.Authenticator: a leaf stays its device's.
func (Authenticator) Successor(old, next tree.Credential) error {
	a, err := ParseCredential(old)
	if err != nil {
		return err
	}
	b, err := ParseCredential(next)
	if err != nil {
		return err
	}
	if a.Member != b.Member {
		return fmt.Errorf("%w: the leaf would change its device", ErrCredential)
	}
	return nil
}

// Compare orders members by account, then device.
func Compare(a, b Member) int {
	if c := bytes.Compare(a.Account[:], b.Account[:]); c != 0 {
		return c
	}
	return bytes.Compare(a.Device[:], b.Device[:])
}
