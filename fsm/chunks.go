package fsm

import (
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// chunks is a file system that writes tables and blob files in large pieces. Pebble
// writes them block by block, 32 KiB each, through a buffer of 4 KiB that cuts them
// at odd places. The kernel takes large pieces in large folios, for a third of the
// time: docs/decisions/0023 has the measurements.
type chunks struct {
	vfs.FS
	buffers sync.Pool // of *[]byte, capacity chunkBytes
}

// chunkBytes is the size of a piece: below what Pebble leaves unsynced behind it
// (1 MiB), so that a file's early syncs find everything written.
const chunkBytes = 512 << 10

// Unwrap returns the file system beneath.
func (c *chunks) Unwrap() vfs.FS { return c.FS }

// Create makes a file to be written.
func (c *chunks) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := c.FS.Create(name, category)
	if err != nil || !strings.HasSuffix(name, tableSuffix) && !strings.HasSuffix(name, blobSuffix) {
		return file, err
	}
	buffer, ok := c.buffers.Get().(*[]byte)
	if !ok {
		b := make([]byte, 0, chunkBytes)
		buffer = &b
	}
	return &chunkedFile{File: file, buffer: buffer, chunks: c}, nil
}

// chunkedFile collects what is written. What is not written yet, the disk does not
// have: an error comes later than its bytes, at the sync at the latest. Its calls
// follow one another, as vfs.File says; only another Close may follow Close.
type chunkedFile struct {
	vfs.File
	buffer  *[]byte
	written int64 // bytes that the file beneath has
	chunks  *chunks
}

func (f *chunkedFile) Write(p []byte) (int, error) {
	taken := 0
	for taken < len(p) {
		n := min(len(p)-taken, chunkBytes-len(*f.buffer))
		*f.buffer = append(*f.buffer, p[taken:taken+n]...)
		taken += n
		if len(*f.buffer) < chunkBytes {
			break
		}
		if err := f.flush(); err != nil {
			return 0, err
		}
	}
	return taken, nil
}

// flush writes what was collected. After an error the file is of no use.
func (f *chunkedFile) flush() error {
	if len(*f.buffer) == 0 {
		return nil
	}
	n, err := f.File.Write(*f.buffer)
	f.written += int64(n)
	*f.buffer = (*f.buffer)[:0]
	return err
}

func (f *chunkedFile) Sync() error {
	if err := f.flush(); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *chunkedFile) SyncData() error {
	if err := f.flush(); err != nil {
		return err
	}
	return f.File.SyncData()
}

func (f *chunkedFile) SyncTo(length int64) (fullSync bool, err error) {
	if length > f.written {
		if err := f.flush(); err != nil {
			return false, err
		}
	}
	return f.File.SyncTo(length)
}

func (f *chunkedFile) Stat() (vfs.FileInfo, error) {
	if err := f.flush(); err != nil {
		return nil, err
	}
	return f.File.Stat()
}

func (f *chunkedFile) Close() error {
	if f.buffer == nil {
		return f.File.Close() // says that it is closed
	}
	err := f.flush()
	f.chunks.buffers.Put(f.buffer)
	f.buffer = nil
	if closing := f.File.Close(); err == nil {
		err = closing
	}
	return err
}
