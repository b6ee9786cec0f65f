package schemas

import "time"

// Limits of the protocol. Every one is checked before memory is allocated for
// what it bounds.
// docs/limits.md lists them for people; a test compares the two.
const (
	// MaxBody is the largest payload of one envelope, in bytes.
	MaxBody = 1 << 20
	// MaxHeader is the largest per-recipient header, in bytes.
	MaxHeader = 4 << 10
	// MaxRecipients is how many recipients one batchEnqueue may name.
	MaxRecipients = 4096
	// MaxFetch is how many envelopes one fetch returns at most.
	MaxFetch = 1024
	// DefaultFetch is how many a fetch returns that names no limit.
	DefaultFetch = 100
	// MaxFetchBytes bounds the bodies of one fetch's answer; at least one
	// envelope is always returned.
	MaxFetchBytes = 4 << 20

	// MaxRequestOpen is the largest request message of a connection without a
	// session, in bytes.
	MaxRequestOpen = 64 << 10
	// MaxRequest is the largest request message of any method, in bytes: a
	// batchEnqueue with the largest body and small headers.
	MaxRequest = 3 << 20
	// MaxResponse is the largest response message, in bytes.
	MaxResponse = 8 << 20
	// MaxPeerMessage is the largest message between nodes, in bytes.
	MaxPeerMessage = 8 << 20
	// MaxSegments is how many segments a framed message may have.
	MaxSegments = 16
	// traversalFactor times the message's length may be read from a message
	// before the reader refuses: room for honest repeated reads, none for
	// amplification bombs.
	traversalFactor = 8

	// MaxEntry is the largest log entry command, in bytes: the largest request
	// and its envelope.
	MaxEntry = MaxRequest + 4<<10
	// MaxBatchEntries is how many commands one raft entry carries.
	MaxBatchEntries = 1024
	// MaxBatchBytes is how many bytes of commands one raft entry carries; a
	// single larger command travels alone.
	MaxBatchBytes = 1 << 20
	// MaxEnvelope is the largest sealed batch, in bytes.
	MaxEnvelope = MaxEntry + MaxBatchEntries*24 + 4<<10
	// MaxSettings is how many settings one command changes at most.
	MaxSettings = 64

	// AccountKeySize is the size of an account's identity key, in bytes.
	AccountKeySize = 32
	// DeviceIDSize is the size of a device id, in bytes.
	DeviceIDSize = 16
	// ChannelIDSize is the size of a channel id, in bytes.
	ChannelIDSize = 16
	// RequestIDSize is the size of a request id, in bytes.
	RequestIDSize = 16

	// WireVersion is the version that calls carry.
	WireVersion = 1
	// AuthVersion is the version of the Auth structure.
	AuthVersion = 1
	// EntryVersion is the format version of Entry.
	EntryVersion = 1
	// FeatureLevel is what this build announces; a command is proposed only
	// when every member announces at least the command's level.
	FeatureLevel = 1

	// MaxWait is the longest wait of fetchWait.
	MaxWait = 60 * time.Second
	// MaxCallTimeout is the longest time a caller may give a call.
	MaxCallTimeout = 60 * time.Second
	// DefaultCallTimeout is the time of a call that names none.
	DefaultCallTimeout = 10 * time.Second
)
