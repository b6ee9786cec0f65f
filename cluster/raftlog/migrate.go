package raftlog

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

// migrateChunk is how many entries are copied in one write.
const migrateChunk = 64

// Migrate moves a stopped node's log to the other kind of store and returns how
// many entries it has. The old log counts until the kind file is replaced, the
// last step but cleaning up; so an interrupted migration is run again or not,
// as the operator likes.
func Migrate(dir string, to Kind) (uint64, error) {
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
	bolt, err := openBolt(filepath.Join(dir, boltFile), slog.New(slog.DiscardHandler))
	if err != nil {
		return 0, err
	}
	var moved uint64
	switch {
	case from == to:
		moved, err = countLogs(bolt, dir, from)
	case to == WAL:
		moved, err = boltToWAL(bolt, dir)
	default:
		moved, err = walToBolt(bolt, dir)
	}
	if err := errors.Join(err, bolt.Close()); err != nil {
		return 0, fmt.Errorf("migrate log in %s to %s: %w", dir, to, err)
	}
	return moved, nil
}

func countLogs(bolt *raftboltdb.BoltStore, dir string, kind Kind) (uint64, error) {
	if kind == BoltDB {
		return entries(bolt)
	}
	wal, err := openWAL(filepath.Join(dir, walDir))
	if err != nil {
		return 0, err
	}
	n, err := entries(wal)
	return n, errors.Join(err, wal.Close())
}

func entries(s raft.LogStore) (uint64, error) {
	first, err := s.FirstIndex()
	if err != nil {
		return 0, err
	}
	last, err := s.LastIndex()
	if err != nil || last == 0 {
		return 0, err
	}
	return last - first + 1, nil
}

func boltToWAL(bolt *raftboltdb.BoltStore, dir string) (uint64, error) {
	temp, final := filepath.Join(dir, walDir+tempTail), filepath.Join(dir, walDir)
	if err := errors.Join(os.RemoveAll(temp), os.RemoveAll(final)); err != nil {
		return 0, err
	}
	wal, err := openWAL(temp)
	if err != nil {
		return 0, err
	}
	moved, err := copyLogs(newChecked(bolt, boltFile, false, nil), newChecked(wal, temp, true, nil))
	if err := errors.Join(err, wal.Close()); err != nil {
		return 0, err
	}
	if err := os.Rename(temp, final); err != nil {
		return 0, err
	}
	if err := syncDir(dir); err != nil {
		return 0, err
	}
	if err := writeKind(dir, WAL); err != nil {
		return 0, err
	}
	return moved, clearLogs(bolt)
}

func walToBolt(bolt *raftboltdb.BoltStore, dir string) (uint64, error) {
	if err := clearLogs(bolt); err != nil { // left by an interrupted migration
		return 0, err
	}
	path := filepath.Join(dir, walDir)
	wal, err := openWAL(path)
	if err != nil {
		return 0, err
	}
	moved, err := copyLogs(newChecked(wal, path, true, nil), newChecked(bolt, boltFile, false, nil))
	if err := errors.Join(err, wal.Close()); err != nil {
		return 0, err
	}
	if err := writeKind(dir, BoltDB); err != nil {
		return 0, err
	}
	return moved, os.RemoveAll(path)
}

func clearLogs(s raft.LogStore) error {
	first, err := s.FirstIndex()
	if err != nil {
		return err
	}
	last, err := s.LastIndex()
	if err != nil || last == 0 {
		return err
	}
	return s.DeleteRange(first, last)
}

// copyLogs copies every entry, verified on the way, and reads the copy back.
func copyLogs(from, to *checked) (uint64, error) {
	n, err := entries(from)
	if err != nil || n == 0 {
		return 0, err
	}
	first, err := from.FirstIndex()
	if err != nil {
		return 0, err
	}
	last := first + n - 1
	for at := first; at <= last; at += migrateChunk {
		chunk := make([]*raft.Log, 0, migrateChunk)
		for index := at; index <= min(last, at+migrateChunk-1); index++ {
			log := &raft.Log{}
			if err := from.GetLog(index, log); err != nil {
				return 0, err
			}
			chunk = append(chunk, log)
		}
		if err := to.StoreLogs(chunk); err != nil {
			return 0, err
		}
	}
	copied, err := entries(to)
	if err != nil {
		return 0, err
	}
	if copied != n {
		return 0, fmt.Errorf("%d of %d entries arrived", copied, n)
	}
	var a, b raft.Log
	for index := first; index <= last; index++ {
		if err := errors.Join(from.GetLog(index, &a), to.GetLog(index, &b)); err != nil {
			return 0, err
		}
		if checksum(&a) != checksum(&b) {
			return 0, fmt.Errorf("entry %d differs in the copy", index)
		}
	}
	return n, nil
}
