package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cespare/xxhash/v2"
	"github.com/hashicorp/raft"
	raftwal "github.com/hashicorp/raft-wal"
	bolterrors "go.etcd.io/bbolt/errors"

	"quicproquo/internal/planted"
	"quicproquo/schemas"
)

const (
	// verifyEntries and verifyBytes bound how many of the newest entries are read
	// when a log is opened: those that raft's cache would serve without looking at
	// the disk again.
	verifyEntries = 2048
	verifyBytes   = 64 << 20
)

// ErrDamaged means that something on disk is not what was written.
var ErrDamaged = errors.New("the log on disk is damaged")

// ErrDisk means that the disk refused a write or a sync. Nobody can say what it
// holds now, so nothing more is written until the node starts again.
var ErrDisk = errors.New("the disk of the log fails")

// advice is what an operator does about a damaged log.
const advice = "empty this node's raft, store and snapshots directories and start it with --join: it fetches everything from the other nodes"

// checked is a log store whose entries carry a checksum over index, term, type,
// data and time in raft's Extensions field, which raft does not use. It is added
// to a copy on the way to the disk and taken off on the way back, so raft never
// sees it and it never travels. Safe for concurrent use as the store beneath is.
type checked struct {
	store raft.LogStore
	file  string // for messages
	kind  Kind
	fault func(error) // told once
	once  sync.Once
	// failed is set by the first write that the disk refused.
	failed atomic.Pointer[error]
}

var (
	_ raft.LogStore          = (*checked)(nil)
	_ raft.MonotonicLogStore = (*checked)(nil)
)

func newChecked(store raft.LogStore, file string, kind Kind, fault func(error)) *checked {
	if fault == nil {
		fault = func(error) {}
	}
	return &checked{store: store, file: file, kind: kind, fault: fault}
}

// IsMonotonic is true for the store that takes consecutive indexes only: raft
// clears it when it installs a snapshot.
func (c *checked) IsMonotonic() bool { return c.kind == WAL }

const checksumSize = 8

func checksum(log *raft.Log) uint64 {
	var head [29]byte
	binary.LittleEndian.PutUint64(head[0:], log.Index)
	binary.LittleEndian.PutUint64(head[8:], log.Term)
	binary.LittleEndian.PutUint64(head[16:], uint64(log.AppendedAt.Unix()))
	binary.LittleEndian.PutUint32(head[24:], uint32(log.AppendedAt.Nanosecond()))
	head[28] = byte(log.Type)
	var d xxhash.Digest
	d.Reset()
	_, _ = d.Write(head[:]) // never fails
	_, _ = d.Write(log.Data)
	return d.Sum64()
}

// FirstIndex returns the oldest index, 0 for an empty log.
func (c *checked) FirstIndex() (index uint64, err error) {
	defer c.rescue(&err, "its first entry")()
	return c.store.FirstIndex()
}

// LastIndex returns the newest index, 0 for an empty log.
func (c *checked) LastIndex() (index uint64, err error) {
	defer c.rescue(&err, "its last entry")()
	return c.store.LastIndex()
}

// GetLog reads and verifies one entry. raft.ErrLogNotFound is not damage: after
// a snapshot was installed a boltdb log has a gap (Verify).
func (c *checked) GetLog(index uint64, log *raft.Log) (err error) {
	what := "entry"
	defer c.rescue(&err, what)()
	if err := c.store.GetLog(index, log); err != nil {
		if errors.Is(err, raft.ErrLogNotFound) || isClosed(err) {
			return err
		}
		return c.damaged(index, err.Error())
	}
	if planted.On(planted.ChecksumOff) {
		log.Extensions = nil
		return nil
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
	if err := checkCommand(log); err != nil {
		return c.damaged(index, err.Error())
	}
	log.Extensions = nil
	return nil
}

// checkCommand verifies a command's envelope. A format of a newer version is not
// damage: whoever applies the entry says what to do.
func checkCommand(log *raft.Log) error {
	if log.Type != raft.LogCommand {
		return nil
	}
	if err := schemas.CheckEnvelope(log.Data); err != nil && !errors.Is(err, schemas.ErrFormatVersion) {
		return err
	}
	return nil
}

// rescue turns a panic of a read into an error: bbolt panics on pages that make
// no sense, and its mapped file faults where the disk can't be read.
func (c *checked) rescue(err *error, what string) func() {
	before := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(before)
		if p := recover(); p != nil {
			*err = c.report(fmt.Errorf("%w: read %s of %s: %v; %s", ErrDamaged, what, c.file, p, advice))
		}
	}
}

func (c *checked) damaged(index uint64, why string) error {
	return c.report(fmt.Errorf("%w: entry %d in %s: %s; %s", ErrDamaged, index, c.file, why, advice))
}

func (c *checked) report(err error) error {
	c.once.Do(func() { c.fault(err) })
	return err
}

// StoreLog stores one entry.
func (c *checked) StoreLog(log *raft.Log) error { return c.StoreLogs([]*raft.Log{log}) }

// StoreLogs stores entries durably, each with its checksum. A command whose
// envelope does not hold is refused: once stored it would stop every node.
func (c *checked) StoreLogs(logs []*raft.Log) error {
	copies := make([]raft.Log, len(logs))
	sums := make([]byte, checksumSize*len(logs))
	pointers := make([]*raft.Log, len(logs))
	for i, log := range logs {
		if err := checkCommand(log); err != nil {
			return fmt.Errorf("write entry %d to %s: %w", log.Index, c.file, err)
		}
		sum := sums[i*checksumSize : (i+1)*checksumSize]
		binary.LittleEndian.PutUint64(sum, checksum(log))
		copies[i] = *log
		copies[i].Extensions = sum
		pointers[i] = &copies[i]
	}
	return c.write(func() error { return c.store.StoreLogs(pointers) })
}

// DeleteRange removes entries, both ends included.
func (c *checked) DeleteRange(low, high uint64) error {
	return c.write(func() error { return c.store.DeleteRange(low, high) })
}

// write runs a change unless an earlier one has failed for good.
func (c *checked) write(change func() error) (err error) {
	if failed := c.failed.Load(); failed != nil {
		return *failed
	}
	before := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(before)
		if p := recover(); p != nil {
			err = c.fail(fmt.Errorf("%w: write %s: %v; %s", ErrDamaged, c.file, p, advice))
		}
	}()
	err = change()
	if err == nil || isClosed(err) {
		return err
	}
	if c.survives(err) {
		return fmt.Errorf("write log %s: %w", c.file, err)
	}
	return c.fail(fmt.Errorf("%w: write %s: %w; see to the disk and start the node again", ErrDisk, c.file, err))
}

func (c *checked) fail(err error) error {
	c.failed.CompareAndSwap(nil, &err)
	return c.report(err)
}

// survives tells whether a store is as good as before a failed write. A bolt file
// is when the disk was full: the transaction never reached its meta page. A wal
// takes nothing after any failed append, and after a failed sync nobody knows
// what the disk holds, even if a second sync succeeds.
func (c *checked) survives(err error) bool {
	if c.kind == WAL {
		return false
	}
	var errno syscall.Errno
	return !errors.As(err, &errno) || errno == syscall.ENOSPC || errno == syscall.EDQUOT
}

func isClosed(err error) bool {
	return errors.Is(err, raftwal.ErrClosed) || errors.Is(err, bolterrors.ErrDatabaseNotOpen)
}

// verifyTail reads the newest entries.
func (c *checked) verifyTail() error {
	first, last, err := c.bounds()
	if err != nil || last == 0 {
		return err
	}
	var log raft.Log
	entries, size := 0, 0
	for index := last; index >= first && entries < verifyEntries && size < verifyBytes; index-- {
		err := c.GetLog(index, &log)
		if err != nil && !errors.Is(err, raft.ErrLogNotFound) {
			return err
		}
		entries++
		size += len(log.Data)
	}
	return nil
}

// verifyAfter reads every entry after an index; none may be missing.
func (c *checked) verifyAfter(after uint64) error {
	_, last, err := c.bounds()
	if err != nil {
		return err
	}
	var log raft.Log
	for index := after + 1; index <= last; index++ {
		err := c.GetLog(index, &log)
		if errors.Is(err, raft.ErrLogNotFound) {
			return fmt.Errorf("%w: entry %d is missing in %s; %s", ErrDamaged, index, c.file, advice)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *checked) bounds() (first, last uint64, err error) {
	if first, err = c.FirstIndex(); err != nil {
		return 0, 0, fmt.Errorf("read log %s: %w", c.file, err)
	}
	if last, err = c.LastIndex(); err != nil {
		return 0, 0, fmt.Errorf("read log %s: %w", c.file, err)
	}
	return first, last, nil
}
