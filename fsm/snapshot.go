package fsm

import (
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"quicproquo/schemas"
)

// A snapshot is a directory: a Pebble checkpoint, whose tables and blob files are
// hard links to the store's own, and a header that says what it is.

const (
	// SnapshotHeaderFile is the file of a snapshot directory that holds its header,
	// a framed schemas.SnapshotHeader. It is not in the header's list of files.
	SnapshotHeaderFile = "SNAPSHOT"
	// MaxSnapshotHeader bounds a header, in bytes.
	MaxSnapshotHeader = 4 << 20
	// MaxSnapshotFiles bounds the files of a snapshot: at 2 MiB a table and
	// usually far more, more than 100 GiB.
	MaxSnapshotFiles = 1 << 16
	// maxSnapshotSize bounds what a header may say of its files' sizes together, in
	// bytes: far above any disk, and far below where sums overflow.
	maxSnapshotSize = 1 << 60
)

// SnapshotInfo is a snapshot's header.
type SnapshotInfo struct {
	// Index is the last log entry in the snapshot, Digest the digest after it,
	// StampMs its log time.
	Index   uint64
	Digest  uint64
	StampMs uint64
	// Files are all files but the header, in order of name.
	Files []SnapshotFile
}

// SnapshotFile is a file of a snapshot: its base name and its size in bytes.
type SnapshotFile struct {
	Name string
	Size uint64
}

// Size is the sum of the files' sizes, in bytes.
func (i *SnapshotInfo) Size() uint64 {
	total := uint64(0)
	for _, f := range i.Files {
		total += f.Size
	}
	return total
}

// Checkpoint makes a snapshot in a directory that must not exist yet. It writes
// out the memtable and links the tables, so it costs little however large the
// store is. Apply may run meanwhile: the snapshot then holds the state of some
// moment between call and return, at or after the entry that was applied last
// before the call.
//
// If it fails, the directory is removed and the store goes on.
func (s *Store) Checkpoint(dir string) (info SnapshotInfo, err error) {
	gen, err := s.acquire()
	if err != nil {
		return info, err
	}
	defer func() { err = errors.Join(err, gen.release()) }()
	// Without a write-ahead log a checkpoint has only what was flushed.
	if err := gen.flush(); err != nil {
		return info, fmt.Errorf("make snapshot %s: flush: %w", dir, err)
	}
	if err := gen.checkpoint(dir); err != nil {
		return info, errors.Join(fmt.Errorf("make snapshot %s: %w", dir, err), s.fs.RemoveAll(dir))
	}
	if info, err = s.describe(dir); err == nil {
		err = WriteSnapshotInfo(s.fs, dir, info)
	}
	if err != nil {
		err = fmt.Errorf("make snapshot %s: %w", dir, err)
		return SnapshotInfo{}, errors.Join(err, s.fs.RemoveAll(dir))
	}
	return info, nil
}

func (g *generation) checkpoint(dir string) (err error) {
	defer rescue(&err)
	return g.db.Checkpoint(dir)
}

// describe reads from the checkpoint itself what it holds.
func (s *Store) describe(dir string) (info SnapshotInfo, err error) {
	if info.Files, err = snapshotFiles(s.fs, dir); err != nil {
		return info, err
	}
	opts := s.pebbleOptions(nil)
	opts.ReadOnly, opts.ErrorIfNotExists = true, true
	db, err := openPebble(dir, opts)
	if err != nil {
		return info, fmt.Errorf("open checkpoint: %w", err)
	}
	meta, err := readMeta(db)
	info.Index, info.Digest, info.StampMs = meta.index, meta.digest, meta.stamp
	return info, errors.Join(err, db.Close())
}

// snapshotFiles lists what belongs to a snapshot in a directory.
func snapshotFiles(fs vfs.FS, dir string) ([]SnapshotFile, error) {
	names, err := fs.List(dir)
	if err != nil {
		return nil, err
	}
	sort.Strings(names)
	var files []SnapshotFile
	for _, name := range names {
		if name == SnapshotHeaderFile || name == "LOCK" {
			continue
		}
		stat, err := fs.Stat(fs.PathJoin(dir, name))
		if err != nil {
			return nil, err
		}
		files = append(files, SnapshotFile{Name: name, Size: uint64(stat.Size())})
	}
	return files, nil
}

// Marshal returns the header as a framed schemas.SnapshotHeader.
func (i *SnapshotInfo) Marshal() ([]byte, error) {
	msg, seg := schemas.NewMessage()
	header, err := schemas.NewRootSnapshotHeader(seg)
	if err != nil {
		return nil, err
	}
	header.SetFormatVersion(FormatVersion)
	header.SetCommandIndex(i.Index)
	header.SetDigest(i.Digest)
	header.SetStampMs(i.StampMs)
	list, err := header.NewFiles(int32(len(i.Files)))
	if err != nil {
		return nil, err
	}
	for n, f := range i.Files {
		if err := list.At(n).SetName(f.Name); err != nil {
			return nil, err
		}
		list.At(n).SetSize(f.Size)
	}
	return msg.Marshal()
}

// ParseSnapshotInfo reads a header. The names of its files are checked: no path,
// no duplicates, nothing that this package keeps for itself.
func ParseSnapshotInfo(frame []byte) (info SnapshotInfo, err error) {
	if len(frame) > MaxSnapshotHeader {
		return info, fmt.Errorf("%w: snapshot header of %d bytes, limit %d", ErrDamaged, len(frame), MaxSnapshotHeader)
	}
	msg, err := schemas.Unmarshal(frame)
	if err != nil {
		return info, fmt.Errorf("%w: read snapshot header: %w", ErrDamaged, err)
	}
	header, err := schemas.ReadRootSnapshotHeader(msg)
	if err != nil {
		return info, fmt.Errorf("%w: read snapshot header: %w", ErrDamaged, err)
	}
	if v := header.FormatVersion(); v != FormatVersion {
		return info, fmt.Errorf("snapshot: %w %d, this build knows %d: update this node", ErrFormatVersion, v, FormatVersion)
	}
	list, err := header.Files()
	if err != nil {
		return info, fmt.Errorf("%w: read snapshot header: %w", ErrDamaged, err)
	}
	if list.Len() > MaxSnapshotFiles {
		return info, fmt.Errorf("%w: snapshot header names %d files, limit %d", ErrDamaged, list.Len(), MaxSnapshotFiles)
	}
	info = SnapshotInfo{Index: header.CommandIndex(), Digest: header.Digest(), StampMs: header.StampMs()}
	last, total := "", uint64(0)
	for n := range list.Len() {
		name, err := list.At(n).Name()
		if err != nil {
			return info, fmt.Errorf("%w: read snapshot header: %w", ErrDamaged, err)
		}
		if name <= last || strings.ContainsAny(name, "/\\\x00") || name[0] == '.' || name == SnapshotHeaderFile || name == "LOCK" {
			return info, fmt.Errorf("%w: snapshot header names the file %q", ErrDamaged, name)
		}
		last = name
		size := list.At(n).Size()
		if size > maxSnapshotSize-total {
			return info, fmt.Errorf("%w: snapshot header names files of more than %d bytes together", ErrDamaged, uint64(maxSnapshotSize))
		}
		total += size
		info.Files = append(info.Files, SnapshotFile{Name: name, Size: size})
	}
	return info, nil
}

// WriteSnapshotInfo writes a snapshot directory's header and makes it durable.
func WriteSnapshotInfo(fs vfs.FS, dir string, info SnapshotInfo) error {
	frame, err := info.Marshal()
	if err != nil {
		return fmt.Errorf("write snapshot header: %w", err)
	}
	file, err := fs.Create(fs.PathJoin(dir, SnapshotHeaderFile), vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("write snapshot header: %w", err)
	}
	_, err = file.Write(frame)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = syncDir(fs, dir)
	}
	if err != nil {
		return fmt.Errorf("write snapshot header: %w", err)
	}
	return nil
}

// ReadSnapshotInfo reads a snapshot directory's header and compares the files
// there with what it says.
func ReadSnapshotInfo(fs vfs.FS, dir string) (SnapshotInfo, error) {
	path := fs.PathJoin(dir, SnapshotHeaderFile)
	file, err := fs.Open(path)
	if err != nil {
		return SnapshotInfo{}, fmt.Errorf("%w: read snapshot header: %w", ErrDamaged, err)
	}
	frame, err := io.ReadAll(io.LimitReader(file, MaxSnapshotHeader+1))
	if err = errors.Join(err, file.Close()); err != nil {
		return SnapshotInfo{}, fmt.Errorf("read snapshot header %s: %w", path, err)
	}
	info, err := ParseSnapshotInfo(frame)
	if err != nil {
		return info, fmt.Errorf("%s: %w", path, err)
	}
	for _, f := range info.Files {
		stat, err := fs.Stat(fs.PathJoin(dir, f.Name))
		if err != nil {
			return info, fmt.Errorf("%w: snapshot %s: %w", ErrDamaged, dir, err)
		}
		if uint64(stat.Size()) != f.Size {
			return info, fmt.Errorf("%w: snapshot file %s has %d bytes, its header says %d",
				ErrDamaged, fs.PathJoin(dir, f.Name), stat.Size(), f.Size)
		}
	}
	return info, nil
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
