package fsm

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"quicproquo/schemas"
)

var errInjected = errors.New("injected fault")

// faultFS fails one change of the disk: the one with the number at, counted from
// 1, or that and every later one. Each fault comes in two kinds: failed and not
// done, failed but done.
type faultFS struct {
	vfs.FS
	mu    sync.Mutex
	count int // guarded by mu
	at    int
	stays bool // every later change fails too
	done  bool // the change is made and then reported as failed
	crash func(error)
}

// change makes a change of the disk, or fails it.
func (f *faultFS) change(do func() error) error {
	f.mu.Lock()
	f.count++
	hit := f.count == f.at || f.stays && f.count > f.at
	f.mu.Unlock()
	if !hit {
		return do()
	}
	if f.done {
		if err := do(); err != nil {
			return err
		}
	}
	return errInjected
}

func (f *faultFS) changes() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count
}

// Unwrap hides the file system beneath, which would be asked for shortcuts.
func (f *faultFS) Unwrap() vfs.FS { return nil }

func (f *faultFS) file(open func() (vfs.File, error)) (file vfs.File, err error) {
	if err = f.change(func() error { file, err = open(); return err }); err != nil {
		if file != nil {
			err = errors.Join(err, file.Close())
		}
		return nil, err
	}
	return &faultFile{file, f}, nil
}

func (f *faultFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.file(func() (vfs.File, error) { return f.FS.Create(name, c) })
}

func (f *faultFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return f.file(func() (vfs.File, error) { return f.FS.OpenReadWrite(name, c, o...) })
}

func (f *faultFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.file(func() (vfs.File, error) { return f.FS.ReuseForWrite(from, to, c) })
}

func (f *faultFS) OpenDir(name string) (vfs.File, error) {
	file, err := f.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &faultDir{faultFile{file, f}}, nil
}

func (f *faultFS) Link(from, to string) error {
	return f.change(func() error { return f.FS.Link(from, to) })
}

func (f *faultFS) Remove(name string) error {
	return f.change(func() error { return f.FS.Remove(name) })
}

func (f *faultFS) RemoveAll(name string) error {
	return f.change(func() error { return f.FS.RemoveAll(name) })
}

func (f *faultFS) Rename(from, to string) error {
	return f.change(func() error { return f.FS.Rename(from, to) })
}

func (f *faultFS) MkdirAll(dir string, perm os.FileMode) error {
	return f.change(func() error { return f.FS.MkdirAll(dir, perm) })
}

type faultFile struct {
	vfs.File
	fs *faultFS
}

func (f *faultFile) Write(p []byte) (n int, err error) {
	err = f.fs.change(func() error { n, err = f.File.Write(p); return err })
	return n, err
}

func (f *faultFile) WriteAt(p []byte, at int64) (n int, err error) {
	err = f.fs.change(func() error { n, err = f.File.WriteAt(p, at); return err })
	return n, err
}

func (f *faultFile) Sync() error     { return f.fs.change(f.File.Sync) }
func (f *faultFile) SyncData() error { return f.fs.change(f.File.SyncData) }

func (f *faultFile) SyncTo(length int64) (full bool, err error) {
	err = f.fs.change(func() error { full, err = f.File.SyncTo(length); return err })
	return full, err
}

// faultDir is a directory: when it can't be synced while the manifest changes,
// Pebble panics. On its own goroutines nobody can recover from that, and the
// process ends: the test lets the goroutine end in its stead.
type faultDir struct{ faultFile }

func (f *faultDir) Sync() error {
	err := f.faultFile.Sync()
	if err != nil && f.fs.crash != nil && strings.Contains(string(debug.Stack()), "created by github.com/cockroachdb/pebble") {
		f.fs.crash(err)
	}
	return err
}

// faultLogs are log entries with every command, larger together than the small
// memtables of testOptions.
func faultLogs(tb testing.TB) []Log {
	tb.Helper()
	var logs []Log
	n := 0
	for i := range uint64(12) {
		var frames [][]byte
		for _, line := range []string{
			"enqueue to=ann body=x*30000 ttl=60", "batchEnqueue to=ann,bob body=y*5000", "enqueue to=bob body=z",
			fmt.Sprintf("ack to=ann seq=%d", i), "expire", fmt.Sprintf("changeSettings queue_max_envelopes=%d", 100+i),
		} {
			n++
			c := parseCall(tb, line, n)
			frames = append(frames, c.frame(tb))
		}
		logs = append(logs, seal(tb, i+1, 1_000_000+i*50_000, frames...))
	}
	return logs
}

var errHalfRestored = errors.New("a restore has failed and changed the store")

// faultyLife is what a node does to its store. It stops at the first failure
// that stops the store; failed snapshots it shrugs off.
func faultyLife(opts Options, logs []Log) error {
	s, err := Open(opts)
	if err != nil {
		return err
	}
	_, err = s.Apply(logs[:4])
	if err == nil {
		if _, e := s.Checkpoint("snapshot"); e == nil {
			_, err = s.Apply(logs[4:6])
			if err == nil {
				before := s.Digest()
				if e := s.Restore("snapshot"); e != nil && s.Err() == nil && s.Digest() != before {
					err = fmt.Errorf("%w: %w", errHalfRestored, e)
				}
			}
		}
		if err == nil && s.Err() == nil {
			_, err = s.Apply(logs[4:9])
		}
	}
	return errors.Join(err, s.Close())
}

// Whatever single change of the disk fails, done or not: after a power cut the
// store opens again, and applying the log leads to the same state as without
// faults. Nothing is lost, nothing is there twice.
func TestEveryFaultTwice(t *testing.T) {
	logs := faultLogs(t)
	calm := openTest(t, testOptions(vfs.NewMem()))
	_, err := calm.Apply(logs)
	must(t, err)
	want := calm.Digest()
	wantRows := dump(t, calm)
	closeTest(t, calm)

	count := &faultFS{FS: vfs.NewCrashableMem()}
	must(t, faultyLife(testOptions(count), logs))
	total := count.changes()
	if total < 100 {
		t.Fatalf("only %d changes of the disk: the faults do not reach far enough", total)
	}
	step := 1
	if testing.Short() {
		step = 7
	}
	for at := 1; at <= total; at += step {
		for _, done := range []bool{false, true} {
			if err := surviveFault(t, logs, at, done, want, wantRows); err != nil {
				t.Errorf("fault in change %d of %d, done %v: %v", at, total, done, err)
			}
		}
	}
}

// beginFaultyLife runs faultyLife on a goroutine of its own and tells how it ended.
func beginFaultyLife(fs *faultFS, logs []Log) <-chan error {
	ended := make(chan error, 2)
	// Where Pebble can't go on the process ends. Here only this goroutine stops,
	// and whoever waits for it: they are left behind as a crash would leave them.
	fs.crash = func(err error) {
		ended <- err
		select {}
	}
	opts := testOptions(fs)
	opts.fatal = fs.crash
	go func() { ended <- faultyLife(opts, logs) }()
	return ended
}

func surviveFault(t *testing.T, logs []Log, at int, done bool, want Mark, wantRows string) error {
	t.Helper()
	mem := vfs.NewCrashableMem()
	if err := <-beginFaultyLife(&faultFS{FS: mem, at: at, done: done}, logs); errors.Is(err, errHalfRestored) {
		return err
	}
	for _, kept := range []int{0, 50, 100} {
		opts := testOptions(mem.CrashClone(vfs.CrashCloneCfg{
			UnsyncedDataPercent: kept, RNG: rand.New(rand.NewPCG(uint64(at), uint64(kept))),
		}))
		s, err := Open(opts)
		if err != nil {
			return fmt.Errorf("keeping %d %% of unsynced data: %w", kept, err)
		}
		if _, err := s.Apply(logs); err != nil {
			return fmt.Errorf("keeping %d %% of unsynced data: %w", kept, err)
		}
		if got := s.Digest(); got != want || dump(t, s) != wantRows {
			return fmt.Errorf("keeping %d %% of unsynced data: digest %v, want %v", kept, got, want)
		}
		if err := s.Close(); err != nil {
			return err
		}
	}
	return nil
}

// A disk that fails from some moment on, as a full one does, stops the store: no
// call waits for ever, Close least of all.
func TestDiskFailsForGood(t *testing.T) {
	logs := faultLogs(t)
	count := &faultFS{FS: vfs.NewCrashableMem()}
	must(t, faultyLife(testOptions(count), logs))
	step := 3
	if testing.Short() {
		step = 17
	}
	for at := 1; at <= count.changes(); at += step {
		select {
		case err := <-beginFaultyLife(&faultFS{FS: vfs.NewCrashableMem(), at: at, stays: true}, logs):
			if err == nil {
				t.Errorf("changes from %d on fail and nobody noticed", at)
			}
		case <-time.After(time.Minute):
			t.Fatalf("changes from %d on fail and somebody still waits after a minute", at)
		}
	}
}

// A failed write stops the store for good, and everyone who waits hears why.
func TestFailureStops(t *testing.T) {
	s := openTest(t, testOptions(vfs.NewMem()))
	defer closeTest(t, s)
	good := seal(t, 1, 1000, enqueueEntry(t, 1, "ann", "x"))
	_, err := s.Apply([]Log{good})
	must(t, err)
	before := s.Digest()
	waiting := make(chan error, 1)
	w, err := s.enqueueWaiter(3)
	must(t, err)
	go func() { waiting <- s.Wait(t.Context(), 3) }()

	bad := seal(t, 3, 1000, enqueueEntry(t, 3, "ann", "x"))
	bad.Data[len(bad.Data)-1]++
	if _, err = s.Apply([]Log{seal(t, 2, 1000, enqueueEntry(t, 2, "ann", "y")), bad}); !errors.Is(err, schemas.ErrCorrupt) {
		t.Errorf("a corrupt entry gives %v, want ErrCorrupt", err)
	}
	if err := <-waiting; !errors.Is(err, schemas.ErrCorrupt) {
		t.Errorf("Wait returned %v, want the failure", err)
	}
	<-s.Stopped()
	if _, err := s.Apply([]Log{seal(t, 2, 1000)}); !errors.Is(err, schemas.ErrCorrupt) {
		t.Errorf("the failure must stay, got %v", err)
	}
	if _, err := s.View(); !errors.Is(err, schemas.ErrCorrupt) {
		t.Errorf("View returned %v, want the failure", err)
	}
	if s.Digest() != before {
		t.Errorf("the failed call has changed the digest to %v", s.Digest())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.waiters.remove(w) {
		t.Error("a waiter was told that its index is reached")
	}
}
