package schemas

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"

	"quicproquo/internal/planted"
)

// The envelope around every log entry. Neither log store can be trusted with
// bit rot (raft-boltdb has no checksums at all), so the entry carries its own:
//
//	0  4  magic "QPQ" and the format version, 1
//	4  4  length of the payload, little endian
//	8  8  xxhash64 of the payload, little endian
//	16    payload: a framed Batch
//
// xxhash64 is there against rot, not against forgery: whoever can write the log
// is a node of the cluster, and the TLS between nodes keeps others out.
const (
	envelopeMagic   = "QPQ"
	envelopeVersion = 1
	envelopeHead    = 16
)

// ErrCorrupt means that a log entry is not what was written. A node that meets
// it must stop: going on would diverge.
var ErrCorrupt = errors.New("log entry is corrupt")

// ErrFormatVersion means that a log entry was written by a newer version.
var ErrFormatVersion = errors.New("log entry has an unknown format version")

// SealBatch returns the log entry for framed Entry messages and a stamp in
// milliseconds since 1970.
func SealBatch(stampMs uint64, entries [][]byte) ([]byte, error) {
	size := 0
	for _, entry := range entries {
		size += len(entry) + 2*wordSize
	}
	msg, seg := newSizedMessage(envelopeHead, size)
	batch, err := NewRootBatch(seg)
	if err != nil {
		return nil, fmt.Errorf("start batch: %w", err)
	}
	batch.SetStampMs(stampMs)
	list, err := batch.NewEntries(int32(len(entries)))
	if err != nil {
		return nil, fmt.Errorf("start batch of %d entries: %w", len(entries), err)
	}
	for i, entry := range entries {
		if err := list.Set(i, entry); err != nil {
			return nil, fmt.Errorf("add entry %d of %d bytes: %w", i, len(entry), err)
		}
	}
	return seal(msg)
}

// Padded is what an entry of so many bytes takes in a batch.
func Padded(size int) int { return (size + wordSize - 1) &^ (wordSize - 1) }

// FirstEntry returns where in what SealBatch made of entries the first of them
// begins: they lie at its end, one after another, each padded to a word.
func FirstEntry(sealed []byte, entries [][]byte) int {
	at := len(sealed)
	for _, entry := range entries {
		at -= Padded(len(entry))
	}
	return at
}

// seal fills in the envelope's head before a message.
func seal(msg *SizedMessage) ([]byte, error) {
	sealed, err := msg.marshal()
	if err != nil {
		return nil, fmt.Errorf("seal batch: %w", err)
	}
	payload := sealed[envelopeHead:]
	copy(sealed, envelopeMagic)
	sealed[3] = envelopeVersion
	binary.LittleEndian.PutUint32(sealed[4:], uint32(len(payload)))
	binary.LittleEndian.PutUint64(sealed[8:], xxhash.Sum64(payload))
	return sealed, nil
}

// CheckEnvelope verifies length and checksum of a log entry.
func CheckEnvelope(sealed []byte) error {
	_, err := envelopePayload(sealed)
	return err
}

func envelopePayload(sealed []byte) ([]byte, error) {
	if len(sealed) < envelopeHead || string(sealed[:3]) != envelopeMagic {
		return nil, fmt.Errorf("%w: no envelope in %d bytes", ErrCorrupt, len(sealed))
	}
	if sealed[3] != envelopeVersion {
		return nil, fmt.Errorf("%w %d; this build knows %d", ErrFormatVersion, sealed[3], envelopeVersion)
	}
	payload := sealed[envelopeHead:]
	if length := binary.LittleEndian.Uint32(sealed[4:]); uint64(length) != uint64(len(payload)) {
		return nil, fmt.Errorf("%w: length says %d, there are %d bytes", ErrCorrupt, length, len(payload))
	}
	if sum := binary.LittleEndian.Uint64(sealed[8:]); sum != xxhash.Sum64(payload) && !planted.On(planted.ChecksumOff) {
		return nil, fmt.Errorf("%w: checksum differs", ErrCorrupt)
	}
	return payload, nil
}

// OpenBatch verifies a log entry and returns its batch, which aliases sealed.
func OpenBatch(sealed []byte) (Batch, error) {
	payload, err := envelopePayload(sealed)
	if err != nil {
		return Batch{}, err
	}
	msg, err := Unmarshal(payload)
	if err != nil {
		return Batch{}, fmt.Errorf("read batch: %w", err)
	}
	batch, err := ReadRootBatch(msg)
	if err != nil {
		return Batch{}, fmt.Errorf("read batch: %w", err)
	}
	return batch, nil
}
