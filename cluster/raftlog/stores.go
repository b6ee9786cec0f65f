package raftlog

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

// Kind names a log store.
type Kind string

// The kinds.
const (
	BoltDB Kind = "boltdb"
	WAL    Kind = "wal"
)

// Check returns why a kind is none.
func (k Kind) Check() error {
	if k != BoltDB && k != WAL {
		return fmt.Errorf("log store %q: use %s or %s", string(k), BoltDB, WAL)
	}
	return nil
}

// Names in the raft directory.
const (
	boltFile = "raft.db"
	walDir   = "wal"
	kindFile = "kind"
	tempTail = ".tmp"
)

// ErrKind means that a directory's log is in the other kind of store.
var ErrKind = errors.New("the log is in another store")

// Options are what stores are opened from.
type Options struct {
	Dir  string
	Kind Kind
	// OnFault is told of a damaged entry, once; the node must stop.
	OnFault func(error)
	Logger  *slog.Logger
}

// Stores are a node's open log and stable store.
type Stores struct {
	// Log verifies every entry it reads.
	Log    raft.LogStore
	Stable raft.StableStore

	bolt *raftboltdb.BoltStore
	wal  *walStore // nil for boltdb
}

// Open opens a directory's stores, which are made if there are none, and
// verifies the newest entries.
func Open(o Options) (*Stores, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := o.Kind.Check(); err != nil {
		return nil, err
	}
	if err := settleKind(o.Dir, o.Kind); err != nil {
		return nil, err
	}
	bolt, err := openBolt(filepath.Join(o.Dir, boltFile), o.Logger)
	if err != nil {
		return nil, err
	}
	s := &Stores{Stable: bolt, bolt: bolt}
	file := bolt2path(o.Dir)
	var log raft.LogStore = bolt
	if o.Kind == WAL {
		file = filepath.Join(o.Dir, walDir)
		if s.wal, err = openWAL(file); err != nil {
			return nil, errors.Join(err, s.Close())
		}
		log = s.wal
	}
	checked := newChecked(log, file, o.Kind == WAL, o.OnFault)
	s.Log = checked
	if err := checked.verifyTail(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func bolt2path(dir string) string { return filepath.Join(dir, boltFile) }

// advice is what an operator does about a damaged log.
const advice = "empty this node's raft, store and snapshots directories and start it with --join: it fetches everything from the other nodes"

// Close closes both stores.
func (s *Stores) Close() error {
	var errs []error
	if s.wal != nil {
		errs = append(errs, s.wal.Close())
	}
	if s.bolt != nil {
		errs = append(errs, s.bolt.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close log: %w", err)
	}
	return nil
}

// settleKind compares a directory's kind with the wanted one; a fresh directory
// takes it.
func settleKind(dir string, want Kind) error {
	have, err := readKind(dir)
	if err != nil {
		return err
	}
	if have == "" {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("open log: %w", err)
		}
		return writeKind(dir, want)
	}
	if have != want {
		return fmt.Errorf("%w: %s holds a %s log and log-store is %s. Set log-store = %q, or move the log with `qpqd migrate-log --to %s`",
			ErrKind, dir, have, want, have, want)
	}
	return nil
}

// readKind returns "" for a fresh directory.
func readKind(dir string) (Kind, error) {
	file := filepath.Join(dir, kindFile)
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read kind of log: %w", err)
	}
	kind := Kind(strings.TrimSpace(string(raw)))
	if err := kind.Check(); err != nil {
		return "", fmt.Errorf("read %s: %w", file, err)
	}
	return kind, nil
}

// writeKind replaces the file whole.
func writeKind(dir string, kind Kind) error {
	file := filepath.Join(dir, kindFile)
	f, err := os.OpenFile(file+tempTail, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("write kind of log: %w", err)
	}
	_, err = fmt.Fprintln(f, kind)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write kind of log: %w", err)
	}
	if err := os.Rename(file+tempTail, file); err != nil {
		return fmt.Errorf("write kind of log: %w", err)
	}
	return syncDir(dir)
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("sync directory %s: %w", path, err)
	}
	return nil
}
