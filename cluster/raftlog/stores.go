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

// Names in the raft directory.
const (
	boltFile = "raft.db"
	walDir   = "wal"
	kindFile = "kind"
	tempTail = ".tmp"
)

// Options are what stores are opened from.
type Options struct {
	Dir  string
	Kind Kind
	// OnFault is told of a damaged entry or a failing disk, once; the node must
	// stop. It is called from within reads and writes and must not wait for them.
	OnFault func(error)
	Logger  *slog.Logger
}

// Stores are a node's open log and stable store.
type Stores struct {
	// Log verifies every entry it reads.
	Log raft.LogStore
	// Stable holds raft's term and vote.
	Stable raft.StableStore

	dir    string
	kind   Kind
	log    *checked
	stable *stable
	bolt   *raftboltdb.BoltStore
	wal    *walStore // nil for boltdb
}

// Info is what a status shows of a log.
type Info struct {
	Kind Kind
	// First and Last are the log's ends, 0 for an empty one.
	First, Last uint64
	// Bytes is the size of the files; Free is how much of it bolt would use again.
	Bytes, Free int64
}

// tuning is what tests set smaller.
type tuning struct {
	compact     compaction
	segmentSize int // of a wal, bytes; 0 for the library's 64 MiB
}

func standard() tuning {
	return tuning{compact: compaction{above: 256 << 20, share: 0.5, txBytes: 64 << 20}}
}

// Open opens a directory's stores, which are made if there are none, and
// verifies the newest entries. Its errors name the file and say what to do.
func Open(o Options) (*Stores, error) {
	return open(o, standard())
}

func open(o Options, t tuning) (*Stores, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := o.Kind.Check(); err != nil {
		return nil, err
	}
	fresh, err := checkKind(o.Dir, o.Kind)
	if err != nil {
		return nil, err
	}
	if fresh {
		if err := makeStores(o.Dir, o.Kind); err != nil {
			return nil, err
		}
	}
	s, err := openStores(o, t)
	if err != nil {
		return nil, err
	}
	if err := s.log.verifyTail(); err != nil {
		return nil, errors.Join(err, s.closeFiles())
	}
	info, err := s.Info()
	if err != nil {
		return nil, errors.Join(err, s.closeFiles())
	}
	o.Logger.Info("log opened", "dir", o.Dir, "store", string(info.Kind), "first", info.First, "last", info.Last,
		"bytes", info.Bytes, "free", info.Free)
	return s, nil
}

// makeStores makes what a fresh directory needs; the kind is written last, so a
// crash before that leaves a directory that is still fresh.
func makeStores(dir string, kind Kind) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make log: %w", err)
	}
	file := filepath.Join(dir, boltFile)
	left, err := exists(file)
	if err != nil {
		return fmt.Errorf("make log: %w", err)
	}
	if left {
		if err := checkUnused(dir); err != nil {
			return err
		}
	} else if err := makeBolt(file); err != nil {
		return err
	}
	if kind == WAL {
		if err := makeWAL(filepath.Join(dir, walDir)); err != nil {
			return err
		}
	}
	return writeKind(dir, kind)
}

// checkUnused makes sure that a bolt file without a kind beside it was left by an
// interrupted start, and is not a log whose kind was lost.
func checkUnused(dir string) error {
	file := filepath.Join(dir, boltFile)
	bolt, err := openBolt(file, standard().compact, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	stable, err := openStable(bolt, file)
	if err != nil {
		return errors.Join(err, bolt.Close())
	}
	last, err := bolt.LastIndex()
	if err == nil && (last != 0 || len(stable.values) != 0) {
		err = fmt.Errorf("%w: %s is missing, but %s is in use; %s", ErrDamaged, filepath.Join(dir, kindFile), file, advice)
	}
	return errors.Join(err, bolt.Close())
}

// openStores opens what is there and compares it with what was closed.
func openStores(o Options, t tuning) (_ *Stores, err error) {
	file := filepath.Join(o.Dir, boltFile)
	there, err := exists(file)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	if !there {
		return nil, fmt.Errorf("%w: %s is missing; %s", ErrDamaged, file, advice)
	}
	s := &Stores{dir: o.Dir, kind: o.Kind}
	if s.bolt, err = openBolt(file, t.compact, o.Logger); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.closeFiles())
		}
	}()
	if s.stable, err = openStable(s.bolt, file); err != nil {
		return nil, err
	}
	var log raft.LogStore = s.bolt
	if o.Kind == WAL {
		file = filepath.Join(o.Dir, walDir)
		if s.wal, err = openWAL(file, t.segmentSize, o.Logger); err != nil {
			return nil, err
		}
		log = s.wal
	}
	s.log = newChecked(log, file, o.Kind, o.OnFault)
	s.Log, s.Stable = s.log, s.stable
	if err := s.checkClosed(); err != nil {
		return nil, err
	}
	return s, nil
}

// Verify reads every entry after an index, which is what raft reads when it
// starts from a snapshot of that index, and panics without. A boltdb log may have
// a gap below that, where a snapshot was installed; none may be above.
func (s *Stores) Verify(after uint64) error { return s.log.verifyAfter(after) }

// Info returns the log's extent and size.
func (s *Stores) Info() (info Info, err error) {
	info.Kind = s.kind
	if info.First, info.Last, err = s.log.bounds(); err != nil {
		return info, err
	}
	stat, err := os.Stat(filepath.Join(s.dir, boltFile))
	if err != nil {
		return info, fmt.Errorf("measure log: %w", err)
	}
	info.Bytes, info.Free = stat.Size(), int64(s.bolt.Stats().FreeAlloc)
	if s.wal == nil {
		return info, nil
	}
	entries, err := os.ReadDir(s.wal.dir)
	if err != nil {
		return info, fmt.Errorf("measure log: %w", err)
	}
	for _, entry := range entries {
		if stat, err := entry.Info(); err == nil { // else it was deleted meanwhile
			info.Bytes += stat.Size()
		}
	}
	return info, nil
}

// Close notes what the log is and closes both stores.
func (s *Stores) Close() error {
	if err := errors.Join(s.noteClosed(), s.closeFiles()); err != nil {
		return fmt.Errorf("close log: %w", err)
	}
	return nil
}

func (s *Stores) closeFiles() error {
	var errs []error
	if s.wal != nil {
		errs = append(errs, s.wal.Close())
	}
	if s.bolt != nil {
		errs = append(errs, s.bolt.Close())
	}
	return errors.Join(errs...)
}
