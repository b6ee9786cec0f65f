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
	tableEnd
)

const (
	maxQueueKey = schemas.AccountKeySize + schemas.DeviceIDSize + 1 + schemas.ChannelIDSize
	// maxKey is the longest key, in bytes: a due row's.
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

// appendDedupePrefix begins every key of one generation.
func appendDedupePrefix(key []byte, generation uint64) []byte {
	return binary.BigEndian.AppendUint32(append(key, byte(tableDedupe)), uint32(generation))
}
