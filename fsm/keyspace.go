package fsm

import (
	"encoding/binary"

	"quicproquo/schemas"
)

// The tables. The first byte of a key is its table; numbers in keys are big
// endian, so that keys sort like their numbers. A table's number is part of
// format version 1 and is never used again.
//
//	meta       0                                  → metaRow
//	settings   1 name                             → value, 8 bytes
//	dedupe     2 generation:4 requestID actor     → code, value, results
//	heads      3 queue                            → head
//	envelopes  4 queue seq:8                      → envelopeRow
//	bodies     5 bodyID:8                         → a body that several queues share
//	bodyRefs   6 bodyID:8                         → how many queues still hold it, 8 bytes
//	due        7 bucket:8 queue                   → dueRow
//	timers     8 bucket:8 kind:1 key              → nothing
//	secrets    9 name                             → version:8 wrapped
//	accounts  10 account                          → accountRow
//	usernames 11 name                             → usernameRow
//	sessions  12 tokenHash                        → sessionRow
//	sessionsOf 13 account tokenHash               → nothing
//	handshakes 14 handshakeID                     → nothing
//	handshakes 14 SHA-256 of an upload:32         → nothing
//	logins    15 name hash                        → loginRow
//	logins    15 name hash, device                → loginRow, of the device's own attempts
//	endpoints 16 account device                   → endpointRow
//	pools     17 account device                   → poolRow
//	packages  18 account device number:8          → expiry:8 package
//	packageHashes 19 hash                         → hashRow
//	claims    20 requester account                → log time, 8 bytes
//	claims    20 "registration"                   → log time, 8 bytes: of the whole cluster
//	hybridKeys 21 account device                  → hybridRow
//	channels  22 channelID                        → channelRow
//	pairs     23 lower account, higher account    → channelID
//	channelsOf 24 account channelID               → nothing
//	groups    25 groupID                          → groupRow
//	groupInfos 26 groupID                         → the group info
//	usages    27 account                          → usageRow
//	ends      28 second:8 queue seq:8             → nothing
//	statements 29 account device                  → statementRow
//	skeletons 30 version:1 SHA-256 of the skeleton:32 name → nothing
//	instances 31 account device                   → instanceRow
//	contacts  32 account                          → contactCounts
//	contacts  32 account, other account           → standing, 1 byte
//	shares    33 queue, sender's account, kind:1  → shareRow
//	invites   34 SHA-256 of the token             → inviteRow
//	groupUsages 35 account                        → groupUsage
//	nodeKeys  36 node                             → nodeKeyRow
//	deniedKeys 37 key:32                          → the node that had it
//
// A queue in a key is owner:32 device:16 and then 0 for the inbox or 1 and the
// channel's id: no queue's key is the beginning of another's.
type table byte

const (
	tableMeta table = iota
	tableSettings
	tableDedupe
	tableHeads
	tableEnvelopes
	tableBodies
	tableBodyRefs
	tableDue
	tableTimers
	tableSecrets
	tableAccounts
	tableUsernames
	tableSessions
	tableSessionsOf
	tableHandshakes
	tableLogins
	tableEndpoints
	tablePools
	tablePackages
	tablePackageHashes
	tableClaims
	tableHybridKeys
	tableChannels
	tablePairs
	tableChannelsOf
	tableGroups
	tableGroupInfos
	tableUsages
	tableEnds
	tableStatements
	tableSkeletons
	tableInstances
	tableContacts
	tableShares
	tableInvites
	tableGroupUsages
	tableNodeKeys
	tableDeniedKeys
	tableEnd
)

const (
	maxQueueKey = schemas.AccountKeySize + schemas.DeviceIDSize + 1 + schemas.ChannelIDSize
	// maxKey is the longest key, in bytes: an end's.
	maxKey = 1 + 8 + maxQueueKey + 8
)

func appendQueue(key []byte, q *QueueID) []byte {
	key = append(key, q.Owner[:]...)
	key = append(key, q.Device[:]...)
	if !q.Channel.some {
		return append(key, 0)
	}
	key = append(key, 1)
	return append(key, q.Channel.id[:]...)
}

// readQueue undoes appendQueue and returns what follows.
func readQueue(key []byte) (q QueueID, rest []byte, ok bool) {
	const fixed = schemas.AccountKeySize + schemas.DeviceIDSize
	if len(key) < fixed+1 {
		return q, nil, false
	}
	copy(q.Owner[:], key)
	copy(q.Device[:], key[schemas.AccountKeySize:])
	kind, rest := key[fixed], key[fixed+1:]
	switch {
	case kind == 0:
		return q, rest, true
	case kind == 1 && len(rest) >= schemas.ChannelIDSize:
		q.Channel.some = true
		copy(q.Channel.id[:], rest)
		return q, rest[schemas.ChannelIDSize:], true
	}
	return q, nil, false
}

// rowKey is the key of a row in one of the topics' tables.
func rowKey(t table, parts ...[]byte) []byte {
	size := 1
	for _, part := range parts {
		size += len(part)
	}
	key := append(make([]byte, 0, size), byte(t))
	for _, part := range parts {
		key = append(key, part...)
	}
	return key
}

// prefixEnd is the first key behind all that begin with prefix.
func prefixEnd(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

func metaKey() []byte { return []byte{byte(tableMeta)} }

func settingKey(name string) []byte {
	return append([]byte{byte(tableSettings)}, name...)
}

func appendHeadKey(key []byte, q *QueueID) []byte {
	return appendQueue(append(key, byte(tableHeads)), q)
}

func appendEnvelopeKey(key []byte, q *QueueID, seq uint64) []byte {
	key = appendQueue(append(key, byte(tableEnvelopes)), q)
	return binary.BigEndian.AppendUint64(key, seq)
}

func appendBodyKey(key []byte, t table, body uint64) []byte {
	return binary.BigEndian.AppendUint64(append(key, byte(t)), body)
}

func appendDueKey(key []byte, bucket uint64, q *QueueID) []byte {
	key = binary.BigEndian.AppendUint64(append(key, byte(tableDue)), bucket)
	return appendQueue(key, q)
}

// appendEndKey names an envelope under the second of log time at which it ends.
func appendEndKey(key []byte, second uint64, q *QueueID, seq uint64) []byte {
	key = binary.BigEndian.AppendUint64(append(key, byte(tableEnds)), second)
	return binary.BigEndian.AppendUint64(appendQueue(key, q), seq)
}

// appendDedupePrefix begins every key of one generation.
func appendDedupePrefix(key []byte, generation uint64) []byte {
	return binary.BigEndian.AppendUint32(append(key, byte(tableDedupe)), uint32(generation))
}
