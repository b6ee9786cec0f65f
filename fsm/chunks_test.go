package fsm

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// writeSizes notes what reaches the files of a file system, and fails writes.
type writeSizes struct {
	vfs.FS
	sizes []int
	err   error
}

type sizedFile struct {
	vfs.File
	fs *writeSizes
}

func (s *writeSizes) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := s.FS.Create(name, category)
	return &sizedFile{file, s}, err
}

func (f *sizedFile) Write(p []byte) (int, error) {
	if f.fs.err != nil {
		return 0, f.fs.err
	}
	f.fs.sizes = append(f.fs.sizes, len(p))
	return f.File.Write(p)
}

func createChunked(t *testing.T, fs vfs.FS, name string) vfs.File {
	t.Helper()
	file, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	must(t, err)
	return file
}

// A file has what was written to it, in order, whatever the sizes of the writes; the
// disk sees large pieces only, but for the last.
func TestChunksWriteEverythingInLargePieces(t *testing.T) {
	disk := &writeSizes{FS: vfs.NewMem()}
	fs := &chunks{FS: disk}
	random := rand.New(rand.NewPCG(1, 2))
	var want []byte
	file := createChunked(t, fs, "000001.blob")
	for len(want) < 5*chunkBytes {
		piece := make([]byte, random.IntN(3*chunkBytes/2))
		for i := range piece {
			piece[i] = byte(random.Uint32())
		}
		want = append(want, piece...)
		if n, err := file.Write(piece); err != nil || n != len(piece) {
			t.Fatalf("wrote %d of %d bytes: %v", n, len(piece), err)
		}
	}
	must(t, file.Sync())
	must(t, file.Close())
	for i, size := range disk.sizes {
		if size != chunkBytes && i != len(disk.sizes)-1 {
			t.Errorf("write %d of %d had %d bytes, want %d", i, len(disk.sizes), size, chunkBytes)
		}
	}
	if got := readWhole(t, disk, "000001.blob"); !bytes.Equal(got, want) {
		t.Errorf("the file has %d bytes that are not the %d written", len(got), len(want))
	}
}

func readWhole(t *testing.T, fs vfs.FS, name string) []byte {
	t.Helper()
	file, err := fs.Open(name)
	must(t, err)
	defer file.Close()
	data, err := io.ReadAll(file)
	must(t, err)
	return data
}

// After each of these calls the file beneath has all that the call is about, and
// a failure to write it is the call's.
func TestChunksAreWrittenOut(t *testing.T) {
	refused := errors.New("disk refuses")
	for _, c := range []struct {
		name string
		call func(vfs.File) error
	}{
		{"sync", vfs.File.Sync},
		{"sync of data", vfs.File.SyncData},
		{"early sync of all", func(f vfs.File) error { _, err := f.SyncTo(100); return err }},
		{"size", func(f vfs.File) error {
			info, err := f.Stat()
			if err == nil && info.Size() != 100 {
				t.Errorf("the size is %d, 100 bytes were written", info.Size())
			}
			return err
		}},
		{"close", vfs.File.Close},
	} {
		disk := &writeSizes{FS: vfs.NewMem()}
		file := createChunked(t, &chunks{FS: disk}, "000001.sst")
		_, err := file.Write(make([]byte, 100))
		must(t, err)
		if len(disk.sizes) != 0 {
			t.Fatalf("%s: 100 bytes were written at once", c.name)
		}
		must(t, c.call(file))
		if got := readWhole(t, disk, "000001.sst"); len(got) != 100 {
			t.Errorf("%s: the file beneath has %d bytes, want 100", c.name, len(got))
		}
		disk.err = refused
		file = createChunked(t, &chunks{FS: disk}, "000002.sst")
		_, err = file.Write(make([]byte, 100))
		must(t, err)
		if err := c.call(file); !errors.Is(err, refused) {
			t.Errorf("%s: the disk's refusal came as %v", c.name, err)
		}
	}
}

// An early sync that asks for what the file beneath has already writes nothing.
func TestEarlySyncWritesNoSmallPieces(t *testing.T) {
	disk := &writeSizes{FS: vfs.NewMem()}
	file := createChunked(t, &chunks{FS: disk}, "000001.sst")
	_, err := file.Write(make([]byte, chunkBytes+100))
	must(t, err)
	_, err = file.SyncTo(chunkBytes)
	must(t, err)
	if len(disk.sizes) != 1 {
		t.Errorf("pieces of %d bytes were written, want one of %d", disk.sizes, chunkBytes)
	}
	must(t, file.Close())
}

// Other files, the manifest above all, are written as they come.
func TestChunksAreForTablesAndBlobFiles(t *testing.T) {
	disk := &writeSizes{FS: vfs.NewMem()}
	file := createChunked(t, &chunks{FS: disk}, "MANIFEST-000001")
	_, err := file.Write(make([]byte, 100))
	must(t, err)
	if len(disk.sizes) != 1 {
		t.Error("a record of the manifest was held back")
	}
	must(t, file.Close())
}

// A store writes so.
func TestStoreWritesChunks(t *testing.T) {
	s := openTest(t, Options{Dir: t.TempDir()})
	defer closeTest(t, s)
	if _, ok := s.pebbleOptions(nil).FS.(*blobFaults).FS.(*chunks); !ok {
		t.Error("Pebble writes its files block by block")
	}
}
