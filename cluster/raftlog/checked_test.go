package raftlog

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/raft"
)

// faulty is an in-memory store whose calls a test spoils.
type faulty struct {
	*raft.InmemStore
	read  func(log *raft.Log) error
	write func() error
}

func (f *faulty) GetLog(index uint64, log *raft.Log) error {
	if err := f.InmemStore.GetLog(index, log); err != nil {
		return err
	}
	return f.read(log)
}

func (f *faulty) StoreLogs(logs []*raft.Log) error {
	if f.write != nil {
		if err := f.write(); err != nil {
			return err
		}
	}
	return f.InmemStore.StoreLogs(logs)
}

// Whatever differs from what was stored is told as damage, with the file and what
// to do, and the fault callback hears of the first.
func TestReadsNoticeEveryDifference(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(log *raft.Log) error
		want  string
	}{
		{"other index", func(l *raft.Log) error { l.Index++; return nil }, "it says it is entry 2"},
		{"term", func(l *raft.Log) error { l.Term++; return nil }, "its checksum differs"},
		{"type", func(l *raft.Log) error { l.Type = raft.LogNoop; return nil }, "its checksum differs"},
		{"data", func(l *raft.Log) error { l.Data = append([]byte{1}, l.Data[1:]...); return nil }, "its checksum differs"},
		{"time", func(l *raft.Log) error { l.AppendedAt = l.AppendedAt.Add(1); return nil }, "its checksum differs"},
		{"no checksum", func(l *raft.Log) error { l.Extensions = nil; return nil }, "it has no checksum"},
		{"error", func(*raft.Log) error { return errors.New("short read") }, "short read"},
		{"panic", func(*raft.Log) error { panic("page 7 makes no sense") }, "page 7 makes no sense"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var told []error
			store := newChecked(&faulty{InmemStore: raft.NewInmemStore(), read: c.spoil}, "dir/raft.db", BoltDB,
				func(err error) { told = append(told, err) })
			must(t, store.StoreLog(entry(t, 1, 20)))
			for range 2 {
				err := store.GetLog(1, &raft.Log{})
				if !errors.Is(err, ErrDamaged) {
					t.Fatalf("got %v, want ErrDamaged", err)
				}
				for _, want := range []string{c.want, "dir/raft.db", "--join"} {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("%q does not say %q", err, want)
					}
				}
			}
			if len(told) != 1 {
				t.Errorf("the callback was told %d times, want once: %v", len(told), told)
			}
		})
	}
}

// A command whose envelope does not hold is refused before it is stored: once
// stored, every node would stop at it.
func TestBrokenEnvelopeIsNotStored(t *testing.T) {
	eachKind(t, func(t *testing.T, kind Kind) {
		s := mustOpen(t, t.TempDir(), kind)
		defer mustClose(t, s)
		log := entry(t, 1, 20)
		log.Data[len(log.Data)-1] ^= 1
		if err := s.Log.StoreLog(log); err == nil || !strings.Contains(err.Error(), "entry 1") {
			t.Errorf("got %v, want a refusal that names the entry", err)
		}
		if last, err := s.Log.LastIndex(); err != nil || last != 0 {
			t.Errorf("last index %d (%v), want 0", last, err)
		}
		must(t, s.Log.StoreLog(entry(t, 1, 20)))
	})
}

// After the disk refused a write or a sync nothing more is written; a full disk
// is survived by boltdb alone.
func TestFailedWritesStopTheLog(t *testing.T) {
	for _, c := range []struct {
		kind     Kind
		err      error
		survives bool
	}{
		{BoltDB, syscall.EIO, false},
		{BoltDB, syscall.ENOSPC, true},
		{BoltDB, syscall.EDQUOT, true},
		{WAL, syscall.EIO, false},
		{WAL, syscall.ENOSPC, false},
	} {
		t.Run(string(c.kind)+" "+c.err.Error(), func(t *testing.T) {
			var told []error
			fail := true
			store := newChecked(&faulty{InmemStore: raft.NewInmemStore(), write: func() error {
				if fail {
					return &pathError{c.err}
				}
				return nil
			}, read: func(*raft.Log) error { return nil }}, "dir/raft.db", c.kind, func(err error) { told = append(told, err) })
			err := store.StoreLog(entry(t, 1, 20))
			if !errors.Is(err, c.err) || !strings.Contains(err.Error(), "dir/raft.db") {
				t.Fatalf("got %v, want %v with the file", err, c.err)
			}
			if errors.Is(err, ErrDisk) == c.survives || (len(told) == 0) != c.survives {
				t.Errorf("got %v, told %v; want a fault unless survived (%v)", err, told, c.survives)
			}
			fail = false
			if err := store.StoreLog(entry(t, 1, 20)); (err == nil) != c.survives {
				t.Errorf("the next write: %v, want success only if survived (%v)", err, c.survives)
			}
		})
	}
}

// pathError hides an errno as the libraries do.
type pathError struct{ err error }

func (e *pathError) Error() string { return "write: " + e.err.Error() }
func (e *pathError) Unwrap() error { return e.err }
