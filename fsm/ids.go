package fsm

import (
	"encoding/hex"
	"fmt"

	"quicproquo/schemas"
)

// AccountKey is an account's identity key (Ed25519, 32 bytes).
type AccountKey [schemas.AccountKeySize]byte

// DeviceID is the id of an account's device (16 bytes). Zero stands for the
// queue that belongs to the account and not to one of its devices.
type DeviceID [schemas.DeviceIDSize]byte

// RequestID names one attempt of a caller to write (16 bytes, random).
type RequestID [schemas.RequestIDSize]byte

// ChannelID is empty (the inbox) or the 16 bytes of a channel's id. An id of
// sixteen zero bytes is a channel like any other.
type ChannelID struct {
	id   [schemas.ChannelIDSize]byte
	some bool
}

// ParseChannelID takes the field of a message: 0 or 16 bytes.
func ParseChannelID(field []byte) (ChannelID, error) {
	var c ChannelID
	if !c.set(field) {
		return c, fmt.Errorf("channel id has %d bytes, want 0 or %d", len(field), schemas.ChannelIDSize)
	}
	return c, nil
}

// set copies a message field and tells whether its length is right.
func (c *ChannelID) set(field []byte) bool {
	*c = ChannelID{some: len(field) != 0}
	return len(field) == 0 || copyExact(c.id[:], field)
}

// Bytes returns a message field: nil or 16 bytes.
func (c ChannelID) Bytes() []byte {
	if !c.some {
		return nil
	}
	return c.id[:]
}

// String returns the id in hexadecimal, or "inbox".
func (c ChannelID) String() string {
	if !c.some {
		return "inbox"
	}
	return hex.EncodeToString(c.id[:])
}

// QueueID names a queue: an ordered list of envelopes that one device owns, or
// the account itself when Device is zero.
type QueueID struct {
	Owner   AccountKey
	Device  DeviceID
	Channel ChannelID
}

// copyExact fills dst from src and tells whether the lengths agree.
func copyExact(dst, src []byte) bool {
	if len(src) != len(dst) {
		return false
	}
	copy(dst, src)
	return true
}
