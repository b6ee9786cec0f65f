package snapshot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"quicproquo/fsm"
)

const (
	// retain is how many snapshots are kept: the newest, and one that a slow
	// follower may still be reading.
	retain        = 2
	metaFile      = "meta.json"
	checkpointDir = "checkpoint"
	tempTail      = ".tmp"
	// maxMeta bounds the meta file, in bytes.
	maxMeta = 1 << 20
)

// Options are what a store is opened from.
type Options struct {
	Dir string
	// FS is the one that the state machine's store is on; nil is the operating
	// system's.
	FS     vfs.FS
	Logger *slog.Logger
}

// Store implements raft.SnapshotStore. Safe for concurrent use; mu keeps reaping
// apart from opening.
type Store struct {
	dir string
	fs  vfs.FS
	log *slog.Logger

	mu      sync.Mutex
	counter uint64
}

var _ raft.SnapshotStore = (*Store)(nil)

// Info is a whole snapshot.
type Info struct {
	Meta raft.SnapshotMeta
	// Dir holds the checkpoint.
	Dir string
	// CommandIndex is the last command in it; it may be above Meta.Index.
	CommandIndex uint64
}

// Open opens a directory and removes what crashes left there.
func Open(o Options) (*Store, error) {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := o.FS.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open snapshots: %w", err)
	}
	s := &Store{dir: o.Dir, fs: o.FS, log: o.Logger}
	names, err := s.fs.List(s.dir)
	if err != nil {
		return nil, fmt.Errorf("open snapshots: %w", err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, tempTail) {
			if err := s.fs.RemoveAll(path.Join(s.dir, name)); err != nil {
				return nil, fmt.Errorf("remove unfinished snapshot: %w", err)
			}
		}
	}
	return s, nil
}

// Create begins a snapshot. Its sink either takes a checkpoint of the local
// store or, through Write, the stream that another node sends.
func (s *Store) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration, configurationIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	if version != 1 {
		return nil, fmt.Errorf("create snapshot: version %d is unknown", version)
	}
	s.mu.Lock()
	s.counter++
	id := fmt.Sprintf("%d-%d-%d-%d", term, index, time.Now().UnixMilli(), s.counter)
	s.mu.Unlock()
	sink := &Sink{store: s, temp: path.Join(s.dir, id+tempTail), meta: raft.SnapshotMeta{
		Version: version, ID: id, Index: index, Term: term,
		Configuration: configuration, ConfigurationIndex: configurationIndex,
	}}
	if err := s.fs.MkdirAll(sink.temp, 0o700); err != nil {
		return nil, fmt.Errorf("create snapshot: %w", err)
	}
	return sink, nil
}

// List returns the whole snapshots, newest first. Damaged ones are left out and
// said in the log.
func (s *Store) List() ([]*raft.SnapshotMeta, error) {
	infos, err := s.infos()
	if err != nil {
		return nil, err
	}
	metas := make([]*raft.SnapshotMeta, 0, len(infos))
	for i := range infos {
		metas = append(metas, &infos[i].Meta)
	}
	return metas, nil
}

// Newest returns the newest whole snapshot; ok is false if there is none.
func (s *Store) Newest() (newest Info, ok bool, err error) {
	infos, err := s.infos()
	if err != nil || len(infos) == 0 {
		return Info{}, false, err
	}
	return infos[0], true, nil
}

func (s *Store) infos() ([]Info, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	names, err := s.fs.List(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	var infos []Info
	for _, name := range names {
		if strings.HasSuffix(name, tempTail) {
			continue
		}
		info, err := s.read(name)
		if err != nil {
			s.log.Error("damaged snapshot is left out", "dir", path.Join(s.dir, name), "error", err)
			continue
		}
		infos = append(infos, info)
	}
	sort.Slice(infos, func(i, j int) bool {
		a, b := infos[i].Meta, infos[j].Meta
		if a.Term != b.Term {
			return a.Term > b.Term
		}
		if a.Index != b.Index {
			return a.Index > b.Index
		}
		return a.ID > b.ID
	})
	return infos, nil
}

// read reads a snapshot's meta file and header and compares its files with them.
func (s *Store) read(id string) (Info, error) {
	dir := path.Join(s.dir, id)
	file, err := s.fs.Open(path.Join(dir, metaFile))
	if err != nil {
		return Info{}, err
	}
	raw, err := io.ReadAll(io.LimitReader(file, maxMeta))
	if err := errors.Join(err, file.Close()); err != nil {
		return Info{}, err
	}
	info := Info{Dir: path.Join(dir, checkpointDir)}
	if err := json.Unmarshal(raw, &info.Meta); err != nil {
		return Info{}, err
	}
	if info.Meta.ID != id {
		return Info{}, fmt.Errorf("it says that it is snapshot %q", info.Meta.ID)
	}
	header, err := fsm.ReadSnapshotInfo(s.fs, info.Dir)
	if err != nil {
		return Info{}, err
	}
	info.CommandIndex = header.Index
	return info, nil
}

// Open returns a snapshot's stream. The reader also has a method Dir, which lets
// the local store link the files instead.
func (s *Store) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	info, err := s.read(id)
	if err != nil {
		return nil, nil, fmt.Errorf("open snapshot %s: %w", path.Join(s.dir, id), err)
	}
	stream, err := openStream(s.fs, info.Dir)
	if err != nil {
		return nil, nil, fmt.Errorf("open snapshot %s: %w", path.Join(s.dir, id), err)
	}
	return &info.Meta, stream, nil
}

// reap removes all but the newest.
func (s *Store) reap() error {
	infos, err := s.infos()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := retain; i < len(infos); i++ {
		// Renamed first: half a snapshot must not be taken for a damaged one.
		dir := path.Join(s.dir, infos[i].Meta.ID)
		if err := s.fs.Rename(dir, dir+tempTail); err != nil {
			return fmt.Errorf("reap snapshot: %w", err)
		}
		if err := s.fs.RemoveAll(dir + tempTail); err != nil {
			return fmt.Errorf("reap snapshot: %w", err)
		}
	}
	return nil
}
