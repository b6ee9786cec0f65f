// Package identity says which bytes an account or a device signs for the server
// and for other clients, and verifies such signatures. It is the one place that
// knows these bytes: server and client both take them from here.
//
// A statement is a label and its parts, each after its length in two bytes,
// big-endian, so that no two statements have the same bytes and none is anything
// else that these keys sign (MLS prefixes its own with "MLS 1.0 "). Signatures
// are Ed25519 (RFC 8032), 64 bytes, over the statement itself.
//
// It must never sign or verify bytes that a peer chose as a whole, and holds no
// keys. docs/protocol.md lists the statements; docs/decisions/0060 gives the
// reasons.
package identity

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"filippo.io/edwards25519"
)

const (
	// KeySize is the size of an identity or device key, in bytes.
	KeySize = ed25519.PublicKeySize
	// DeviceIDSize is the size of a device id, in bytes.
	DeviceIDSize = 16
	// SignatureSize is the size of a signature, in bytes.
	SignatureSize = ed25519.SignatureSize
)

// A binding signs what only the two ends of one TLS connection know: its
// exporter (RFC 8446 §7.5) with this label, no context, and this many bytes.
// RFC 5705 §4 keeps labels with this beginning for private use.
const (
	ExporterLabel = "EXPERIMENTAL qpq/1 bind session"
	ExporterSize  = 32
)

// The labels of the statements. Append only: a label that was released keeps its
// parts forever.
const (
	labelRegister = "qpq/1 register"
	labelDevice   = "qpq/1 device"
	labelHybrid   = "qpq/1 hybrid key"
	labelBind     = "qpq/1 bind session"
	labelRevoke   = "qpq/1 revoke device"
	labelDelete   = "qpq/1 delete account"
	labelPassword = "qpq/1 change password"
	labelInstance = "qpq/1 device instance"
	labelLogin    = "qpq/1 begin login"
)

// Statement is what is signed.
type Statement []byte

// Register is what an identity key says when its account is registered: this
// name, with this record, at the cluster of this OPAQUE public key (the last 32
// bytes of the registration's response). So whoever sees it can register it
// nowhere else and with no other password. username is the canonical name,
// upload the registration's 192 bytes.
func Register(server [32]byte, account [KeySize]byte, username string, upload []byte) Statement {
	return statement(labelRegister, server[:], account[:], []byte(username), upload)
}

// Device is what an identity key says of a device of its account. It names no
// cluster: other clients verify it, who know the account by its key.
func Device(account [KeySize]byte, device [DeviceIDSize]byte, deviceKey [KeySize]byte) Statement {
	return statement(labelDevice, account[:], device[:], deviceKey[:])
}

// HybridKey is what a device's key says of its hybrid key, or without a device
// of its own (device is empty) the account's.
func HybridKey(account [KeySize]byte, device, hybrid []byte) Statement {
	return statement(labelHybrid, account[:], device, hybrid)
}

// Bind is what a session's key says on a connection whose exporter has this
// value: it is the one that may use the session of this token.
func Bind(exporter [ExporterSize]byte, tokenHash [32]byte) Statement {
	return statement(labelBind, exporter[:], tokenHash[:])
}

// RevokeDevice is what an identity key says of a device that is no longer its
// account's. It names no cluster: other clients verify it. Device ids are never used
// again, so it can be shown again and again and says nothing new. signedAt is the
// signer's clock, in milliseconds since 1970.
func RevokeDevice(account [KeySize]byte, device [DeviceIDSize]byte, signedAt uint64) Statement {
	return statement(labelRevoke, account[:], device[:], number(signedAt))
}

// DeleteAccount is what an identity key says of the end of its account, for other
// clients too. A key is an account once, so it is good for one deletion.
func DeleteAccount(account [KeySize]byte, signedAt uint64) Statement {
	return statement(labelDelete, account[:], number(signedAt))
}

// ChangePassword is what an identity key says when the record of its password is to
// be replaced: the one of this SHA-256 by that of the new registration's upload (192
// bytes). Records are drawn at random, so a record comes once, and the statement is
// good for one change.
func ChangePassword(account [KeySize]byte, record [32]byte, upload []byte) Statement {
	return statement(labelPassword, account[:], record[:], upload)
}

// Instance is what a device's key says of the copy of it that is in use: from now on
// the one with this instance, which is drawn at random and never comes again, in the
// place of one of those that the copy held before. So it is good for one change, from
// one of held, 8 bytes each. device is empty for the account itself. There are at most
// 8,191 of held; whoever makes one limits it before.
func Instance(account [KeySize]byte, device []byte, instance uint64, held []uint64) Statement {
	before := make([]byte, 0, 8*len(held))
	for _, h := range held {
		before = binary.BigEndian.AppendUint64(before, h)
	}
	return statement(labelInstance, account[:], device, number(instance), before)
}

// LoginStart is what a device's key says of a login that it begins: whose it is, and its
// first OPAQUE message, which is new each time. device is empty for the account itself.
func LoginStart(account [KeySize]byte, device []byte, username string, ke1 []byte) Statement {
	return statement(labelLogin, account[:], device, []byte(username), ke1)
}

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func statement(label string, parts ...[]byte) Statement {
	size := 2 + len(label)
	for _, p := range parts {
		size += 2 + len(p)
	}
	s := appendPart(make(Statement, 0, size), []byte(label))
	for _, p := range parts {
		s = appendPart(s, p)
	}
	return s
}

func appendPart(s Statement, part []byte) Statement {
	if len(part) > math.MaxUint16 {
		panic("a statement's part is over 65,535 bytes: whoever makes one limits it before")
	}
	return append(binary.BigEndian.AppendUint16(s, uint16(len(part))), part...)
}

// Sign signs a statement with an Ed25519 key, which may live in hardware.
func (s Statement) Sign(key crypto.Signer) ([]byte, error) {
	public, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("sign statement: key is %T, not Ed25519", key.Public())
	}
	signature, err := key.Sign(nil, s, crypto.Hash(0))
	if err != nil {
		return nil, fmt.Errorf("sign statement: %w", err)
	}
	if !s.Verify(public, signature) {
		return nil, errors.New("sign statement: the key made a signature that does not verify")
	}
	return signature, nil
}

// Verify reports whether key has signed the statement. Keys that are not usable
// ([Usable]) have signed nothing.
func (s Statement) Verify(key, signature []byte) bool {
	return len(signature) == SignatureSize && Usable(key) && ed25519.Verify(key, s, signature)
}

// Usable reports whether 32 bytes are a key that a signature can bind to: a point
// of the curve in its canonical encoding, and not one of the eight of small
// order, for which anybody can sign.
func Usable(key []byte) bool {
	if len(key) != KeySize {
		return false
	}
	point, err := new(edwards25519.Point).SetBytes(key)
	if err != nil || !bytes.Equal(point.Bytes(), key) {
		return false
	}
	return new(edwards25519.Point).MultByCofactor(point).Equal(edwards25519.NewIdentityPoint()) == 0
}
