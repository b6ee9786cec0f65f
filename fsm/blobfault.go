package fsm

import (
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// blobFaults is the file system that a Pebble database writes through. Where a
// blob file can't be finished, Pebble 2.1.7 gives it up a second time after its
// writer is gone, and that ends the process with a nil pointer
// (sstable/blob.FileWriter.Close). So a failure in a blob file is kept from Pebble
// and told it by the very next change of any other file instead: of the table that
// refers to the blob file, or of the manifest that would name it. Neither can then
// be finished, so nothing ever refers to a blob file that is not whole.
//
// From the first failure on nothing is written any more: it stops the store, as
// every failure in the background does.
type blobFaults struct {
	vfs.FS
	failed atomic.Pointer[error]
}

// fail keeps the first failure.
func (f *blobFaults) fail(name string, err error) {
	if err != nil {
		err = fmt.Errorf("write %s: %w", name, err)
		f.failed.CompareAndSwap(nil, &err)
	}
}

func (f *blobFaults) err() error {
	if failed := f.failed.Load(); failed != nil {
		return *failed
	}
	return nil
}

// Unwrap returns the file system beneath.
func (f *blobFaults) Unwrap() vfs.FS { return f.FS }

// Create makes a file to be written.
func (f *blobFaults) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.err(); err != nil {
		return nil, err
	}
	file, err := f.FS.Create(name, category)
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(name, blobSuffix) {
		return &blobFile{file, name, f}, nil
	}
	return &guardedFile{file, f}, nil
}

// blobFile takes everything; what the disk refuses is told by other files.
type blobFile struct {
	vfs.File
	name   string
	faults *blobFaults
}

func (f *blobFile) Write(p []byte) (int, error) {
	_, err := f.File.Write(p)
	f.faults.fail(f.name, err)
	return len(p), nil
}

func (f *blobFile) Sync() error {
	f.faults.fail(f.name, f.File.Sync())
	return nil
}

func (f *blobFile) SyncData() error {
	f.faults.fail(f.name, f.File.SyncData())
	return nil
}

func (f *blobFile) SyncTo(length int64) (fullSync bool, err error) {
	fullSync, err = f.File.SyncTo(length)
	f.faults.fail(f.name, err)
	return fullSync, nil
}

func (f *blobFile) Close() error {
	f.faults.fail(f.name, f.File.Close())
	return nil
}

// guardedFile refuses every change once a blob file has failed.
type guardedFile struct {
	vfs.File
	faults *blobFaults
}

func (f *guardedFile) Write(p []byte) (int, error) {
	if err := f.faults.err(); err != nil {
		return 0, err
	}
	return f.File.Write(p)
}

func (f *guardedFile) Sync() error {
	if err := f.faults.err(); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *guardedFile) SyncData() error {
	if err := f.faults.err(); err != nil {
		return err
	}
	return f.File.SyncData()
}

func (f *guardedFile) SyncTo(length int64) (fullSync bool, err error) {
	if err := f.faults.err(); err != nil {
		return false, err
	}
	return f.File.SyncTo(length)
}
