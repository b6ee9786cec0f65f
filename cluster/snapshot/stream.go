package snapshot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"quicproquo/fsm"
	"quicproquo/schemas"
)

// ErrStream means that a received stream is not a whole snapshot.
var ErrStream = errors.New("snapshot stream is damaged")

// sumSize is the size of a checksum in the stream, in bytes: there is one behind
// the header and one behind each file.
const sumSize = 8

// header reads a checkpoint's header file, framed, and what it says.
func header(fs vfs.FS, dir string) ([]byte, fsm.SnapshotInfo, error) {
	info, err := fsm.ReadSnapshotInfo(fs, dir)
	if err != nil {
		return nil, info, err
	}
	file, err := fs.Open(path.Join(dir, fsm.SnapshotHeaderFile))
	if err != nil {
		return nil, info, err
	}
	frame, err := io.ReadAll(io.LimitReader(file, fsm.MaxSnapshotHeader+1))
	return frame, info, errors.Join(err, file.Close())
}

// streamSize is the exact length of a checkpoint's stream, in bytes.
func streamSize(fs vfs.FS, dir string) (int64, error) {
	frame, info, err := header(fs, dir)
	if err != nil {
		return 0, err
	}
	return int64(len(frame)) + int64(info.Size()) + int64(1+len(info.Files))*sumSize, nil
}

// stream reads a checkpoint directory as a stream, one open file at a time.
type stream struct {
	fs    vfs.FS
	dir   string
	files []fsm.SnapshotFile // still to come
	part  io.Reader          // what is read now
	file  vfs.File           // nil between files
	sum   hash.Hash64
}

func openStream(fs vfs.FS, dir string) (*stream, error) {
	frame, info, err := header(fs, dir)
	if err != nil {
		return nil, err
	}
	return &stream{fs: fs, dir: dir, files: info.Files, part: bytes.NewReader(withSum(frame)), sum: xxhash.New()}, nil
}

// withSum is a frame with its checksum.
func withSum(frame []byte) []byte {
	return binary.LittleEndian.AppendUint64(bytes.Clone(frame), xxhash.Sum64(frame))
}

// Dir is where the checkpoint lies.
func (s *stream) Dir() string { return s.dir }

// Read gives the next bytes.
func (s *stream) Read(p []byte) (int, error) {
	for {
		n, err := s.part.Read(p)
		if n > 0 || (err != nil && !errors.Is(err, io.EOF)) {
			return n, err
		}
		if err == nil {
			continue
		}
		if err := s.next(); err != nil {
			return 0, err
		}
	}
}

// next goes on to a file's checksum or to the next file.
func (s *stream) next() error {
	if s.file != nil {
		err := s.file.Close()
		s.file = nil
		s.part = bytes.NewReader(binary.LittleEndian.AppendUint64(nil, s.sum.Sum64()))
		return err
	}
	if len(s.files) == 0 {
		return io.EOF
	}
	next := s.files[0]
	s.files = s.files[1:]
	file, err := s.fs.Open(path.Join(s.dir, next.Name))
	if err != nil {
		return fmt.Errorf("read snapshot: %w", err)
	}
	s.file = file
	s.sum.Reset()
	s.part = io.TeeReader(io.LimitReader(file, int64(next.Size)), s.sum)
	return nil
}

// Close ends the reading.
func (s *stream) Close() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	return err
}

// receive writes a stream into a new directory, verified and durable. The names of its
// files are none that lead elsewhere: fsm.ParseSnapshotInfo refuses those.
func receive(fs vfs.FS, dir string, from io.Reader) error {
	frame, err := schemas.ReadFrame(from, fsm.MaxSnapshotHeader, nil)
	if err != nil {
		return fmt.Errorf("%w: header: %w", ErrStream, err)
	}
	if err := checkSum(from, xxhash.Sum64(frame)); err != nil {
		return fmt.Errorf("%w: header: %w", ErrStream, err)
	}
	info, err := fsm.ParseSnapshotInfo(frame)
	if err != nil {
		return fmt.Errorf("%w: header: %w", ErrStream, err)
	}
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, f := range info.Files {
		if err := receiveFile(fs, path.Join(dir, f.Name), int64(f.Size), from); err != nil {
			return err
		}
	}
	var extra [1]byte
	if n, err := io.ReadFull(from, extra[:]); n != 0 || !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: bytes behind the last file", ErrStream)
	}
	if err := writeFile(fs, path.Join(dir, fsm.SnapshotHeaderFile), frame); err != nil {
		return err
	}
	return syncDir(fs, dir)
}

func receiveFile(fs vfs.FS, name string, size int64, from io.Reader) error {
	file, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	sum := xxhash.New()
	// The sum first: a file system in memory may change what it was given (Pebble's, where
	// it looks for those who rely on it).
	_, err = io.CopyN(io.MultiWriter(sum, file), from, size)
	if err != nil {
		return errors.Join(fmt.Errorf("%w: file %s: %w", ErrStream, path.Base(name), err), file.Close())
	}
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := checkSum(from, sum.Sum64()); err != nil {
		return fmt.Errorf("%w: file %s: %w", ErrStream, path.Base(name), err)
	}
	return nil
}

// checkSum reads a checksum from the stream and holds it against what was read
// before.
func checkSum(from io.Reader, have uint64) error {
	var want [sumSize]byte
	if _, err := io.ReadFull(from, want[:]); err != nil {
		return err
	}
	if binary.LittleEndian.Uint64(want[:]) != have {
		return errors.New("checksum differs")
	}
	return nil
}
