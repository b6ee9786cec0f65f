package vault

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"quicproquo/client/internal/crashpoint"
)

// The files of a vault.
const (
	databaseFile = "vault.db"
	walSuffix    = "-wal"
	// journalSuffix is of the time before the log: while a database is made.
	journalSuffix = "-journal"
	keyFileName   = "vault.key"
	lockFile      = "lock"
	copyName      = "export.new" // a copy of the database while it is exported
	// newSuffix marks a file that is not complete, or not in its place, yet.
	newSuffix = ".new"

	dirMode  = 0o700
	fileMode = 0o600
)

// makeDir makes the directory, durably, for its owner alone. One that exists and
// others can enter is taken only if it is empty: it is not ours to close.
func makeDir(dir string) error {
	made, err := missingParts(dir)
	if err != nil {
		return fmt.Errorf("make vault directory: %w", err)
	}
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return fmt.Errorf("make vault directory: %w", err)
	}
	for _, part := range made {
		if err := syncDir(filepath.Dir(part)); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("make vault directory: %w", err)
	}
	info, err := os.Stat(dir)
	if err == nil && len(entries) > 0 && !isPrivate(info) {
		return fmt.Errorf("make vault: %s is open to others; choose another directory, or: chmod 700 %s", dir, dir)
	}
	return private(dir)
}

// missingParts is dir and those above it that don't exist yet.
func missingParts(dir string) ([]string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	var parts []string
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir); !notExist(err) || dir == filepath.Dir(dir) {
			return parts, nil
		}
		parts = append(parts, dir)
	}
}

func isPrivate(info fs.FileInfo) bool { return info.Mode().Perm()&0o077 == 0 }

// private takes the rights of others to the directory away.
func private(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("open vault: %w", err)
	}
	if isPrivate(info) {
		return nil
	}
	if err := os.Chmod(dir, dirMode); err != nil {
		return fmt.Errorf("make vault directory private: %w", err)
	}
	return nil
}

// replaceFile puts content in the place of a file so that after a crash either the
// old or the new one is there, whole.
func replaceFile(dir, name string, content []byte) error {
	temp := filepath.Join(dir, name+newSuffix)
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, fileMode)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(storage("write "+name, err), os.Remove(temp))
	}
	return moveIn(dir, name)
}

// moveIn gives a new file its name, durably.
func moveIn(dir, name string) error {
	target := filepath.Join(dir, name)
	crashpoint.Reached(crashpoint.BeforeRename)
	if err := os.Rename(target+newSuffix, target); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	crashpoint.Reached(crashpoint.AfterRename)
	return syncDir(dir)
}

// syncDir makes durable which files the directory has. SQLite's own file layer
// does not do it in go-sqlite3 v0.33.3: vfsFile.Sync opens the directory and then
// syncs the file again.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync vault directory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync vault directory: %w", err)
	}
	return nil
}

// exists reports whether the directory has a file of this name.
func exists(dir, name string) (bool, error) {
	_, err := os.Lstat(filepath.Join(dir, name))
	if notExist(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("open vault: %w", err)
	}
	return true, nil
}

// removeFiles removes files that need not be there.
func removeFiles(dir string, names ...string) error {
	var errs []error
	for _, name := range names {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !notExist(err) {
			errs = append(errs, fmt.Errorf("clean vault: %w", err))
		}
	}
	return errors.Join(errs...)
}

// removeNew removes files that an interrupted call has left behind.
func removeNew(dir string) error {
	return removeFiles(dir, keyFileName+newSuffix, copyName, databaseFile+newSuffix,
		databaseFile+newSuffix+walSuffix, databaseFile+newSuffix+journalSuffix)
}

// syncFile makes a file's content durable.
func syncFile(name string) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("sync %s: %w", filepath.Base(name), err)
	}
	return storage("sync "+filepath.Base(name), errors.Join(f.Sync(), f.Close()))
}

// readSmall reads a file of at most limit bytes, or one byte more of a longer one.
func readSmall(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit+1))
}
