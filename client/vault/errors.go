package vault

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/ncruces/go-sqlite3"
)

// What a caller tells apart.
var (
	// ErrExists means that there is a vault in the directory already.
	ErrExists = errors.New("there is a vault in this directory already")
	// ErrMissing means that there is no vault in the directory.
	ErrMissing = errors.New("there is no vault in this directory")
	// ErrWrongKey means that the passphrase or the keyring's secret does not fit.
	ErrWrongKey = errors.New("wrong key of the vault")
	// ErrKeyring means that the operating system's keyring did not give or take the
	// secret: it is locked, absent or has no such item.
	ErrKeyring = errors.New("the keyring did not give the vault's secret")
	// ErrCorrupt means that a file of the vault or a backup is damaged.
	ErrCorrupt = errors.New("damaged vault")
	// ErrNewer means that a later version of the program has written the vault.
	ErrNewer = errors.New("the vault is of a newer version of the program")
	// ErrBusy means that a process has the vault; errors.As with *BusyError tells
	// which.
	ErrBusy = errors.New("another process has the vault")
	// ErrFull means that the disk is full; what was stored before is still there.
	ErrFull = errors.New("the disk is full")
	// ErrFailed means that the disk did not confirm a write: the vault does nothing
	// more until it is closed and opened again, which finds out what holds.
	ErrFailed = errors.New("the vault must be opened again after a failure of the disk")
	// ErrClosed means that the vault is closed.
	ErrClosed = errors.New("the vault is closed")
	// ErrReadOnly means that a View tried to write.
	ErrReadOnly = errors.New("write in a View")
)

// BusyError is ErrBusy with the process that has the vault.
type BusyError struct {
	Dir string
	PID int // 0 if unknown
}

func (e *BusyError) Error() string {
	switch e.PID {
	case 0:
		return fmt.Sprintf("%v: %s", ErrBusy, e.Dir)
	case os.Getpid():
		return fmt.Sprintf("this process has the vault open already: %s", e.Dir)
	default:
		return fmt.Sprintf("%v: %s, process %d", ErrBusy, e.Dir, e.PID)
	}
}

// Is makes errors.Is(err, ErrBusy) true.
func (e *BusyError) Is(target error) bool { return target == ErrBusy }

// storage names what SQLite reports in the package's own errors.
func storage(doing string, err error) error {
	if err == nil {
		return nil
	}
	if kind := kindOf(err); kind != nil && !errors.Is(err, kind) {
		return fmt.Errorf("%s: %w (%w)", doing, kind, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

func kindOf(err error) error {
	switch {
	case errors.Is(err, sqlite3.CORRUPT), errors.Is(err, sqlite3.NOTADB),
		// A page's checksum is wrong, or a file ends before it should.
		errors.Is(err, sqlite3.IOERR_DATA), errors.Is(err, sqlite3.IOERR_SHORT_READ):
		return ErrCorrupt
	case errors.Is(err, sqlite3.FULL), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return ErrFull
	case errors.Is(err, sqlite3.IOERR_FSYNC), errors.Is(err, sqlite3.IOERR_DIR_FSYNC):
		return ErrFailed
	}
	return nil
}

// notExist reports whether a file is absent.
func notExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
