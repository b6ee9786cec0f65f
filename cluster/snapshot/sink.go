package snapshot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"quicproquo/fsm"
)

// Sink takes one snapshot. It is used by one goroutine; a second one, joined by
// Close and Cancel, parses what Write is given.
type Sink struct {
	store *Store
	temp  string
	meta  raft.SnapshotMeta

	pipe   *io.PipeWriter // nil until the first Write
	parsed chan error
	closed bool
}

var _ raft.SnapshotSink = (*Sink)(nil)

// ID names the snapshot.
func (s *Sink) ID() string { return s.meta.ID }

// Checkpoint takes the snapshot from the local store: hard links, no stream.
func (s *Sink) Checkpoint(store *fsm.Store) error {
	dir := path.Join(s.temp, checkpointDir)
	info, err := store.Checkpoint(dir)
	if err != nil {
		return err
	}
	if info.Index < s.meta.Index {
		// Entries that are no commands may follow the last command; but a
		// checkpoint that misses commands would lose them.
		s.store.log.Debug("checkpoint", "commandIndex", info.Index, "raftIndex", s.meta.Index)
	}
	return nil
}

// Write takes a part of another node's stream.
func (s *Sink) Write(part []byte) (int, error) {
	if s.pipe == nil {
		reader, writer := io.Pipe()
		s.pipe, s.parsed = writer, make(chan error, 1)
		go func() {
			err := receive(s.store.fs, path.Join(s.temp, checkpointDir), reader)
			_ = reader.CloseWithError(errOrClosed(err)) // wakes a waiting Write
			s.parsed <- err
		}()
	}
	return s.pipe.Write(part)
}

// errOrClosed is what a Write gets after the parser has ended: bytes behind the
// end of a stream are an error too.
func errOrClosed(err error) error {
	if err != nil {
		return err
	}
	return errors.New("snapshot stream is longer than its header says")
}

// Close makes the snapshot durable and visible.
func (s *Sink) Close() error {
	if s.closed {
		return nil
	}
	if err := s.finish(); err != nil {
		return errors.Join(fmt.Errorf("close snapshot %s: %w", s.meta.ID, err), s.Cancel())
	}
	s.closed = true
	return s.store.reap()
}

func (s *Sink) finish() error {
	if s.pipe != nil {
		if err := errors.Join(s.pipe.Close(), <-s.parsed); err != nil {
			s.pipe = nil
			return err
		}
		s.pipe = nil
	}
	fs := s.store.fs
	size, err := streamSize(fs, path.Join(s.temp, checkpointDir))
	if err != nil {
		return err
	}
	s.meta.Size = size
	raw, err := json.Marshal(s.meta)
	if err != nil {
		return err
	}
	if err := writeFile(fs, path.Join(s.temp, metaFile), raw); err != nil {
		return err
	}
	if err := syncDir(fs, s.temp); err != nil {
		return err
	}
	if err := fs.Rename(s.temp, path.Join(s.store.dir, s.meta.ID)); err != nil {
		return err
	}
	return syncDir(fs, s.store.dir)
}

// Cancel removes what was written.
func (s *Sink) Cancel() error {
	if s.closed {
		return nil
	}
	s.closed = true
	if s.pipe != nil {
		_ = s.pipe.CloseWithError(errors.New("cancelled")) // never fails (io.Pipe)
		if err := <-s.parsed; err != nil {
			s.store.log.Debug("snapshot stream cancelled", "error", err)
		}
		s.pipe = nil
	}
	if err := s.store.fs.RemoveAll(s.temp); err != nil {
		return fmt.Errorf("cancel snapshot %s: %w", s.meta.ID, err)
	}
	return nil
}

func writeFile(fs vfs.FS, name string, content []byte) error {
	file, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	return errors.Join(err, file.Sync(), file.Close())
}

func syncDir(fs vfs.FS, name string) error {
	dir, err := fs.OpenDir(name)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
