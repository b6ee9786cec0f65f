package fsm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/blob"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/sstable/colblk"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Names of the files that a Pebble database keeps rows in: tables hold keys and
// small values, blob files large values.
const (
	tableSuffix = ".sst"
	blobSuffix  = ".blob"
)

// checkBlocks reads every block of every table and blob file and verifies its
// checksum.
func (s *Store) checkBlocks(info *SnapshotInfo, dir string) error {
	opts := s.pebbleOptions(nil)
	opts.EnsureDefaults()
	for _, f := range info.Files {
		var check func(objstorage.Readable, sstable.ReaderOptions) error
		switch {
		case strings.HasSuffix(f.Name, tableSuffix):
			check = checkTable
		case strings.HasSuffix(f.Name, blobSuffix):
			check = checkBlobFile
		default:
			continue
		}
		path := s.fs.PathJoin(dir, f.Name)
		if err := checkFile(s.fs, path, opts.MakeReaderOptions(), check); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrDamaged, path, err)
		}
	}
	return nil
}

// checkBlobFiles looks for every blob file that a database's manifest names: is it
// there, has it its size, can it be opened. Pebble does so for tables when it
// opens them, for blob files when it reads them first, and ends the process then
// (2.1.7: findOrCreateBlob reports without saying what). A database that does not
// exist yet has none.
func (s *Store) checkBlobFiles(dir string) (err error) {
	opts := s.pebbleOptions(nil)
	opts.ReadOnly, opts.ErrorIfNotExists = true, true
	desc, err := pebble.Peek(dir, s.fs)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !desc.Exists {
		return nil
	}
	if err != nil {
		return err
	}
	// Read-only, so that nothing changes while we look.
	db, err := openPebble(dir, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	for file := range db.DebugCurrentVersion().BlobFiles.All() {
		path := s.fs.PathJoin(dir, file.Physical.FileNum.String()+blobSuffix)
		stat, err := s.fs.Stat(path)
		if err != nil {
			return err
		}
		if stat.Size() != int64(file.Physical.Size) {
			return fmt.Errorf("%s has %d bytes, the manifest says %d", path, stat.Size(), file.Physical.Size)
		}
		if err := checkFile(s.fs, path, sstable.ReaderOptions{}, openBlobFile); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

// checkFile opens a file for one of the checks below, which close it.
func checkFile(files vfs.FS, path string, opts sstable.ReaderOptions,
	check func(objstorage.Readable, sstable.ReaderOptions) error,
) error {
	file, err := files.Open(path)
	if err != nil {
		return err
	}
	readable, err := sstable.NewSimpleReadable(file)
	if err != nil {
		return errors.Join(err, file.Close())
	}
	return check(readable, opts)
}

func checkTable(file objstorage.Readable, opts sstable.ReaderOptions) error {
	// NewReader closes what it can't read.
	reader, err := sstable.NewReader(context.Background(), file, opts)
	if err != nil {
		return err
	}
	return errors.Join(reader.ValidateBlockChecksums(), reader.Close())
}

func checkBlobFile(file objstorage.Readable, opts sstable.ReaderOptions) error {
	reader, err := newBlobReader(file, opts)
	if err != nil {
		return err
	}
	return errors.Join(checkBlobBlocks(reader), reader.Close())
}

// openBlobFile reads a blob file's footer only.
func openBlobFile(file objstorage.Readable, opts sstable.ReaderOptions) error {
	reader, err := newBlobReader(file, opts)
	if err != nil {
		return err
	}
	return reader.Close()
}

// newBlobReader closes what it can't read, as sstable.NewReader does.
func newBlobReader(file objstorage.Readable, opts sstable.ReaderOptions) (*blob.FileReader, error) {
	reader, err := blob.NewFileReader(context.Background(), file, blob.FileReaderOptions{ReaderOptions: opts.ReaderOptions})
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return reader, nil
}

// checkBlobBlocks reads the blocks that a blob file's index names. Pebble reads
// and so verifies them one at a time only; the index is a block of two columns
// (pebble/sstable/blob), of which the second holds where each block begins and
// where the last one ends.
func checkBlobBlocks(reader *blob.FileReader) error {
	ctx := context.Background()
	index, err := reader.ReadIndexBlock(ctx, block.NoReadEnv, nil)
	if err != nil {
		return err
	}
	defer index.Release()
	const customHeader, offsetsColumn = 4, 1
	var columns colblk.BlockDecoder
	columns.Init(index.BlockData(), customHeader)
	blocks := columns.Rows()
	offsets := colblk.DecodeColumn(&columns, offsetsColumn, blocks+1, colblk.DataTypeUint, colblk.DecodeUnsafeUints)
	for i := range blocks {
		from, to := offsets.At(i), offsets.At(i+1)
		if to < from+block.TrailerLen {
			return fmt.Errorf("its index says that block %d lies at %d to %d", i, from, to)
		}
		values, err := reader.ReadValueBlock(ctx, block.NoReadEnv, nil, block.Handle{Offset: from, Length: to - from - block.TrailerLen})
		if err != nil {
			return fmt.Errorf("block %d: %w", i, err)
		}
		values.Release()
	}
	return nil
}
