package raftlog

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	raftwal "github.com/hashicorp/raft-wal"
	walfs "github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// stateFile holds the list of a wal's segments.
const stateFile = "state"

// walStore is a wal and where it lies.
type walStore struct {
	*raftwal.WAL
	dir string
}

// makeWAL makes an empty wal in a directory that holds none; what a crash left
// there is removed.
func makeWAL(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("make log: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make log: %w", err)
	}
	if err := (&segmentList{dir: dir}).CommitState(types.PersistentState{}); err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

// openWAL opens what makeWAL made; segments hold segmentSize bytes, 0 for the
// library's 64 MiB.
func openWAL(dir string, segmentSize int, logger *slog.Logger) (store *walStore, err error) {
	defer func() {
		if p := recover(); p != nil {
			store, err = nil, fmt.Errorf("%w: open %s: %v; %s", ErrDamaged, dir, p, advice)
		}
	}()
	files := segmentFiles{segment.NewFiler(dir, walfs.New())}
	wal, err := raftwal.Open(dir, raftwal.WithMetaStore(&segmentList{dir, files}),
		raftwal.WithSegmentFiler(files), raftwal.WithSegmentSize(segmentSize), raftwal.WithLogger(libraryLogger(logger)))
	switch {
	case errors.Is(err, ErrDamaged):
		return nil, err
	case errors.Is(err, types.ErrCorrupt), errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: open %s: %w; %s", ErrDamaged, dir, err, advice)
	case err != nil:
		return nil, fmt.Errorf("open log %s: %w; if it is damaged, %s", dir, err, advice)
	}
	return &walStore{wal, dir}, nil
}

// libraryLogger takes the library's few messages; they are all about failures.
func libraryLogger(logger *slog.Logger) hclog.Logger {
	to := slog.NewLogLogger(logger.With("part", "raft-wal").Handler(), slog.LevelError)
	return hclog.FromStandardLogger(to, &hclog.LoggerOptions{Level: hclog.Warn, DisableTime: true})
}

// segmentFiles are the library's, but for segments that were sealed without an
// index. raft-wal v0.4.0 makes such ones when the log's tail is cut off, which
// raft does after a change of leader, and can't read them after a restart
// (hashicorp/raft-wal#31). Their frames are read through instead, as those of the
// unsealed segment are.
type segmentFiles struct{ *segment.Filer }

// Open opens a sealed segment.
func (f segmentFiles) Open(info types.SegmentInfo) (types.SegmentReader, error) {
	if info.IndexStart == 0 {
		return f.RecoverTail(info)
	}
	return f.Filer.Open(info)
}

// segmentList is the wal's list of segments in one sealed file. The library's own
// list lies in a second bolt file, unchecked: one wrong bit there and it deletes
// the segments that the list does not name.
type segmentList struct {
	dir   string
	files segmentFiles
}

var _ types.MetaStore = (*segmentList)(nil)

// Load reads the list.
func (l *segmentList) Load(string) (types.PersistentState, error) {
	var state types.PersistentState
	file := filepath.Join(l.dir, stateFile)
	content, err := readSealed(file)
	if errors.Is(err, fs.ErrNotExist) {
		return state, fmt.Errorf("%w: %s is missing; %s", ErrDamaged, file, advice)
	}
	if err != nil {
		return state, err
	}
	if err := json.Unmarshal(content, &state); err != nil {
		return state, fmt.Errorf("%w: read %s: %w; %s", ErrDamaged, file, err, advice)
	}
	return l.finishRotation(state)
}

// finishRotation begins a new segment if the last one is full: raft-wal does so
// in the background after it has sealed a segment, and after a stop in between it
// would refuse every further entry.
func (l *segmentList) finishRotation(state types.PersistentState) (types.PersistentState, error) {
	if len(state.Segments) == 0 {
		return state, nil
	}
	tail := &state.Segments[len(state.Segments)-1]
	if !tail.SealTime.IsZero() {
		return state, nil
	}
	file, err := l.files.RecoverTail(*tail)
	if errors.Is(err, fs.ErrNotExist) {
		return state, nil // a crash came before the file; the library makes it
	}
	if err != nil {
		return state, err
	}
	last := file.LastIndex()
	sealed, _, err := file.Sealed()
	if err := errors.Join(err, file.Close()); err != nil || !sealed {
		return state, err
	}
	next := *tail
	next.ID, next.CreateTime = state.NextSegmentID, time.Now()
	state.NextSegmentID++
	if last < tail.BaseIndex {
		// The write that sealed it was cut off and was its only one.
		*tail = next
		return state, l.CommitState(state)
	}
	// Without IndexStart, for the index may not have reached the disk whole.
	tail.SealTime, tail.MaxIndex = next.CreateTime, last
	next.BaseIndex, next.MinIndex = last+1, last+1
	state.Segments = append(state.Segments, next)
	return state, l.CommitState(state)
}

// CommitState replaces the list.
func (l *segmentList) CommitState(state types.PersistentState) error {
	content, err := json.Marshal(state)
	if err != nil {
		return fmt.Errorf("write list of segments: %w", err)
	}
	if err := writeSealed(filepath.Join(l.dir, stateFile), content); err != nil {
		return fmt.Errorf("write list of segments: %w", err)
	}
	return nil
}

// errNoStable: the stable store is in the bolt file.
var errNoStable = errors.New("the wal is no stable store")

// GetStable is never called.
func (*segmentList) GetStable([]byte) ([]byte, error) { return nil, errNoStable }

// SetStable is never called.
func (*segmentList) SetStable(_, _ []byte) error { return errNoStable }

// Close has nothing to close.
func (*segmentList) Close() error { return nil }
