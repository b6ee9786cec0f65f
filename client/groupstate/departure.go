package groupstate

import (
	"quicproquo/crypto/codec"
	"quicproquo/crypto/identity"
)

// Departure is an account's own word that a device of it is revoked, or that it has
// ended itself. Whoever commits the removal of such devices says it with the commit, in
// its authenticated data (RFC 9420 §6.3.1): so the others see that the rules demand it,
// whoever commits, without asking anybody.
type Departure struct {
	Member    // of a zero device: the account itself
	SignedAt  uint64
	Signature [identity.SignatureSize]byte
}

const (
	departuresVersion = 1
	// maxDepartures bounds how many one commit says: each costs a signature to check.
	maxDepartures = 256
)

// Verify reports whether the account has said it.
func (d *Departure) Verify() bool {
	statement := identity.RevokeDevice(d.Account, d.Device, d.SignedAt)
	if d.Device == ([identity.DeviceIDSize]byte{}) {
		statement = identity.DeleteAccount(d.Account, d.SignedAt)
	}
	return statement.Verify(d.Account[:], d.Signature[:])
}

// Covers reports whether a device has departed by it.
func (d *Departure) Covers(m Member) bool {
	return d.Account == m.Account && (d.Device == m.Device || d.Device == [identity.DeviceIDSize]byte{})
}

// AppendDepartures encodes what a commit says, at most maxDepartures; nil for nothing.
//
//	uint8 version | per departure: account [32] device [16] uint64 signed at, signature [64]
func AppendDepartures(list []Departure) []byte {
	if len(list) == 0 {
		return nil
	}
	b := []byte{departuresVersion}
	for _, d := range list[:min(len(list), maxDepartures)] {
		b = append(append(b, d.Account[:]...), d.Device[:]...)
		b = append(codec.Uint64(b, d.SignedAt), d.Signature[:]...)
	}
	return b
}

// Departures returns what a commit's authenticated data say that is true of devices
// that it removes. Data that say nothing of that kind say nothing.
func Departures(said []byte, removed func(Member) bool) (list []Departure) {
	r := codec.NewReader(said)
	if r.Uint8() != departuresVersion {
		return nil
	}
	for range maxDepartures {
		var d Departure
		copy(d.Account[:], r.Fixed(identity.KeySize))
		copy(d.Device[:], r.Fixed(identity.DeviceIDSize))
		d.SignedAt = r.Uint64()
		copy(d.Signature[:], r.Fixed(identity.SignatureSize))
		if r.Err() != nil {
			return list
		}
		if removed(d.Member) && d.Verify() {
			list = append(list, d)
		}
	}
	return list
}
