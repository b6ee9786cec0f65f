package account

import (
	"crypto"
	"fmt"
	"log/slog"

	"github.com/bytemare/ksf"
	"github.com/bytemare/opaque"
)

// Suite names one complete OPAQUE configuration. It is stored with every
// record, so that another one can follow without guessing.
type Suite byte

// SuiteRistretto255 is OPAQUE-3DH with ristretto255-SHA512 as OPRF and group,
// HKDF-SHA-512, HMAC-SHA-512, SHA-512 and Argon2id with a salt of 16 zero bytes
// and 64 bytes of output (RFC 9807 §7). The parameters of Argon2id stand beside
// the suite in each record.
const SuiteRistretto255 Suite = 1

// Context is the application context of RFC 9807 §6.4 (it enters the
// transcript), so that no run of another protocol or version is one of ours.
const Context = "qpq/opaque/v1"

// Sizes in bytes of RFC 9807's messages in [SuiteRistretto255].
const (
	RegistrationRequestSize  = elementSize               // 32
	RegistrationResponseSize = 2 * elementSize           // 64
	RegistrationUploadSize   = elementSize + nh + nE     // 192
	LoginRequestSize         = 2*elementSize + nonceSize // 96, KE1
	LoginResponseSize        = credentialResponseSize + nonceSize + elementSize + nm
	FinalizationSize         = nm // 64, KE3
	KeySize                  = nh // 64, session key and export key

	credentialResponseSize = elementSize + nonceSize + elementSize + nE // 192
)

// The constants of RFC 9807 §2 and §4, in its names.
const (
	elementSize = 32             // Noe, Npk
	nonceSize   = 32             // Nn
	nok         = 32             // Nok, Nseed
	nh          = 64             // Nh, Nx: SHA-512
	nm          = 64             // Nm: HMAC-SHA-512
	nE          = nonceSize + nm // Ne: an envelope
)

// MaxPassword limits a password in bytes: far beyond any passphrase, and below
// the 2¹⁶ of the OPRF's length prefix (RFC 9497 §3.3.1).
const MaxPassword = 4096

// stretch holds the parameters of Argon2id: the second choice of RFC 9106 §4,
// for phones. They are part of each record; a change needs new registrations.
type stretch struct {
	passes    uint32
	memoryKiB uint32
	lanes     uint32
}

func currentStretch() stretch { return stretch{passes: 3, memoryKiB: 64 << 10, lanes: 4} }

const (
	stretchSaltSize = 16 // zero bytes, RFC 9807 §7
	stretchOutput   = nh
)

// configuration is the library's view of [SuiteRistretto255], every field set:
// its defaults are another suite.
func configuration(context string) *opaque.Configuration {
	return &opaque.Configuration{
		OPRF:    opaque.RistrettoSha512,
		AKE:     opaque.RistrettoSha512,
		KSF:     ksf.Argon2id,
		KDF:     crypto.SHA512,
		MAC:     crypto.SHA512,
		Hash:    crypto.SHA512,
		Context: []byte(context),
	}
}

// Key is a session key or an export key, 64 bytes. It prints as [redacted].
type Key [KeySize]byte

const redacted = "[redacted]"

// String keeps the key out of logs and errors.
func (Key) String() string { return redacted }

// GoString keeps the key out of %#v.
func (Key) GoString() string { return redacted }

// Format keeps the key out of every verb, %x and %d included.
func (Key) Format(f fmt.State, _ rune) { writeRedacted(f) }

// LogValue keeps the key out of slog.
func (Key) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText keeps the key out of JSON and every other text encoding.
func (Key) MarshalText() ([]byte, error) { return []byte(redacted), nil }

func writeRedacted(f fmt.State) {
	_, _ = f.Write([]byte(redacted)) // a printer's writer, whose error fmt keeps
}
