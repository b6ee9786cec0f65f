package fsm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"

	"quicproquo/schemas"
)

// FormatVersion is the version of the store's rows and files that this build
// reads and writes.
const FormatVersion = 1

var (
	// ErrClosed means that the store was closed.
	ErrClosed = errors.New("store is closed")
	// ErrFormatVersion means that a newer build wrote the store or snapshot.
	ErrFormatVersion = errors.New("unknown format version")
	// ErrDamaged means that files of the store or of a snapshot are not what was
	// written. The remedy is to remove them: the node gets the state from its peers.
	ErrDamaged = errors.New("store is damaged")
)

// Options say where a store lies and what it may use. None of them influences
// what the store holds.
type Options struct {
	// Dir is the store's directory, made if missing. Nothing else may be in it.
	Dir string
	// FS is the file system; nil is the operating system's.
	FS vfs.FS
	// CacheBytes bounds Pebble's block cache and memtables together; 0 is
	// DefaultCacheBytes.
	CacheBytes int64
	// MemTableBytes is the size of one memtable; 0 is DefaultMemTableBytes.
	MemTableBytes uint64
	// Logger hears of slow disks, stalls and errors; nil: nobody does.
	Logger *slog.Logger

	filterWords int         // tests make the filters of dedupe small
	rewriteSoon bool        // tests have blob files written anew all the time
	fatal       func(error) // tests hear of what would end the process
}

// Store is the replicated state on this node's disk. All methods are safe for
// concurrent use.
type Store struct {
	opts  Options
	log   *slog.Logger
	fs    vfs.FS
	cache *pebble.Cache

	// applying serializes those who change the store: Apply, Restore and Close.
	// It guards tx, opener, marker and restores.
	applying sync.Mutex
	tx       *Tx
	opener   schemas.Reader
	marker   *atomicfs.Marker
	first    uint64 // generation that Open found; constant
	restores uint64 // attempts since, successful or not

	index   atomic.Uint64 // last applied; changes under mu
	watches watches

	mu   sync.Mutex
	live *generation // guarded by mu
	// newestMoment is what the next reader gets, nil for a new one; guarded by mu.
	newestMoment *moment
	effective    atomic.Pointer[effective] // see moment.go
	newest       Mark                      // guarded by mu
	marks        marks                     // guarded by mu
	waiters      waiters                   // guarded by mu
	err          error                     // guarded by mu; why the store stopped, ErrClosed included
	stopped      chan struct{}
	keyChanges   chan struct{} // see NodeKeyChanges
}

// Open opens the store in a directory, or begins a new one. It holds what the
// store held at its last flush: the caller applies the log again from Index.
//
// ErrFormatVersion and ErrDamaged tell a store that this build can't use; the
// message says what to do.
func Open(opts Options) (*Store, error) {
	opts.setDefaults()
	s := &Store{
		opts: opts, log: opts.Logger, fs: vfs.Default,
		cache: pebble.NewCache(opts.CacheBytes), stopped: make(chan struct{}), keyChanges: make(chan struct{}, 1),
	}
	if opts.FS != nil {
		s.fs = opts.FS
	}
	if err := s.open(); err != nil {
		if s.marker != nil {
			_ = s.marker.Close()
		}
		s.cache.Unref()
		return nil, fmt.Errorf("open store %s: %w", opts.Dir, err)
	}
	return s, nil
}

func (o *Options) setDefaults() {
	if o.CacheBytes == 0 {
		o.CacheBytes = DefaultCacheBytes
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = DefaultMemTableBytes
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.filterWords == 0 {
		o.filterWords = filterWordsDefault
	}
}

func (s *Store) open() error {
	if err := s.fs.MkdirAll(s.opts.Dir, 0o700); err != nil {
		return err
	}
	var name string
	var err error
	if s.marker, name, err = atomicfs.LocateMarker(s.fs, s.opts.Dir, markerName); err != nil {
		return err
	}
	number, err := parseMarker(name)
	if err != nil {
		return err
	}
	s.first = number
	gen, err := s.openGeneration(number, name == "")
	if err != nil {
		return err
	}
	tx, err := s.newTx(gen)
	if err != nil {
		err = damaged(gen.dir, err)
	} else if name == "" {
		err = s.adopt(tx)
	}
	if err != nil {
		return errors.Join(err, gen.db.Close())
	}
	s.install(gen, tx)
	s.removeStale()
	return nil
}

// adopt gives a new store its marker. Whatever lies there without one must be
// the empty beginning of an Open that was cut off.
func (s *Store) adopt(tx *Tx) error {
	if tx.meta.index != 0 {
		return fmt.Errorf("%w: it holds state up to log entry %d but its marker file is missing; "+
			"remove the store's directory, and the node gets its state from its peers", ErrDamaged, tx.meta.index)
	}
	return s.moveMarker(1)
}

// moveMarker names the generation that the next Open opens. If it fails it may
// still have happened.
func (s *Store) moveMarker(generation uint64) (err error) {
	defer rescue(&err)
	return s.marker.Move(formatMarker(generation))
}

// newTx reads what Apply keeps in memory.
func (s *Store) newTx(gen *generation) (*Tx, error) {
	tx := &Tx{
		db:       gen.db,
		queues:   newTwoGen[QueueID, queueEntry](cachedQueues),
		bodies:   newTwoGen[uint64, bodyEntry](cachedBodies),
		accounts: newTwoGen[AccountKey, accountEntry](cachedAccounts),
		channels: newTwoGen[ChannelID, channelRow](cachedAccounts),
	}
	meta, err := readMeta(gen.db)
	if err != nil {
		return nil, err
	}
	tx.meta, tx.committedMeta = meta, meta
	tx.dedupe.start(&tx.meta, s.opts.filterWords)
	for id := range tx.settings {
		if tx.settings[id], err = readSetting(gen.db, settingID(id)); err != nil {
			return nil, err
		}
	}
	if level := tx.setting(featureLevel); level > schemas.FeatureLevel {
		return nil, fmt.Errorf("%w: the cluster is at feature level %d, this build knows %d: install a newer one",
			ErrFormatVersion, level, schemas.FeatureLevel)
	}
	return tx, nil
}

// install makes a generation the live one.
func (s *Store) install(gen *generation, tx *Tx) {
	s.end(s.setLive(gen, tx))
}

func (s *Store) setLive(gen *generation, tx *Tx) *moment {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live, s.tx = gen, tx
	s.publishSettings(tx)
	s.newest = Mark{tx.meta.index, tx.meta.digest}
	s.marks = marks{}
	s.index.Store(tx.meta.index)
	s.waiters.wake(tx.meta.index)
	return s.passed(math.MaxUint64)
}

// published lets the world see what a batch has brought.
func (s *Store) published(tx *Tx) {
	s.end(s.publish(tx))
}

func (s *Store) publish(tx *Tx) *moment {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.newest = Mark{tx.meta.index, tx.meta.digest}
	for _, m := range tx.newMarks {
		s.marks.add(m)
	}
	s.index.Store(tx.meta.index)
	s.waiters.wake(tx.meta.index)
	return s.passed(tx.meta.index)
}

// Close flushes and closes the store. It waits until every View is closed and
// makes every Wait return ErrClosed. A store that has failed is closed without a
// flush: what it holds in memory is not to be trusted.
func (s *Store) Close() error {
	s.applying.Lock()
	defer s.applying.Unlock()
	if err := s.Err(); errors.Is(err, ErrClosed) {
		return nil
	}
	failed := s.Err() != nil
	_ = s.fail(ErrClosed)

	s.mu.Lock()
	gen, newest := s.live, s.passed(math.MaxUint64)
	s.mu.Unlock()
	s.end(newest)
	var err error
	if !failed {
		err = gen.flush()
	}
	err = errors.Join(err, gen.retire(), s.marker.Close())
	<-gen.idle
	s.watches.wakeAll()
	s.cache.Unref()
	if err != nil {
		return fmt.Errorf("close store %s: %w", s.opts.Dir, err)
	}
	return nil
}

// fail stops the store: the first failure stays, except that ErrClosed replaces
// it. It returns the error as callers see it.
func (s *Store) fail(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	closing := errors.Is(err, ErrClosed)
	if s.err == nil {
		close(s.stopped)
		if !closing {
			err = fmt.Errorf("store %s has stopped: %w", s.opts.Dir, err)
			s.log.Error("store has stopped", slog.Any("error", err))
		}
	}
	if s.err == nil || closing {
		s.err = err
	}
	return s.err
}

// Err returns why the store has stopped: nil, the first failure, or ErrClosed.
func (s *Store) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Stopped is closed when the store has failed or was closed; Err says why.
// Failures show up here too that no call has met: a write in the background that
// did not succeed.
func (s *Store) Stopped() <-chan struct{} { return s.stopped }

// Index returns the index of the last log entry that was applied.
func (s *Store) Index() uint64 { return s.index.Load() }

// Digest returns the newest mark.
func (s *Store) Digest() Mark {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newest
}

// Marks returns the last marks at positions of the log that are the same on
// every node, oldest first, and the newest mark. There are none from before the
// store was opened or restored.
func (s *Store) Marks() []Mark {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.marks.list()
	if n := len(list); n == 0 || list[n-1] != s.newest {
		list = append(list, s.newest)
	}
	return list
}

// Wait returns when the store has applied the index. The error is ctx's, or why
// the store stopped.
func (s *Store) Wait(ctx context.Context, index uint64) error {
	if s.Index() >= index {
		return nil
	}
	w, err := s.enqueueWaiter(index)
	if w == nil {
		return err
	}
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-s.stopped:
		err = s.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.waiters.remove(w) {
		return nil // it became ready meanwhile
	}
	return err
}

// enqueueWaiter returns nil if there is nothing to wait for.
func (s *Store) enqueueWaiter(index uint64) (*waiter, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, s.err
	}
	if s.index.Load() >= index {
		return nil, nil
	}
	return s.waiters.add(index), nil
}

// Abandon closes the store as a crash would leave it: what was not flushed is
// lost to it. For tests of recovery; the raft log has all of it.
func (s *Store) Abandon() error {
	_ = s.fail(errAbandoned)
	return s.Close()
}

var errAbandoned = errors.New("store was abandoned")
