package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/cespare/xxhash/v2"
	"github.com/hashicorp/raft"
)

// verifyEntries is how many of the newest entries are read when a log is opened:
// those that raft's cache would serve without looking at the disk again.
const verifyEntries = 2048

// ErrDamaged means that an entry is not what was written.
var ErrDamaged = errors.New("log entry on disk is damaged")

// checked is a log store whose entries carry a checksum over index, term, type
// and data in raft's Extensions field, which raft does not use. It is added to a
// copy on the way to the disk and taken off on the way back, so raft never sees
// it and it never travels.
type checked struct {
	raft.LogStore
	file      string
	monotonic bool
	fault     func(error)
	once      sync.Once
}

var (
	_ raft.LogStore          = (*checked)(nil)
	_ raft.MonotonicLogStore = (*checked)(nil)
)

func newChecked(store raft.LogStore, file string, monotonic bool, fault func(error)) *checked {
	if fault == nil {
		fault = func(error) {}
	}
	return &checked{LogStore: store, file: file, monotonic: monotonic, fault: fault}
}

// IsMonotonic is true for stores that take consecutive indexes only: raft clears
// them when it installs a snapshot.
func (c *checked) IsMonotonic() bool { return c.monotonic }

const checksumSize = 8

func checksum(log *raft.Log) uint64 {
	var head [17]byte
	binary.LittleEndian.PutUint64(head[0:], log.Index)
	binary.LittleEndian.PutUint64(head[8:], log.Term)
	head[16] = byte(log.Type)
	var d xxhash.Digest
	d.Reset()
	_, _ = d.Write(head[:]) // never fails
	_, _ = d.Write(log.Data)
	return d.Sum64()
}

// GetLog reads and verifies one entry.
func (c *checked) GetLog(index uint64, log *raft.Log) (err error) {
	defer func() {
		// bbolt panics on pages that make no sense; for a reader that is damage.
		if p := recover(); p != nil {
			err = c.damaged(index, fmt.Sprint(p))
		}
	}()
	if err := c.LogStore.GetLog(index, log); err != nil {
		if errors.Is(err, raft.ErrLogNotFound) {
			return err
		}
		return c.damaged(index, err.Error())
	}
	if log.Index != index {
		return c.damaged(index, fmt.Sprintf("it says it is entry %d", log.Index))
	}
	if len(log.Extensions) != checksumSize {
		return c.damaged(index, "it has no checksum")
	}
	if binary.LittleEndian.Uint64(log.Extensions) != checksum(log) {
		return c.damaged(index, "its checksum differs")
	}
	log.Extensions = nil
	return nil
}

func (c *checked) damaged(index uint64, why string) error {
	err := fmt.Errorf("%w: entry %d in %s: %s; %s", ErrDamaged, index, c.file, why, advice)
	c.once.Do(func() { c.fault(err) })
	return err
}

// StoreLog stores one entry.
func (c *checked) StoreLog(log *raft.Log) error { return c.StoreLogs([]*raft.Log{log}) }

// StoreLogs stores entries durably, each with its checksum.
func (c *checked) StoreLogs(logs []*raft.Log) error {
	copies := make([]raft.Log, len(logs))
	sums := make([]byte, checksumSize*len(logs))
	pointers := make([]*raft.Log, len(logs))
	for i, log := range logs {
		sum := sums[i*checksumSize : (i+1)*checksumSize]
		binary.LittleEndian.PutUint64(sum, checksum(log))
		copies[i] = *log
		copies[i].Extensions = sum
		pointers[i] = &copies[i]
	}
	if err := c.LogStore.StoreLogs(pointers); err != nil {
		return fmt.Errorf("write log %s: %w", c.file, err)
	}
	return nil
}

// verifyTail reads the newest entries.
func (c *checked) verifyTail() error {
	first, err := c.FirstIndex()
	if err != nil {
		return fmt.Errorf("read log %s: %w", c.file, err)
	}
	last, err := c.LastIndex()
	if err != nil {
		return fmt.Errorf("read log %s: %w", c.file, err)
	}
	if last == 0 {
		return nil
	}
	if last-first >= verifyEntries {
		first = last - verifyEntries + 1
	}
	var log raft.Log
	for index := first; index <= last; index++ {
		if err := c.GetLog(index, &log); err != nil {
			return err
		}
	}
	return nil
}
