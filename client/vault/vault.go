package vault

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/ncruces/go-sqlite3/vfs"
)

// Vault is an open vault. Its methods may be called from any goroutine; they take
// turns.
type Vault struct {
	dir string

	mu   sync.Mutex
	db   *database // nil once closed
	lock *os.File
}

// settings are what tests change.
type settings struct {
	base       vfs.VFS  // nil: the operating system's files
	migrations []string // nil: the schema's
}

func (s settings) schema() []string {
	if s.migrations != nil {
		return s.migrations
	}
	return migrations
}

// Create makes a vault in a directory, which is made if it does not exist, and
// opens it. ErrExists if there is one.
func Create(dir string, key Key) (*Vault, error) { return settings{}.create(dir, key) }

// Open opens the vault in a directory: ErrMissing, ErrWrongKey, ErrKeyring,
// ErrCorrupt, ErrNewer and ErrBusy say why it can't.
func Open(dir string, key Key) (*Vault, error) { return settings{}.open(dir, key) }

func (s settings) create(dir string, key Key) (*Vault, error) {
	defer key.forget()
	lock, err := prepareCreate(dir)
	if err != nil {
		return nil, err
	}
	dataKey := newDataKey()
	if err := s.write(dir, key, dataKey); err != nil {
		return nil, errors.Join(fmt.Errorf("create vault: %w", err), lock.Close())
	}
	return s.start(dir, dataKey, lock)
}

// prepareCreate locks a directory that has no vault. The remains of an interrupted
// Create are removed.
func prepareCreate(dir string) (*os.File, error) {
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	lock, err := takeLock(dir)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{keyFileName, databaseFile} {
		there, err := exists(dir, name)
		if err == nil && there {
			err = ErrExists
		}
		if err != nil {
			return nil, errors.Join(err, lock.Close())
		}
	}
	if err := removeNew(dir); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// write makes the files of a new vault. The database gets its name last, and
// vault.key just before: a directory with a key and a complete database that has
// its temporary name still is a vault, which finishMove completes.
func (s settings) write(dir string, key Key, dataKey []byte) error {
	file, err := key.wrap(dataKey)
	if err != nil {
		return err
	}
	if err := s.writeDatabase(dir, dataKey); err != nil {
		return errors.Join(err, removeNew(dir))
	}
	return install(dir, file)
}

// install makes a complete vault.db.new and a key file the directory's vault.
func install(dir string, file keyFile) error {
	if err := syncDir(dir); err != nil { // the database is there before its key is
		return err
	}
	if err := replaceFile(dir, keyFileName, file.encode()); err != nil {
		return err
	}
	return moveIn(dir, databaseFile)
}

func (s settings) writeDatabase(dir string, dataKey []byte) error {
	file := filepath.Join(dir, databaseFile+newSuffix)
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_RDWR, fileMode)
	if err != nil {
		return fmt.Errorf("make database: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("make database: %w", err)
	}
	// The database forgets its key when it closes, and the caller's is needed yet.
	d, err := openDatabase(file, append([]byte(nil), dataKey...), s.base)
	if err != nil {
		return err
	}
	err = d.format()
	if err == nil {
		err = d.migrate(s.schema())
	}
	if err == nil {
		// Closing does this too, but does not say when it can't.
		err = d.checkpoint()
	}
	if err := errors.Join(err, d.close()); err != nil {
		return err
	}
	return syncFile(file)
}

func (s settings) open(dir string, key Key) (*Vault, error) {
	defer key.forget()
	there, err := isVault(dir)
	if err != nil {
		return nil, err
	}
	if !there {
		return nil, missing(dir)
	}
	if err := private(dir); err != nil {
		return nil, err
	}
	lock, err := takeLock(dir)
	if err != nil {
		return nil, err
	}
	dataKey, err := unlock(dir, key)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s.start(dir, dataKey, lock)
}

func missing(dir string) error {
	return fmt.Errorf("%w: %s", ErrMissing, dir)
}

// isVault reports whether the directory has a vault, be it a damaged one.
func isVault(dir string) (bool, error) {
	key, err := exists(dir, keyFileName)
	if err != nil || key {
		return key, err
	}
	return exists(dir, databaseFile)
}

// unlock returns the data key of a vault.
func unlock(dir string, key Key) ([]byte, error) {
	file, err := readKeyFile(dir)
	if err != nil {
		return nil, err
	}
	dataKey, err := key.unwrap(file)
	if err != nil {
		return nil, fmt.Errorf("open vault %s: %w", dir, err)
	}
	return dataKey, nil
}

func readKeyFile(dir string) (keyFile, error) {
	raw, err := readSmall(filepath.Join(dir, keyFileName), maxKeyFile)
	if notExist(err) {
		return keyFile{}, fmt.Errorf("%w: %s is missing in %s; restore it, or the vault from a backup", ErrCorrupt, keyFileName, dir)
	}
	if err != nil {
		return keyFile{}, fmt.Errorf("open vault: %w", err)
	}
	return parseKeyFile(raw)
}

// start opens the database of a locked directory. It takes key and lock over.
func (s settings) start(dir string, dataKey []byte, lock *os.File) (*Vault, error) {
	d, err := s.openExisting(dir, dataKey)
	if err != nil {
		clear(dataKey)
		return nil, errors.Join(err, lock.Close())
	}
	return &Vault{dir: dir, db: d, lock: lock}, nil
}

func (s settings) openExisting(dir string, dataKey []byte) (*database, error) {
	if err := finishMove(dir); err != nil {
		return nil, err
	}
	file := filepath.Join(dir, databaseFile)
	if err := checkLog(file+walSuffix, dataKey); err != nil {
		return nil, fmt.Errorf("open vault %s: %w", dir, err)
	}
	d, err := openDatabase(file, dataKey, s.base)
	if err != nil {
		return nil, err
	}
	err = d.check()
	if err == nil {
		// The log exists now; it must exist after a power cut too, with what the first
		// Update writes to it.
		err = syncDir(dir)
	}
	if err == nil && d.checkpoint() != nil {
		// The disk may be full: what a crash has left in the log stays there.
		d.walPages = -1
	}
	if err == nil {
		err = d.migrate(s.schema())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open vault %s: %w", dir, err), d.close())
	}
	return d, nil
}

// finishMove completes what a Create, Import or Rekey that was interrupted has left.
func finishMove(dir string) error {
	there, err := exists(dir, databaseFile)
	if err != nil {
		return err
	}
	if there {
		return removeNew(dir)
	}
	complete, err := exists(dir, databaseFile+newSuffix)
	if err != nil {
		return err
	}
	if !complete {
		return fmt.Errorf("%w: %s is missing in %s; restore it from a backup", ErrCorrupt, databaseFile, dir)
	}
	return moveIn(dir, databaseFile)
}

// Close stores what is left to store and unlocks the directory. A second call does
// nothing.
func (v *Vault) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.db == nil {
		return nil
	}
	err := errors.Join(v.db.close(), v.lock.Close())
	v.db = nil
	return err
}

func (v *Vault) usable() error {
	switch {
	case v.db == nil:
		return ErrClosed
	case v.db.failed:
		return ErrFailed
	}
	return nil
}

// Scrub removes what deleted rows have left in the log; see also walLimit. It costs
// some syncs: for quiet moments and after secrets were deleted.
func (v *Vault) Scrub() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.usable(); err != nil {
		return err
	}
	return v.db.checkpoint()
}

func newDataKey() []byte {
	key := make([]byte, dataKeySize)
	_, _ = rand.Read(key) // never fails
	return key
}
