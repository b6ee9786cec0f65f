package schemas

import "time"

// Limits of the protocol. Every one is checked before memory is allocated for
// what it bounds.
// docs/limits.md lists them for people; a test compares the two.
const (
	// MaxBody is the largest payload of one envelope, in bytes.
	MaxBody = 1 << 20
	// MaxEphemeralBody is the largest payload of an ephemeral envelope, in bytes.
	MaxEphemeralBody = 64 << 10
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

	// MaxRequestOpen is the largest request message, in bytes, that a connection without
	// a session should send: what is larger shares little memory with all other such.
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
	// MaxMembers is how many of the cluster's nodes a node names to clients at most.
	MaxMembers = 16

	// AccountKeySize is the size of an account's identity key, in bytes.
	AccountKeySize = 32
	// DeviceIDSize is the size of a device id, in bytes.
	DeviceIDSize = 16
	// ChannelIDSize is the size of a channel id, in bytes.
	ChannelIDSize = 16
	// RequestIDSize is the size of a request id, in bytes.
	RequestIDSize = 16
	// TokenSize is the size of a session token, in bytes.
	TokenSize = 32
	// TokenHashSize is the size of a session token's SHA-256, in bytes.
	TokenHashSize = 32
	// HandshakeIDSize is the size of a login's id, in bytes.
	HandshakeIDSize = 16
	// InviteSize is the size of an invite token, in bytes.
	InviteSize = 16
	// InviteHashSize is the size of an invite token's SHA-256, in bytes.
	InviteHashSize = 32
	// MaxInviteUses is how many accounts one invite is good for at most.
	MaxInviteUses = 10_000
	// NodeKeySize is the size of the SHA-256 by which a node's key is known, in bytes.
	NodeKeySize = 32
	// MaxNodeKeys is how many nodes' keys the cluster remembers at most.
	MaxNodeKeys = 64
	// MaxDeniedKeys is how many keys of nodes the cluster denies at most.
	MaxDeniedKeys = 256
	// NameHashSize is the size of the keyed hash of a name, in bytes.
	NameHashSize = 32
	// SignatureSize is the size of an Ed25519 signature, in bytes.
	SignatureSize = 64
	// HybridKeySize is the size of a hybrid public key (ML-KEM-768, X25519), in bytes.
	HybridKeySize = 1216

	// MaxUsername is the longest canonical username, in bytes.
	MaxUsername = 255
	// MaxAccountRecord is the largest OPAQUE record, in bytes.
	MaxAccountRecord = 1024
	// MaxDeviceName is the longest name of a device, in bytes.
	MaxDeviceName = 128
	// MaxEndpoint is the largest published endpoint, in bytes.
	MaxEndpoint = 512
	// MaxRevocations is how many statements on revoked devices are kept for an
	// account; beyond them the oldest goes.
	MaxRevocations = 256
	// MaxInstances is how many instances of a device one bindSession names as held.
	MaxInstances = 16
	// MaxSecretName is the longest name of a cluster secret, in bytes.
	MaxSecretName = 64
	// MaxSecret is the largest wrapped secret, in bytes.
	MaxSecret = 8 << 10
	// MaxRenewals is how many sessions one entry renews.
	MaxRenewals = 1024
	// MaxKeyPackage is the largest key package, in bytes.
	MaxKeyPackage = 16 << 10
	// MaxKeyPackages is how many key packages one call uploads, the last-resort
	// one aside.
	MaxKeyPackages = 100
	// MaxKeyPackageDays is the longest lifetime that a key package may have.
	MaxKeyPackageDays = 180
	// MaxIdentities is how many accounts one fetchHybridKeys names.
	MaxIdentities = 256
	// MinGroupID is the shortest group id, in bytes.
	MinGroupID = 16
	// MaxGroupID is the longest group id, in bytes.
	MaxGroupID = 64
	// MaxDeliveries is how many deliveries one publishCommit has.
	MaxDeliveries = 16
	// MaxGroupInfo is the largest group info, in bytes.
	MaxGroupInfo = 1 << 20
	// MaxContacts is how many accounts one setContacts names.
	MaxContacts = 256
	// MaxCursors is how many cursors one subscribe names.
	MaxCursors = 4096
	// MaxChannels is how many channels one listChannels returns.
	MaxChannels = 1024
	// MaxDrainBytes bounds the bodies that a fetch with drain removes at once; at
	// least one envelope always goes.
	MaxDrainBytes = 1 << 20

	// WireVersion is the version that calls carry.
	WireVersion = 1
	// AuthVersion is the version of the Auth structure.
	AuthVersion = 1
	// EntryVersion is the format version of Entry.
	EntryVersion = 1
	// FeatureLevel is what this build announces; a command is proposed only
	// when every member announces at least the command's level.
	FeatureLevel = 7

	// MaxWait is the longest wait of fetchWait.
	MaxWait = 60 * time.Second
	// MaxCallTimeout is the longest time a caller may give a call.
	MaxCallTimeout = 60 * time.Second
	// DefaultCallTimeout is the time of a call that names none.
	DefaultCallTimeout = 10 * time.Second
)
