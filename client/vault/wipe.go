package vault

import (
	"encoding/binary"

	"github.com/ncruces/go-sqlite3/util/vfsutil"
	"github.com/ncruces/go-sqlite3/vfs"
)

// wipingVFS wipes what the pages of a database have besides their content. SQLite's
// secure_delete zeroes a cell where it is deleted; but when pages split and merge,
// cells move, and what they leave behind in the old page's unused part stays there
// after they are deleted in the new one. Every page of the database file passes here
// when the log is carried over, so a scrub cleans each page that was changed.
type wipingVFS struct{ vfs.VFS }

// OpenFilename wraps the database's file; the log is cut, and needs no wiping.
func (w wipingVFS) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	file, flags, err := vfsutil.WrapOpenFilename(w.VFS, name, flags)
	if err != nil || flags&vfs.OPEN_MAIN_DB == 0 {
		return file, flags, err
	}
	return &wipingFile{File: file}, flags, nil
}

type wipingFile struct {
	vfs.File
	page [blockSize]byte
}

// WriteAt writes a page without what it has left over.
func (f *wipingFile) WriteAt(p []byte, at int64) (int, error) {
	if len(p) != blockSize || at%blockSize != 0 {
		return f.File.WriteAt(p, at)
	}
	copy(f.page[:], p)
	header := 0
	if at == 0 {
		header = 100 // the database's own, before that of its first page
	}
	if wipePage(f.page[:], header) {
		sum := checksum(f.page[:blockSize-checksumSize])
		copy(f.page[blockSize-checksumSize:], sum[:])
	}
	return f.File.WriteAt(f.page[:], at)
}

// Types of pages that have cells (https://sqlite.org/fileformat2.html#b_tree_pages).
// Other pages begin with the number of a page, whose first byte is 0 in every
// database below 64 GiB, or are zeros.
const (
	interiorIndex, interiorTable = 2, 5
	leafIndex, leafTable         = 10, 13
)

// wipePage zeroes the part of a page between the list of its cells and the first of
// them, and what lies in its free blocks. It reports whether it has changed anything:
// a page that is not as it should be stays as it is.
func wipePage(page []byte, header int) (changed bool) {
	size := 8
	switch page[header] {
	case interiorIndex, interiorTable:
		size = 12
	case leafIndex, leafTable:
	default:
		return false
	}
	end := len(page) - checksumSize
	cells := int(binary.BigEndian.Uint16(page[header+3:]))
	listEnd, content := header+size+2*cells, int(binary.BigEndian.Uint16(page[header+5:]))
	if listEnd > content || content > end {
		return false
	}
	changed = wipe(page[listEnd:content])
	// Free blocks are in order: their number is bounded by the page.
	last := content - 1
	for at := int(binary.BigEndian.Uint16(page[header+1:])); at != 0; {
		if at <= last || at+4 > end {
			return changed
		}
		length := int(binary.BigEndian.Uint16(page[at+2:]))
		if length < 4 || at+length > end {
			return changed
		}
		changed = wipe(page[at+4:at+length]) || changed
		last = at + length - 1
		at = int(binary.BigEndian.Uint16(page[at:]))
	}
	return changed
}

// wipe zeroes bytes and reports whether they were not.
func wipe(b []byte) (changed bool) {
	for i := range b {
		changed = changed || b[i] != 0
		b[i] = 0
	}
	return changed
}

// checksum is that of SQLite's cksumvfs (https://sqlite.org/cksumvfs.html).
func checksum(b []byte) (sum [checksumSize]byte) {
	var s1, s2 uint32
	for ; len(b) >= 8; b = b[8:] {
		s1 += binary.LittleEndian.Uint32(b) + s2
		s2 += binary.LittleEndian.Uint32(b[4:]) + s1
	}
	binary.LittleEndian.PutUint32(sum[:], s1)
	binary.LittleEndian.PutUint32(sum[4:], s2)
	return sum
}

// What SQLite asks of files besides is handed on.

// Unwrap returns the file that is wrapped.
func (f *wipingFile) Unwrap() vfs.File { return f.File }

// Pragma hands a pragma on.
func (f *wipingFile) Pragma(name, value string) (string, error) {
	return vfsutil.WrapPragma(f.File, name, value)
}

// ChunkSize hands the size of chunks on.
func (f *wipingFile) ChunkSize(size int) { vfsutil.WrapChunkSize(f.File, size) }

// SizeHint hands the expected size on.
func (f *wipingFile) SizeHint(size int64) error { return vfsutil.WrapSizeHint(f.File, size) }

// SharedMemory hands on that of the log's index.
func (f *wipingFile) SharedMemory() vfs.SharedMemory { return vfsutil.WrapSharedMemory(f.File) }

// LockState hands the state of the lock on.
func (f *wipingFile) LockState() vfs.LockLevel { return vfsutil.WrapLockState(f.File) }

// PersistentWAL hands on whether the log stays.
func (f *wipingFile) PersistentWAL() bool { return vfsutil.WrapPersistWAL(f.File) }

// SetPersistentWAL hands on that the log is to stay.
func (f *wipingFile) SetPersistentWAL(keep bool) { vfsutil.WrapSetPersistWAL(f.File, keep) }

// HasMoved hands on whether the file is another by now.
func (f *wipingFile) HasMoved() (bool, error) { return vfsutil.WrapHasMoved(f.File) }

// Overwrite hands on that all will be written anew.
func (f *wipingFile) Overwrite() error { return vfsutil.WrapOverwrite(f.File) }

// SyncSuper hands on the sync of a super journal.
func (f *wipingFile) SyncSuper(super string) error { return vfsutil.WrapSyncSuper(f.File, super) }

// CommitPhaseTwo hands on the end of a commit.
func (f *wipingFile) CommitPhaseTwo() error { return vfsutil.WrapCommitPhaseTwo(f.File) }

// CheckpointStart hands on that the log is being carried over.
func (f *wipingFile) CheckpointStart() { vfsutil.WrapCheckpointStart(f.File) }

// CheckpointDone hands on that it has been.
func (f *wipingFile) CheckpointDone() { vfsutil.WrapCheckpointDone(f.File) }

// BusyHandler hands on what to do while the file is locked.
func (f *wipingFile) BusyHandler(handler func() bool) { vfsutil.WrapBusyHandler(f.File, handler) }
