package raftlog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
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

// ErrKind means that a directory's log is in the other kind of store.
var ErrKind = errors.New("the log is in another store")

// checkKind compares a directory's kind with the wanted one; fresh is true for a
// directory that holds no log yet.
func checkKind(dir string, want Kind) (fresh bool, err error) {
	have, err := readKind(dir)
	if err != nil {
		return false, err
	}
	if have != "" && have != want {
		return false, fmt.Errorf("%w: %s holds a %s log and log-store is %s. Set log-store = %q, or move the log with `qpqd migrate-log --to %s`",
			ErrKind, dir, have, want, have, want)
	}
	return have == "", nil
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
	if kind.Check() != nil {
		return "", fmt.Errorf("%w: %s does not say %s or %s; %s", ErrDamaged, file, BoltDB, WAL, advice)
	}
	return kind, nil
}

func writeKind(dir string, kind Kind) error {
	if err := writeWhole(filepath.Join(dir, kindFile), []byte(kind+"\n")); err != nil {
		return fmt.Errorf("write kind of log: %w", err)
	}
	return nil
}
