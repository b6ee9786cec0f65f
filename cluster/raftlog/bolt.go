package raftlog

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

const (
	// boltLockWait bounds the wait for a second process; without it Open waits
	// for ever.
	boltLockWait = time.Second
	// compactAbove and compactShare: a bolt file never shrinks by itself, so one
	// that is large and mostly free is rewritten when the node starts.
	compactAbove = 256 << 20
	compactShare = 0.5
	// compactTxBytes bounds one transaction of the rewriting.
	compactTxBytes = 64 << 20
)

func boltOptions() *bbolt.Options {
	return &bbolt.Options{
		Timeout:        boltLockWait,
		FreelistType:   bbolt.FreelistMapType,
		NoFreelistSync: true, // rebuilt on open; saves a write per commit
	}
}

// openBolt opens or makes a bolt file; it never sets NoSync.
func openBolt(path string, logger *slog.Logger) (store *raftboltdb.BoltStore, err error) {
	defer func() {
		// bbolt panics on files whose pages make no sense.
		if p := recover(); p != nil {
			store, err = nil, fmt.Errorf("open %s: %v: the file is damaged; %s", path, p, advice)
		}
	}()
	_, statErr := os.Stat(path)
	fresh := errors.Is(statErr, fs.ErrNotExist)
	if !fresh {
		if err := checkPages(path); err != nil {
			return nil, err
		}
		if err := compactIfFree(path, logger); err != nil {
			return nil, err
		}
	}
	store, err = raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: boltOptions(), MsgpackUseNewTimeFormat: true})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w; if it is damaged, %s", path, err, advice)
	}
	if fresh {
		// bbolt syncs the file, not its name.
		if err := syncDir(filepath.Dir(path)); err != nil {
			return nil, errors.Join(err, store.Close())
		}
	}
	return store, nil
}

// compactIfFree rewrites a large file that is mostly free.
func compactIfFree(path string, logger *slog.Logger) error {
	info, err := os.Stat(path)
	if err != nil || info.Size() < compactAbove {
		return err
	}
	db, err := bbolt.Open(path, 0o600, boltOptions())
	if err != nil {
		return fmt.Errorf("open %s: %w; if it is damaged, %s", path, err, advice)
	}
	free := int64(db.Stats().FreePageN) * int64(db.Info().PageSize)
	if float64(free) < compactShare*float64(info.Size()) {
		return db.Close()
	}
	temp := path + tempTail
	_ = os.Remove(temp) // left by a crash
	to, err := bbolt.Open(temp, 0o600, boltOptions())
	if err != nil {
		return errors.Join(fmt.Errorf("compact %s: %w", path, err), db.Close())
	}
	if err := errors.Join(bbolt.Compact(to, db, compactTxBytes), to.Sync(), to.Close(), db.Close()); err != nil {
		return fmt.Errorf("compact %s: %w", path, err)
	}
	if err := os.Rename(temp, path); err != nil {
		return fmt.Errorf("compact %s: %w", path, err)
	}
	logger.Info("log file compacted", "file", path, "before", info.Size(), "free", free)
	return syncDir(filepath.Dir(path))
}
