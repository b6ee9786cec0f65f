// Package content is what people say to each other: the application message that
// MLS encrypts (schemas/content.capnp, docs/content.md).
//
// [Encode] and [Decode] are functions of their arguments. A message has one
// encoding only, the canonical form of Cap'n Proto in one framed segment, and
// Decode refuses any other, so equal messages are equal bytes and nothing hides
// between fields. What newer clients add is not refused: unknown fields are
// ignored, unknown kinds and versions come out as [Unknown] with their bytes.
//
// It must never allocate for a claimed length before a limit has bounded it, and
// knows no network, no vault and no server. It does not judge what texts say:
// control characters are made harmless where they are shown.
//
// Reading order: content.go, body.go, check.go, encode.go, decode.go.
package content

import (
	"errors"
	"time"
)

// Version is the version of the messages that Encode writes.
const Version = 1

// Limits of a message. Encode and Decode hold them.
const (
	// MaxMessage is the largest encoded message, in bytes: kinds that only newer
	// clients know have room up to here.
	MaxMessage = 256 << 10
	// MaxText is the longest text, in bytes.
	MaxText = 64 << 10
	// MaxEmoji is the longest reaction, in bytes: families with skin tones joined
	// have up to 41.
	MaxEmoji = 64
	// MaxTitle is the longest title of a group, in bytes.
	MaxTitle = 256
	// MaxReceiptIDs is how many messages one receipt is for.
	MaxReceiptIDs = 1000
	// MaxUnreadable is how many envelopes one message says that it could not read.
	MaxUnreadable = 64
	// MaxAuthenticator is the longest epoch authenticator, in bytes: the largest
	// hash of a suite.
	MaxAuthenticator = 64
	// MaxTimer is the longest time after which messages go: 100 years, so that
	// adding it to a date stays in the calendar.
	MaxTimer = 100 * 365 * 24 * time.Hour
)

// maxSent is the last moment that a message can be sent in, in milliseconds since
// 1970: the end of the year 9999, the last that RFC 3339 and JSON can write.
const maxSent = 253402300799999

// Errors of Encode and Decode.
var (
	// ErrMalformed means that bytes are not a message.
	ErrMalformed = errors.New("not a message")
	// ErrLimit means that a message is over one of its limits.
	ErrLimit = errors.New("message is over its limits")
)

// ID names a message: 16 random bytes, chosen by the sender.
type ID [16]byte

// Message is a message with what holds for every kind. Times have milliseconds:
// what is finer is cut off.
type Message struct {
	ID   ID
	Sent time.Time // by the sender's clock
	// ExpireAfter is how long after its arrival the message goes, 0: never.
	ExpireAfter time.Duration
	Body        Body
}
