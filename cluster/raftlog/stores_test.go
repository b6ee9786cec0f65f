package raftlog

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"quicproquo/schemas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var kinds = []Kind{BoltDB, WAL}

// eachKind runs a test with either kind of store.
func eachKind(t *testing.T, test func(t *testing.T, kind Kind)) {
	t.Helper()
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) { test(t, kind) })
	}
}

// entry makes a log entry: mostly commands of about size bytes, some of raft's own.
func entry(tb testing.TB, index uint64, size int) *raft.Log {
	tb.Helper()
	log := &raft.Log{Index: index, Term: 1 + index/50, Type: raft.LogCommand, AppendedAt: time.Unix(1_700_000_000, int64(index))}
	switch index % 10 {
	case 3:
		log.Type = raft.LogNoop
	case 7:
		log.Type, log.Data = raft.LogConfiguration, raft.EncodeConfiguration(raft.Configuration{
			Servers: []raft.Server{{ID: "n1", Address: "n1"}},
		})
	default:
		var err error
		log.Data, err = schemas.SealBatch(index, [][]byte{bytes.Repeat([]byte{byte(index)}, size)})
		if err != nil {
			tb.Fatal(err)
		}
	}
	return log
}

func entries(tb testing.TB, first, last uint64, size int) []*raft.Log {
	tb.Helper()
	var logs []*raft.Log
	for index := first; index <= last; index++ {
		logs = append(logs, entry(tb, index, size))
	}
	return logs
}

func mustOpen(tb testing.TB, dir string, kind Kind) *Stores {
	tb.Helper()
	s, err := Open(Options{Dir: dir, Kind: kind, OnFault: func(err error) { tb.Errorf("fault: %v", err) }})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func mustClose(tb testing.TB, s *Stores) {
	tb.Helper()
	if err := s.Close(); err != nil {
		tb.Fatal(err)
	}
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// fill makes a closed log with entries, a term and a vote; a wal has small segments, and
// so several.
func fill(tb testing.TB, dir string, kind Kind, last uint64, size int) {
	tb.Helper()
	s, err := open(Options{Dir: dir, Kind: kind}, smallSegments())
	must(tb, err)
	for at := uint64(1); at <= last; at += 7 {
		must(tb, s.Log.StoreLogs(entries(tb, at, min(last, at+6), size)))
	}
	must(tb, s.Stable.SetUint64([]byte("CurrentTerm"), 7))
	must(tb, s.Stable.Set([]byte("LastVoteCand"), []byte("n2")))
	mustClose(tb, s)
}

// contents is all that a log holds.
type contents struct {
	First, Last uint64
	Logs        []raft.Log
	Term        uint64
	Vote        string
}

func read(s *Stores) (c contents, err error) {
	if c.First, err = s.Log.FirstIndex(); err != nil {
		return c, err
	}
	if c.Last, err = s.Log.LastIndex(); err != nil {
		return c, err
	}
	for index := c.First; index <= c.Last && c.Last > 0; index++ {
		var log raft.Log
		err := s.Log.GetLog(index, &log)
		if errors.Is(err, raft.ErrLogNotFound) {
			continue
		}
		if err != nil {
			return c, err
		}
		c.Logs = append(c.Logs, log)
	}
	if c.Term, err = s.Stable.GetUint64([]byte("CurrentTerm")); err != nil {
		return c, err
	}
	vote, err := s.Stable.Get([]byte("LastVoteCand"))
	c.Vote = string(vote)
	return c, err
}

func mustRead(tb testing.TB, s *Stores) contents {
	tb.Helper()
	c, err := read(s)
	must(tb, err)
	return c
}

// expected is what a log of fill holds.
func expected(tb testing.TB, first, last uint64, size int) contents {
	tb.Helper()
	c := contents{First: first, Last: last, Term: 7, Vote: "n2"}
	if last == 0 {
		return c
	}
	for _, log := range entries(tb, first, last, size) {
		c.Logs = append(c.Logs, *log)
	}
	return c
}

func diff(want, got contents) string {
	return cmp.Diff(want, got, cmp.Transformer("nil", func(b []byte) string { return string(b) }))
}

// What was stored is read back after closing, entries of every type, with raft's
// own values, and raft never sees the checksum.
func TestStoresKeepWhatTheyAreGiven(t *testing.T) {
	eachKind(t, func(t *testing.T, kind Kind) {
		dir := filepath.Join(t.TempDir(), "raft")
		fill(t, dir, kind, 100, 300)
		s := mustOpen(t, dir, kind)
		if d := diff(expected(t, 1, 100, 300), mustRead(t, s)); d != "" {
			t.Errorf("want - got +\n%s", d)
		}
		must(t, s.Log.DeleteRange(1, 40))
		must(t, s.Log.DeleteRange(91, 100))
		must(t, s.Log.StoreLogs(entries(t, 91, 95, 10)))
		mustClose(t, s)
		s = mustOpen(t, dir, kind)
		defer mustClose(t, s)
		got := mustRead(t, s)
		if got.First != 41 || got.Last != 95 || len(got.Logs) != 55 {
			t.Errorf("after deleting both ends and appending: %d to %d, %d entries; want 41 to 95, 55", got.First, got.Last, len(got.Logs))
		}
		if err := s.Verify(40); err != nil {
			t.Errorf("verify: %v", err)
		}
	})
}

// A gap below the installed snapshot is as raft leaves it in boltdb; above it an
// entry is missing.
func TestGapIsNoDamageBelowTheSnapshot(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, BoltDB)
	must(t, s.Log.StoreLogs(entries(t, 1, 50, 10)))
	must(t, s.Log.StoreLogs(entries(t, 501, 520, 10)))
	mustClose(t, s)
	s = mustOpen(t, dir, BoltDB)
	defer mustClose(t, s)
	if err := s.Verify(500); err != nil {
		t.Errorf("verify after the snapshot's index: %v", err)
	}
	err := s.Verify(49)
	if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "entry 51 is missing") {
		t.Errorf("verify over the gap: %v, want ErrDamaged that names entry 51", err)
	}
}

// A directory of one kind is not opened as the other, and the message says how
// to move it.
func TestOtherKindIsRefused(t *testing.T) {
	eachKind(t, func(t *testing.T, kind Kind) {
		dir := t.TempDir()
		fill(t, dir, kind, 5, 10)
		other := kinds[0]
		if kind == other {
			other = kinds[1]
		}
		_, err := Open(Options{Dir: dir, Kind: other})
		if !errors.Is(err, ErrKind) || !strings.Contains(err.Error(), "qpqd migrate-log --to "+string(other)) || !strings.Contains(err.Error(), dir) {
			t.Errorf("got %v, want ErrKind with the command and the directory", err)
		}
		if _, err := Open(Options{Dir: dir, Kind: "paper"}); err == nil || !strings.Contains(err.Error(), `"paper"`) {
			t.Errorf("unknown kind: %v", err)
		}
		mustClose(t, mustOpen(t, dir, kind))
	})
}

// A lost file is damage, whichever it is: to begin anew would forget votes and
// acknowledged entries.
func TestLostFilesAreDamage(t *testing.T) {
	for _, c := range []struct {
		kind Kind
		file string
	}{
		{BoltDB, kindFile},
		{BoltDB, boltFile},
		{WAL, kindFile},
		{WAL, boltFile},
		{WAL, "wal"},
		{WAL, "wal/state"},
		{WAL, "wal/*.wal"},
	} {
		t.Run(string(c.kind)+" "+c.file, func(t *testing.T) {
			dir := t.TempDir()
			fill(t, dir, c.kind, 20, 10)
			files, err := filepath.Glob(filepath.Join(dir, c.file))
			if err != nil || len(files) == 0 {
				t.Fatalf("no file %s (%v)", c.file, err)
			}
			for _, file := range files {
				must(t, os.RemoveAll(file))
			}
			_, err = Open(Options{Dir: dir, Kind: c.kind})
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "--join") {
				t.Errorf("got %v, want ErrDamaged with the directory and what to do", err)
			}
		})
	}
}

// A start that a crash cut off anywhere before the kind was written is simply
// done again.
func TestInterruptedFirstStartIsRepeated(t *testing.T) {
	eachKind(t, func(t *testing.T, kind Kind) {
		dir := t.TempDir()
		must(t, makeBolt(filepath.Join(dir, boltFile)))
		must(t, os.WriteFile(filepath.Join(dir, boltFile+tempTail), []byte("half"), 0o600))
		must(t, os.MkdirAll(filepath.Join(dir, walDir), 0o700))
		must(t, os.WriteFile(filepath.Join(dir, walDir, stateFile+tempTail), []byte("half"), 0o600))
		s := mustOpen(t, dir, kind)
		must(t, s.Log.StoreLog(entry(t, 1, 10)))
		mustClose(t, s)
		mustClose(t, mustOpen(t, dir, kind))
	})
}

// A second process on the files gets a message within the lock's wait.
func TestSecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, BoltDB)
	defer mustClose(t, s)
	_, err := newBolt(filepath.Join(dir, boltFile))
	if err == nil || !strings.Contains(err.Error(), "another process") || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v, want the file and that another process has it", err)
	}
}

// A large file that is mostly free shrinks when the node starts, and holds the
// same entries; a smaller or fuller one is left alone.
func TestMostlyFreeFileIsCompacted(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, boltFile)
	fill(t, dir, BoltDB, 400, 4000)
	s := mustOpen(t, dir, BoltDB)
	must(t, s.Log.DeleteRange(1, 390))
	info, err := s.Info()
	must(t, err)
	if info.First != 391 || info.Last != 400 || info.Free < 1<<20 || info.Free > info.Bytes {
		t.Errorf("info %+v, want entries 391 to 400 and more than 1 MiB free", info)
	}
	mustClose(t, s)
	for _, c := range []struct {
		name    string
		when    compaction
		shrinks bool
	}{
		{"too small", compaction{above: info.Bytes + 1, share: 0.5, txBytes: 1 << 20}, false},
		{"too full", compaction{above: 1, share: 0.999, txBytes: 1 << 20}, false},
		{"mostly free", compaction{above: 1, share: 0.5, txBytes: 1 << 20}, true},
	} {
		s, err := open(Options{Dir: dir, Kind: BoltDB}, tuning{compact: c.when})
		must(t, err)
		stat, err := os.Stat(file)
		must(t, err)
		if shrunk := stat.Size() < info.Bytes/4; shrunk != c.shrinks {
			t.Errorf("%s: the file has %d bytes, had %d; want shrunk %v", c.name, stat.Size(), info.Bytes, c.shrinks)
		}
		if d := diff(expected(t, 391, 400, 4000), mustRead(t, s)); d != "" {
			t.Errorf("%s: want - got +\n%s", c.name, d)
		}
		mustClose(t, s)
	}
	if left, _ := exists(file + tempTail); left {
		t.Error("the temporary file was left")
	}
}

// Many entries can be deleted in one range without leaving any behind. (A wal
// still answers for the deleted ones until their segment goes; raft asks for none
// before the first.)
func TestDeleteRangeLeavesNothing(t *testing.T) {
	eachKind(t, func(t *testing.T, kind Kind) {
		s := mustOpen(t, t.TempDir(), kind)
		defer mustClose(t, s)
		for at := uint64(1); at < 3000; at += 500 {
			must(t, s.Log.StoreLogs(entries(t, at, at+499, 40)))
		}
		must(t, s.Log.DeleteRange(1, 2500))
		if first, err := s.Log.FirstIndex(); err != nil || first != 2501 {
			t.Errorf("first index %d (%v), want 2501", first, err)
		}
		for index := uint64(1); index <= 2500 && kind == BoltDB; index++ {
			if err := s.Log.GetLog(index, &raft.Log{}); !errors.Is(err, raft.ErrLogNotFound) {
				t.Fatalf("entry %d after deletion: %v, want ErrLogNotFound", index, err)
			}
		}
		must(t, s.Verify(2500))
	})
}

// Errors after Close are no faults: raft may still be reading.
func TestClosedLogIsNoFault(t *testing.T) {
	eachKind(t, func(t *testing.T, kind Kind) {
		s := mustOpen(t, t.TempDir(), kind)
		must(t, s.Log.StoreLog(entry(t, 1, 10)))
		mustClose(t, s)
		if err := s.Log.GetLog(1, &raft.Log{}); err == nil || errors.Is(err, ErrDamaged) {
			t.Errorf("read after close: %v, want an error that is not damage", err)
		}
		if err := s.Log.StoreLog(entry(t, 2, 10)); err == nil || errors.Is(err, ErrDisk) {
			t.Errorf("write after close: %v, want an error that is no fault", err)
		}
	})
}

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "raftlog")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	stores, err := Open(Options{Dir: dir, Kind: BoltDB})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(stores.Log.StoreLog(&raft.Log{Index: 1, Term: 1, Type: raft.LogNoop}))
	last, err := stores.Log.LastIndex()
	fmt.Println(last, err)
	fmt.Println(stores.Close())
	// Output:
	// <nil>
	// 1 <nil>
	// <nil>
}
