package cluster

import (
	"errors"
	"testing"

	"github.com/hashicorp/raft"
)

// countingStore counts reads that reach the store.
type countingStore struct {
	*raft.InmemStore
	reads int
	fail  error
}

func (s *countingStore) GetLog(index uint64, log *raft.Log) error {
	s.reads++
	return s.InmemStore.GetLog(index, log)
}

func (s *countingStore) StoreLogs(logs []*raft.Log) error {
	if s.fail != nil {
		return s.fail
	}
	return s.InmemStore.StoreLogs(logs)
}

// The cache holds the newest entries up to its bytes and its count, and gives
// exactly what the store has: after a cut, after a gap, after a failed write.
func TestLogCache(t *testing.T) {
	store := &countingStore{InmemStore: raft.NewInmemStore()}
	c := newLogCache(store, func(uint64) error { return nil })
	put := func(index, term uint64, size int) {
		t.Helper()
		if err := c.StoreLog(&raft.Log{Index: index, Term: term, Data: make([]byte, size)}); err != nil {
			t.Fatal(err)
		}
	}
	// get says whether an entry came from memory.
	get := func(index, term uint64) bool {
		t.Helper()
		before := store.reads
		var log raft.Log
		if err := c.GetLog(index, &log); err != nil || log.Index != index || log.Term != term {
			t.Errorf("entry %d is %d of term %d (%v), want term %d", index, log.Index, log.Term, err, term)
		}
		return store.reads == before
	}
	const size = 1 << 20
	for i := uint64(1); i <= 40; i++ {
		put(i, 1, size)
	}
	if c.bytes > logCacheBytes {
		t.Errorf("the cache holds %d bytes, at most %d are meant", c.bytes, logCacheBytes)
	}
	if get(8, 1) || !get(9, 1) || !get(40, 1) {
		t.Error("entries 9 to 40 fill the cache, and they alone")
	}
	// raft takes back the end of the log and writes another.
	if err := c.DeleteRange(39, 40); err != nil {
		t.Fatal(err)
	}
	put(39, 2, 10)
	if get(38, 1) || !get(39, 2) {
		t.Error("only what was written after the cut may be in memory")
	}
	// A snapshot was installed: the log goes on elsewhere.
	put(5000, 3, 10)
	if get(39, 2) || !get(5000, 3) {
		t.Error("only what was written after the gap may be in memory")
	}
	for i := uint64(5001); i <= 5000+2*logCacheEntries; i++ {
		put(i, 3, 1)
	}
	if get(5000+logCacheEntries, 3) || !get(5001+logCacheEntries, 3) {
		t.Errorf("the newest %d entries belong in memory, and they alone", logCacheEntries)
	}
	// An entry larger than the whole cache is held alone.
	last := uint64(5001 + 2*logCacheEntries)
	put(last, 3, logCacheBytes+1)
	if get(last-1, 3) || !get(last, 3) {
		t.Error("a huge entry is held, and alone")
	}
	store.fail = errors.New("disk")
	if err := c.StoreLog(&raft.Log{Index: last + 1, Term: 3}); !errors.Is(err, store.fail) {
		t.Errorf("store: %v, want the store's error", err)
	}
	var log raft.Log
	if err := c.GetLog(last+1, &log); !errors.Is(err, raft.ErrLogNotFound) {
		t.Errorf("what the store refused is read as %v, %v", log.Index, err)
	}
}

// The end of the log is cut only where nothing of it was applied; its beginning goes as
// snapshots are made.
func TestLogIsNotCutBelowWhatWasApplied(t *testing.T) {
	const applied = 5
	refused := errors.New("applied")
	c := newLogCache(raft.NewInmemStore(), func(from uint64) error {
		if from <= applied {
			return refused
		}
		return nil
	})
	for index := uint64(1); index <= 9; index++ {
		if err := c.StoreLog(&raft.Log{Index: index}); err != nil {
			t.Fatal(err)
		}
	}
	for _, cut := range []struct {
		what      string
		low, high uint64
		want      error
	}{
		{"the end, above", 8, 9, nil},
		{"the end, from the last applied on", applied, 7, refused},
		{"the beginning", 1, 3, nil},
		{"the end, from behind the beginning on", applied, 7, refused},
		{"the end, just above", applied + 1, 7, nil},
		{"all, for a snapshot", 4, applied, nil},
	} {
		if err := c.DeleteRange(cut.low, cut.high); !errors.Is(err, cut.want) {
			t.Errorf("%s (%d to %d): %v, want %v", cut.what, cut.low, cut.high, err, cut.want)
		}
	}
}
