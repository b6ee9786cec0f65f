package raftlog

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"quicproquo/internal/planted"
)

// boltLockWait bounds the wait for a second process; without it Open waits for
// ever.
const boltLockWait = time.Second

// compaction says when a bolt file is rewritten at the start of a node: it never
// shrinks by itself.
type compaction struct {
	above   int64   // bytes; smaller files are left alone
	share   float64 // of the file that must be free
	txBytes int64   // of one transaction of the rewriting
}

func boltOptions() *bbolt.Options {
	return &bbolt.Options{
		Timeout:        boltLockWait,
		FreelistType:   bbolt.FreelistMapType,
		NoFreelistSync: true, // rebuilt on open; saves a write per commit
	}
}

// makeBolt makes a bolt file with an empty stable record; it never sets NoSync.
// The file appears whole or not at all, so one that does not check is damage.
func makeBolt(file string) error {
	temp := file + tempTail
	if err := removeFile(temp); err != nil { // left by a crash
		return fmt.Errorf("make log: %w", err)
	}
	bolt, err := newBolt(temp)
	if err != nil {
		return err
	}
	err = bolt.Set([]byte(stableKey), encodeStable(nil))
	if err := errors.Join(err, bolt.Close()); err != nil {
		return fmt.Errorf("make log %s: %w", file, err)
	}
	if err := os.Rename(temp, file); err != nil {
		return fmt.Errorf("make log: %w", err)
	}
	return syncDir(filepath.Dir(file))
}

// openBolt checks a bolt file's structure and opens it.
func openBolt(file string, when compaction, logger *slog.Logger) (*raftboltdb.BoltStore, error) {
	if err := removeFile(file + tempTail); err != nil { // left by a crash
		return nil, fmt.Errorf("open log: %w", err)
	}
	if err := checkBoltFile(file); err != nil {
		return nil, err
	}
	if err := compactIfFree(file, when, logger); err != nil {
		return nil, err
	}
	return newBolt(file)
}

func newBolt(file string) (*raftboltdb.BoltStore, error) {
	store, err := raftboltdb.New(raftboltdb.Options{
		Path: file, BoltOptions: boltOptions(), MsgpackUseNewTimeFormat: true, NoSync: planted.On(planted.FsyncOff),
	})
	if err != nil {
		return nil, openError(file, err)
	}
	return store, nil
}

func openError(file string, err error) error {
	if errors.Is(err, bolterrors.ErrTimeout) {
		return fmt.Errorf("open log %s: another process has it open; stop that one", file)
	}
	return fmt.Errorf("open log %s: %w", file, err)
}

// compactIfFree rewrites a large file that is mostly free. Where that does not
// succeed, on a full disk for instance, the node starts with the file as it is.
func compactIfFree(file string, when compaction, logger *slog.Logger) error {
	info, err := os.Stat(file)
	if err != nil || info.Size() < when.above {
		return err
	}
	db, err := bbolt.Open(file, 0o600, boltOptions())
	if err != nil {
		return openError(file, err)
	}
	free := int64(db.Stats().FreePageN) * int64(db.Info().PageSize)
	if float64(free) < when.share*float64(info.Size()) {
		return db.Close()
	}
	temp := file + tempTail
	if err := errors.Join(rewriteBolt(db, temp, when.txBytes), db.Close()); err != nil {
		logger.Warn("log file not compacted", "file", file, "error", err)
		return removeFile(temp)
	}
	if err := os.Rename(temp, file); err != nil {
		return fmt.Errorf("compact %s: %w", file, err)
	}
	logger.Info("log file compacted", "file", file, "before", info.Size(), "free", free)
	return syncDir(filepath.Dir(file))
}

func rewriteBolt(db *bbolt.DB, temp string, txBytes int64) error {
	to, err := bbolt.Open(temp, 0o600, boltOptions())
	if err != nil {
		return err
	}
	err = bbolt.Compact(to, db, txBytes)
	if err == nil {
		err = to.Sync()
	}
	return errors.Join(err, to.Close())
}
