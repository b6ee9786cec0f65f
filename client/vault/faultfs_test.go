package vault

import (
	"errors"
	"os"
	"syscall"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"
)

// operation is what SQLite does to a file, below the cipher.
type operation string

const (
	opWrite    operation = "write"
	opSync     operation = "sync"
	opTruncate operation = "truncate"
)

// faultFS is the operating system's files, with a say in what fails. An operation
// that fails has been carried out before if the fault says so.
type faultFS struct {
	vfs.VFSFilename
	fault func(op operation, name string) (err error, carriedOut bool)
}

func newFaultFS(fault func(operation, string) (error, bool)) *faultFS {
	return &faultFS{vfs.Find("").(vfs.VFSFilename), fault}
}

// OpenFilename wraps the file.
func (f *faultFS) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	file, flags, err := f.VFSFilename.OpenFilename(name, flags)
	if err != nil {
		return nil, flags, err
	}
	return &faultFile{file, f, name.String()}, flags, nil
}

type faultFile struct {
	vfs.File
	fs   *faultFS
	name string
}

func (f *faultFile) do(op operation, run func() error) error {
	err, carriedOut := f.fs.fault(op, f.name)
	if errors.Is(err, errSkipped) {
		return nil
	}
	if err == nil || carriedOut {
		if err := run(); err != nil {
			return err
		}
	}
	return err
}

func (f *faultFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.do(opWrite, func() error { n, err = f.File.WriteAt(p, off); return err })
	if err != nil {
		n = 0
	}
	return n, err
}

func (f *faultFile) Sync(flags vfs.SyncFlag) error {
	return f.do(opSync, func() error { return f.File.Sync(flags) })
}

func (f *faultFile) Truncate(size int64) error {
	return f.do(opTruncate, func() error { return f.File.Truncate(size) })
}

// failFrom fails operations of one kind from the n-th on, until it is switched off.
type failFrom struct {
	op         operation
	n          int
	err        error
	carriedOut bool

	seen int
	off  bool
}

func (f *failFrom) fault(op operation, _ string) (error, bool) {
	if f.off || op != f.op {
		return nil, false
	}
	if f.seen++; f.seen < f.n {
		return nil, false
	}
	return f.err, f.carriedOut
}

// killAt kills the process at the n-th operation.
func killAt(n int) func(operation, string) (error, bool) {
	seen := 0
	return func(operation, string) (error, bool) {
		if seen++; seen == n {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // the signal is on its way
		}
		return nil, false
	}
}

var (
	errDiskFull = sqlite3.FULL
	errNoSync   = sqlite3.IOERR_FSYNC
	// errSkipped is a success that the disk only claims.
	errSkipped    = errors.New("skipped")
	errNoTruncate = sqlite3.IOERR_TRUNCATE
)
