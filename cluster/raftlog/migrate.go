package raftlog

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"
)

// migrateChunk and migrateBytes bound what is copied in one write.
const (
	migrateChunk = 64
	migrateBytes = 8 << 20
)

// Migrate moves a stopped node's log to the other kind of store and returns how
// many entries it has. The stable store stays where it is. The old log counts
// until the kind file is replaced, the last step but cleaning up; so an
// interrupted migration is run again or not, as the operator likes.
//
// A boltdb log may have a gap where a snapshot was installed; a wal can't, so it
// gets the entries after the gap: raft needs those before it no more.
func Migrate(dir string, to Kind) (uint64, error) {
	return migrate(dir, to, func(string) error { return nil })
}

// migrate calls step before every step; its error stops the migration there, as a
// crash would.
func migrate(dir string, to Kind, step func(name string) error) (uint64, error) {
	if err := to.Check(); err != nil {
		return 0, err
	}
	from, err := readKind(dir)
	if err != nil {
		return 0, err
	}
	if from == "" {
		return 0, fmt.Errorf("migrate log: %s holds no log; start the node with --log-store %s", dir, to)
	}
	// Opening verifies the log and takes the note of its closing away.
	o := Options{Dir: dir, Kind: from, Logger: slog.New(slog.DiscardHandler)}
	s, err := openStores(o, standard())
	if err != nil {
		return 0, err
	}
	switch {
	case from == to:
	case to == WAL:
		err = s.toWAL(step)
	default:
		err = s.toBolt(step)
	}
	if err := errors.Join(err, s.closeFiles()); err != nil {
		return 0, fmt.Errorf("migrate log in %s to %s: %w", dir, to, err)
	}
	return checkMigrated(dir, to)
}

// checkMigrated opens the result as a node would, reads all of it and counts.
func checkMigrated(dir string, kind Kind) (uint64, error) {
	s, err := Open(Options{Dir: dir, Kind: kind})
	if err != nil {
		return 0, err
	}
	n, err := s.log.count()
	return n, errors.Join(err, s.Close())
}

// count reads every entry; those of a gap are none.
func (c *checked) count() (n uint64, err error) {
	first, last, err := c.bounds()
	if err != nil || last == 0 {
		return 0, err
	}
	var log raft.Log
	for index := first; index <= last; index++ {
		err := c.GetLog(index, &log)
		if errors.Is(err, raft.ErrLogNotFound) {
			continue
		}
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

func (s *Stores) toWAL(step func(string) error) error {
	final := filepath.Join(s.dir, walDir)
	temp := final + tempTail
	if err := makeWAL(temp); err != nil {
		return err
	}
	wal, err := openWAL(temp, 0, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	err = copyLogs(s.log, newChecked(wal, temp, WAL, nil), step)
	if err := errors.Join(err, wal.Close()); err != nil {
		return err
	}
	if err := step("rename"); err != nil {
		return err
	}
	if err := os.RemoveAll(final); err != nil { // left by an interrupted migration
		return err
	}
	if err := os.Rename(temp, final); err != nil {
		return err
	}
	if err := syncDir(s.dir); err != nil {
		return err
	}
	if err := step("kind"); err != nil {
		return err
	}
	if err := writeKind(s.dir, WAL); err != nil {
		return err
	}
	if err := step("clean"); err != nil {
		return err
	}
	return clearLogs(s.bolt)
}

func (s *Stores) toBolt(step func(string) error) error {
	if err := step("clear"); err != nil {
		return err
	}
	if err := clearLogs(s.bolt); err != nil { // left by an interrupted migration
		return err
	}
	file := filepath.Join(s.dir, boltFile)
	if err := copyLogs(s.log, newChecked(s.bolt, file, BoltDB, nil), step); err != nil {
		return err
	}
	if err := step("kind"); err != nil {
		return err
	}
	if err := writeKind(s.dir, BoltDB); err != nil {
		return err
	}
	if err := step("clean"); err != nil {
		return err
	}
	return errors.Join(s.wal.Close(), os.RemoveAll(filepath.Join(s.dir, walDir)))
}

// clearLogs removes every entry, in pieces that fit in memory.
func clearLogs(s raft.LogStore) error {
	last, err := s.LastIndex()
	if err != nil {
		return err
	}
	for {
		first, err := s.FirstIndex()
		if err != nil || first == 0 {
			return err
		}
		if err := s.DeleteRange(first, min(last, first+verifyEntries)); err != nil {
			return err
		}
	}
}

// copyLogs copies the entries after the last gap, verified on the way, and reads
// the copy back.
func copyLogs(from, to *checked, step func(string) error) error {
	first, last, err := from.unbroken()
	if err != nil || last == 0 {
		return err
	}
	for at := first; at <= last; {
		chunk, err := from.chunk(at, last)
		if err != nil {
			return err
		}
		if err := step("copy"); err != nil {
			return err
		}
		if err := to.StoreLogs(chunk); err != nil {
			return err
		}
		at += uint64(len(chunk))
	}
	if err := step("compare"); err != nil {
		return err
	}
	return compareLogs(from, to, first, last)
}

// chunk reads entries from an index on, at least one.
func (c *checked) chunk(at, last uint64) ([]*raft.Log, error) {
	var chunk []*raft.Log
	size := 0
	for index := at; index <= last && len(chunk) < migrateChunk && size < migrateBytes; index++ {
		log := &raft.Log{}
		if err := c.GetLog(index, log); err != nil {
			return nil, err
		}
		chunk = append(chunk, log)
		size += len(log.Data)
	}
	return chunk, nil
}

func compareLogs(from, to *checked, first, last uint64) error {
	copiedFirst, copiedLast, err := to.bounds()
	if err != nil {
		return err
	}
	if copiedFirst != first || copiedLast != last {
		return fmt.Errorf("the copy has entries %d to %d, want %d to %d", copiedFirst, copiedLast, first, last)
	}
	var a, b raft.Log
	for index := first; index <= last; index++ {
		if err := errors.Join(from.GetLog(index, &a), to.GetLog(index, &b)); err != nil {
			return err
		}
		if checksum(&a) != checksum(&b) {
			return fmt.Errorf("entry %d differs in the copy", index)
		}
	}
	return nil
}

// unbroken returns the bounds of the entries after the last gap.
func (c *checked) unbroken() (first, last uint64, err error) {
	low, last, err := c.bounds()
	if err != nil || last == 0 {
		return 0, 0, err
	}
	var log raft.Log
	for first = last; first > low; first-- {
		err := c.GetLog(first-1, &log)
		if errors.Is(err, raft.ErrLogNotFound) {
			return first, last, nil
		}
		if err != nil {
			return 0, 0, err
		}
	}
	return first, last, nil
}
