package fsm

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// A store's directory holds a marker file that names the live generation, and
// the generations' directories: one, or two while a restore is on its way.
//
//	marker.store.<n>.v1-000001     format version 1, generation 1
//	gen-000001/                    a Pebble database
const (
	markerName = "store"
	genPrefix  = "gen-"
)

func formatMarker(generation uint64) string {
	return fmt.Sprintf("v%d-%06d", FormatVersion, generation)
}

// parseMarker returns the generation that a marker names; 1 if there is none yet.
func parseMarker(name string) (uint64, error) {
	if name == "" {
		return 1, nil
	}
	version, number, ok := strings.Cut(strings.TrimPrefix(name, "v"), "-")
	format, err := strconv.ParseUint(version, 10, 16)
	if !ok || err != nil {
		return 0, fmt.Errorf("%w: its marker file says %q", ErrDamaged, name)
	}
	if format != FormatVersion {
		return 0, fmt.Errorf("%w %d, this build knows %d: start the version of qpqd that wrote it, "+
			"or remove the directory and let the node get its state from its peers", ErrFormatVersion, format, FormatVersion)
	}
	generation, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: its marker file says %q", ErrDamaged, name)
	}
	return generation, nil
}

// generation is one Pebble database and those who use it.
type generation struct {
	db     *pebble.DB
	number uint64
	dir    string

	mu      sync.Mutex
	users   int  // guarded by mu
	retired bool // guarded by mu: closed with its last user
	// discarded is where the generation's files are removed from once it is
	// closed; nil: they stay. Guarded by mu.
	discarded vfs.FS
	idle      chan struct{}

	failed   chan struct{} // closed at the first failure in the background
	failOnce sync.Once
	failure  error // why; to be read once failed is closed
}

func (s *Store) generationDir(number uint64) string {
	return s.fs.PathJoin(s.opts.Dir, fmt.Sprintf("%s%06d", genPrefix, number))
}

func (s *Store) openGeneration(number uint64, mayCreate bool) (*generation, error) {
	gen := &generation{number: number, dir: s.generationDir(number), idle: make(chan struct{}), failed: make(chan struct{})}
	opts := s.pebbleOptions(gen)
	opts.ErrorIfNotExists = !mayCreate
	err := s.checkBlobFiles(gen.dir)
	if err == nil {
		gen.db, err = openPebble(gen.dir, opts)
	}
	if err != nil {
		if mayCreate {
			return nil, fmt.Errorf("%s: %w", gen.dir, err)
		}
		return nil, damaged(gen.dir, err)
	}
	return gen, nil
}

// openPebble turns panics over the disk into errors: a database that does not
// open endangers nobody.
func openPebble(dir string, opts *pebble.Options) (db *pebble.DB, err error) {
	defer rescue(&err)
	return pebble.Open(dir, opts)
}

// rescue recovers from panics over the disk: pebbleLogger.Fatalf's, and those
// of a marker whose directory can't be synced. Every other panic passes.
func rescue(err *error) {
	r := recover()
	if r == nil {
		return
	}
	failure, ok := r.(error)
	var bug interface{ RuntimeError() }
	if !ok || errors.As(failure, &bug) {
		panic(r)
	}
	*err = failure
}

// backgroundFailure hears of failures that no call will return. Those of a
// generation that is not in use (a restore that verifies a snapshot, an old
// state that is still being read) do not concern the store.
func (s *Store) backgroundFailure(gen *generation, err error) {
	if gen != nil {
		gen.failOnce.Do(func() { gen.failure = err; close(gen.failed) })
	}
	s.mu.Lock()
	live := gen != nil && gen == s.live
	s.mu.Unlock()
	if live {
		_ = s.fail(err)
		return
	}
	s.log.Warn("pebble", errAttr(err))
}

// damaged says what an operator can do about files that can't be opened. What
// the operating system refuses (permission, space, a lock that another process
// holds) is not damage; a missing file is.
func damaged(dir string, err error) error {
	var refused syscall.Errno
	if errors.Is(err, ErrFormatVersion) {
		return fmt.Errorf("%s: %w", dir, err) // nothing is damaged
	}
	if errors.As(err, &refused) && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", dir, err)
	}
	return fmt.Errorf("%w: %s: %w; remove the store's directory, and the node gets its state from its peers",
		ErrDamaged, dir, err)
}

// flush writes out the memtable. Pebble repeats a flush that fails until it
// succeeds; here its first failure is the last word.
func (g *generation) flush() error {
	flushed, err := g.db.AsyncFlush()
	if err != nil {
		return err
	}
	select {
	case <-flushed:
		return nil
	case <-g.failed:
		return g.failure
	}
}

// acquire keeps the generation open until release.
func (g *generation) acquire() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.users++
}

func (g *generation) release() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.users--
	return g.closeIfIdle()
}

// retire closes the generation, now or with its last user.
func (g *generation) retire() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.retired = true
	return g.closeIfIdle()
}

func (g *generation) closeIfIdle() error {
	if !g.retired || g.users > 0 {
		return nil
	}
	err := g.db.Close()
	if g.discarded != nil {
		err = errors.Join(err, g.discarded.RemoveAll(g.dir))
	}
	close(g.idle)
	return err
}

// Sizes that keep a node with a million queued envelopes of 1 KiB under 512 MiB
// (docs/decisions/0023 has the measurements).
const (
	// DefaultCacheBytes bounds Pebble's block cache and memtables together.
	DefaultCacheBytes = 128 << 20
	// DefaultMemTableBytes is the size of one memtable, and so about what a
	// snapshot has to write before it can link files.
	DefaultMemTableBytes = 8 << 20
	// maxMemTables is how many memtables may wait for their flush before writes
	// stall.
	maxMemTables = 8
	// l0Compact and l0Stop are depths of level 0: at which it is compacted, and
	// at which writes stall. A flush adds one, of about 2 MiB: its keys are spread
	// over all queues.
	l0Compact = 32
	l0Stop    = 96
	// baseBytes is the size of the level below level 0 at which it is compacted
	// itself: that of level 0, since a compaction of one rewrites the other.
	baseBytes = 64 << 20
	// tableBytes is the size of a table, and of each that a flush writes: one
	// table a memtable, because every further one costs two syncs and a removal.
	tableBytes = 16 << 20
	// bloomBits for each key: one false alarm in a hundred.
	bloomBits = 10
	// blockSize of tables, in bytes.
	blockSize = 32 << 10
	// blobMinimum is the size in bytes from which a value lies in a blob file, which
	// compactions do not write again: they move keys only.
	blobMinimum = 256
	// blobDepth is how many blob files a table may refer to whose keys overlap. Keys
	// are spread over all queues, so each flush adds one to every table below it;
	// with a few only, compactions would write the values again after all.
	blobDepth = 1024
	// blobGarbage is the part of blob files that may be values which nothing refers
	// to any more, and blobAge how long a file is left alone before it is written
	// again without them: a minute, in nanoseconds.
	blobGarbage = 0.3
	blobAge     = 60_000_000_000
)

// pebbleFormat is pinned: nodes of mixed versions and old snapshots must stay
// readable. To raise it is a new FormatVersion, from the first release on.
const pebbleFormat = pebble.FormatValueSeparation

func (s *Store) pebbleOptions(gen *generation) *pebble.Options {
	opts := &pebble.Options{
		FS:                          s.opts.FS,
		Cache:                       s.cache,
		DisableWAL:                  true, // the raft log is the write-ahead log
		FormatMajorVersion:          pebbleFormat,
		MemTableSize:                s.opts.MemTableBytes,
		MemTableStopWritesThreshold: maxMemTables,
		L0CompactionThreshold:       l0Compact,
		L0StopWritesThreshold:       l0Stop,
		LBaseMaxBytes:               baseBytes,
		FlushSplitBytes:             tableBytes,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
		Logger:                      pebbleLogger{s},
		EventListener:               s.events(gen),
	}
	if opts.FS == nil {
		opts.WithFSDefaults() // the operating system's, watched for slowness
	}
	opts.FS = &blobFaults{FS: &chunks{FS: opts.FS}}
	values := pebble.ValueSeparationPolicy{
		Enabled: true, MinimumSize: blobMinimum, MaxBlobReferenceDepth: blobDepth,
		TargetGarbageRatio: blobGarbage, RewriteMinimumAge: blobAge,
	}
	if s.opts.rewriteSoon {
		values.MaxBlobReferenceDepth, values.TargetGarbageRatio, values.RewriteMinimumAge = 4, 0.01, 0
	}
	opts.Experimental.ValueSeparationPolicy = func() pebble.ValueSeparationPolicy { return values }
	for i := range opts.Levels {
		opts.TargetFileSizes[i] = tableBytes
		opts.Levels[i] = pebble.LevelOptions{
			BlockSize:    blockSize,
			FilterPolicy: bloom.FilterPolicy(bloomBits),
			// Bodies are ciphertext: there is nothing to gain.
			Compression: func() *sstable.CompressionProfile { return sstable.NoCompression },
		}
	}
	return opts
}

// misuseMessage says that a row was deleted as if it had been written once, and
// was not: a bug of this package.
const misuseMessage = "a deletion has not met its row"

// events hears what Pebble does in the background.
func (s *Store) events(gen *generation) *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) {
			s.backgroundFailure(gen, fmt.Errorf("write in the background: %w", err))
		},
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			s.backgroundFailure(gen, damaged(info.Path, info.Details))
		},
		DiskSlow: func(info vfs.DiskSlowInfo) {
			s.log.Warn("disk is slow", slog.String("path", info.Path),
				slog.String("operation", info.OpType.String()), slog.Duration("since", info.Duration))
		},
		WriteStallBegin: func(info pebble.WriteStallBeginInfo) {
			s.log.Warn("store stalls writes", slog.String("reason", info.Reason))
		},
		PossibleAPIMisuse: func(info pebble.PossibleAPIMisuseInfo) {
			s.log.Error(misuseMessage, slog.String("kind", info.Kind.String()))
		},
		WriteStallEnd: func() { s.log.Info("store takes writes again") },
	}
}

// pebbleLogger passes on Pebble's errors. Its chatter is dropped.
type pebbleLogger struct{ store *Store }

func (l pebbleLogger) Infof(string, ...any) {}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.store.log.Error("pebble", slog.String("message", fmt.Sprintf(format, args...)))
}

// Fatalf is called where Pebble can't go on and expects not to return: the
// manifest can't be written. On a goroutine of Pebble's own the panic ends the
// process; nothing acknowledged is lost, because the raft log has it.
func (l pebbleLogger) Fatalf(format string, args ...any) {
	l.Errorf(format, args...)
	err := fmt.Errorf("storage can't go on: %s; free disk space or replace the disk, then start the node again",
		fmt.Sprintf(format, args...))
	if l.store.opts.fatal != nil {
		l.store.opts.fatal(err)
	}
	panic(err)
}
