package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/cespare/xxhash/v2"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

// stable is raft's stable store: its term and its vote. A flipped bit there would
// let a node vote twice in a term, so all values are one record with a checksum,
// under one key of the bolt file that is written when the file is made and never
// absent. The values are read from disk once; raft reads what was last written.
type stable struct {
	bolt *raftboltdb.BoltStore
	file string // for messages

	mu     sync.Mutex
	values map[string][]byte
}

var _ raft.StableStore = (*stable)(nil)

const (
	stableKey = "stable"
	// maxStable bounds the record, in bytes: raft keeps two numbers and an id.
	maxStable = 64 << 10
)

// openStable reads the record.
func openStable(bolt *raftboltdb.BoltStore, file string) (*stable, error) {
	record, err := bolt.Get([]byte(stableKey))
	if err != nil && !errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return nil, fmt.Errorf("read term and vote in %s: %w", file, err)
	}
	values, err := decodeStable(record)
	if err != nil {
		return nil, fmt.Errorf("%w: term and vote in %s: %w; %s", ErrDamaged, file, err, advice)
	}
	return &stable{bolt: bolt, file: file, values: values}, nil
}

// Set stores one value durably.
func (s *stable) Set(key, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	values := maps.Clone(s.values)
	values[string(key)] = slices.Clone(value)
	record := encodeStable(values)
	if len(record) > maxStable {
		return fmt.Errorf("write term and vote: %d bytes, limit %d", len(record), maxStable)
	}
	if err := s.bolt.Set([]byte(stableKey), record); err != nil {
		return fmt.Errorf("write term and vote to %s: %w", s.file, err)
	}
	s.values = values
	return nil
}

// Get returns a value. What was never set is ErrKeyNotFound of raft-boltdb, whose
// text raft compares.
func (s *stable) Get(key []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	value, ok := s.values[string(key)]
	if !ok {
		return nil, raftboltdb.ErrKeyNotFound
	}
	return slices.Clone(value), nil
}

// SetUint64 stores a number.
func (s *stable) SetUint64(key []byte, value uint64) error {
	return s.Set(key, binary.BigEndian.AppendUint64(nil, value))
}

// GetUint64 returns a number.
func (s *stable) GetUint64(key []byte) (uint64, error) {
	value, err := s.Get(key)
	if err != nil {
		return 0, err
	}
	if len(value) != 8 {
		return 0, fmt.Errorf("read %s in %s: %d bytes are no number", key, s.file, len(value))
	}
	return binary.BigEndian.Uint64(value), nil
}

// sum identifies what the store holds.
func (s *stable) sum() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return xxhash.Sum64(encodeStable(s.values))
}

// encodeStable writes, in order of key, each key and value after its length, and
// the xxhash64 of all that.
func encodeStable(values map[string][]byte) []byte {
	var record []byte
	for _, key := range slices.Sorted(maps.Keys(values)) {
		record = binary.AppendUvarint(record, uint64(len(key)))
		record = append(record, key...)
		record = binary.AppendUvarint(record, uint64(len(values[key])))
		record = append(record, values[key]...)
	}
	return binary.LittleEndian.AppendUint64(record, xxhash.Sum64(record))
}

func decodeStable(record []byte) (map[string][]byte, error) {
	if len(record) == 0 {
		return nil, errors.New("the record is missing")
	}
	if len(record) < checksumSize || len(record) > maxStable {
		return nil, fmt.Errorf("the record has %d bytes", len(record))
	}
	body, sum := record[:len(record)-checksumSize], record[len(record)-checksumSize:]
	if binary.LittleEndian.Uint64(sum) != xxhash.Sum64(body) {
		return nil, errors.New("the checksum differs")
	}
	values := make(map[string][]byte)
	for len(body) > 0 {
		key, rest, ok := cutCounted(body)
		if !ok {
			return nil, errors.New("the record is cut off")
		}
		value, rest, ok := cutCounted(rest)
		if !ok {
			return nil, errors.New("the record is cut off")
		}
		values[string(key)] = slices.Clone(value)
		body = rest
	}
	return values, nil
}

func cutCounted(b []byte) (part, rest []byte, ok bool) {
	length, n := binary.Uvarint(b)
	if n <= 0 || length > uint64(len(b)-n) {
		return nil, nil, false
	}
	end := n + int(length)
	return b[n:end], b[end:], true
}
