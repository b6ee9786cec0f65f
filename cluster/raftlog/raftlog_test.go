package raftlog

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

func open(t *testing.T, dir string, kind Kind) *Stores {
	t.Helper()
	s, err := Open(Options{Dir: dir, Kind: kind})
	if err != nil {
		t.Fatalf("open %s: %v", kind, err)
	}
	return s
}

func closeStores(t *testing.T, s *Stores) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// entry n of a test log; every fourth is no command.
func entry(n uint64) *raft.Log {
	log := &raft.Log{Index: n, Term: 1 + n/10, Type: raft.LogCommand, Data: []byte(strings.Repeat(fmt.Sprintf("entry-%05d;", n), 20))}
	if n%4 == 0 {
		log.Type, log.Data = raft.LogConfiguration, []byte(fmt.Sprintf("configuration-%05d", n))
	}
	return log
}

func fill(t *testing.T, s *Stores, from, to uint64) {
	t.Helper()
	var logs []*raft.Log
	for n := from; n <= to; n++ {
		logs = append(logs, entry(n))
	}
	if err := s.Log.StoreLogs(logs); err != nil {
		t.Fatal(err)
	}
}

// verify compares a log with what was written.
func verify(t *testing.T, s *Stores, from, to uint64) {
	t.Helper()
	first, err1 := s.Log.FirstIndex()
	last, err2 := s.Log.LastIndex()
	if err1 != nil || err2 != nil || first != from || last != to {
		t.Fatalf("log has %d to %d (%v, %v), want %d to %d", first, last, err1, err2, from, to)
	}
	for n := from; n <= to; n++ {
		if err := same(s, n); err != nil {
			t.Fatal(err)
		}
	}
}

func same(s *Stores, n uint64) error {
	var got raft.Log
	if err := s.Log.GetLog(n, &got); err != nil {
		return err
	}
	want := entry(n)
	if got.Index != want.Index || got.Term != want.Term || got.Type != want.Type || !bytes.Equal(got.Data, want.Data) || len(got.Extensions) != 0 {
		return fmt.Errorf("entry %d came back as %+v", n, got)
	}
	return nil
}

func kinds() []Kind { return []Kind{BoltDB, WAL} }

// What was stored is there after reopening, ranges can be deleted at both ends,
// and the stable store keeps its values, with either kind.
func TestStoresKeepTheirEntries(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(string(kind), func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, kind)
			fill(t, s, 1, 100)
			if err := s.Stable.SetUint64([]byte("CurrentTerm"), 7); err != nil {
				t.Fatal(err)
			}
			closeStores(t, s)
			s = open(t, dir, kind)
			verify(t, s, 1, 100)
			if err := errors.Join(s.Log.DeleteRange(1, 40), s.Log.DeleteRange(91, 100)); err != nil {
				t.Fatal(err)
			}
			closeStores(t, s)
			s = open(t, dir, kind)
			defer closeStores(t, s)
			verify(t, s, 41, 90)
			if term, err := s.Stable.GetUint64([]byte("CurrentTerm")); err != nil || term != 7 {
				t.Errorf("term %d (%v), want 7", term, err)
			}
			var log raft.Log
			if err := s.Log.GetLog(95, &log); !errors.Is(err, raft.ErrLogNotFound) {
				t.Errorf("a deleted entry: %v, want ErrLogNotFound", err)
			}
		})
	}
}

// A directory whose log is in the other kind of store says how to move it.
func TestOtherKindIsRefused(t *testing.T) {
	dir := t.TempDir()
	closeStores(t, open(t, dir, BoltDB))
	if _, err := Open(Options{Dir: dir, Kind: WAL}); !errors.Is(err, ErrKind) || !strings.Contains(err.Error(), "migrate-log --to wal") {
		t.Errorf("got %v, want ErrKind with the command to run", err)
	}
	if _, err := Open(Options{Dir: dir, Kind: "paper"}); err == nil || !strings.Contains(err.Error(), "boltdb or wal") {
		t.Errorf("unknown kind: %v, want an error that names the kinds", err)
	}
}

// A second process gets an error within seconds, not a wait for ever.
func TestSecondOpenIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, BoltDB)
	defer closeStores(t, s)
	if _, err := Open(Options{Dir: dir, Kind: BoltDB}); err == nil || !strings.Contains(err.Error(), boltFile) {
		t.Errorf("got %v, want an error that names the file", err)
	}
}

// A log moves there and back with every entry, and the stable store stays.
func TestMigrateThereAndBack(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, BoltDB)
	fill(t, s, 1, 300)
	if err := s.Log.DeleteRange(1, 50); err != nil {
		t.Fatal(err)
	}
	if err := s.Stable.SetUint64([]byte("CurrentTerm"), 9); err != nil {
		t.Fatal(err)
	}
	closeStores(t, s)
	for _, to := range []Kind{WAL, WAL, BoltDB, WAL, BoltDB} {
		moved, err := Migrate(dir, to)
		if err != nil || moved != 250 {
			t.Fatalf("to %s: moved %d (%v), want 250", to, moved, err)
		}
		s := open(t, dir, to)
		verify(t, s, 51, 300)
		if term, err := s.Stable.GetUint64([]byte("CurrentTerm")); err != nil || term != 9 {
			t.Errorf("to %s: term %d (%v), want 9", to, term, err)
		}
		closeStores(t, s)
	}
	if _, err := Migrate(t.TempDir(), WAL); err == nil {
		t.Error("a directory without a log was migrated")
	}
}

// A migration that a crash cut off at any point is run again, and nothing is
// lost: what a crash leaves is put there by hand.
func TestMigrateAfterACrash(t *testing.T) {
	for name, leave := range map[string]func(t *testing.T, dir string){
		"half a copy": func(t *testing.T, dir string) {
			half := filepath.Join(dir, walDir+tempTail)
			w, err := openWAL(half)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(newChecked(w, half, true, nil).StoreLogs([]*raft.Log{entry(1), entry(2)}), w.Close()); err != nil {
				t.Fatal(err)
			}
		},
		"a whole copy, not yet counted": func(t *testing.T, dir string) {
			if _, err := Migrate(dir, WAL); err != nil {
				t.Fatal(err)
			}
			// The kind file and the old log are as before the last steps.
			s := open(t, dir, WAL)
			closeStores(t, s)
			if err := writeKind(dir, BoltDB); err != nil {
				t.Fatal(err)
			}
			s = open(t, dir, BoltDB)
			fill(t, s, 1, 100)
			closeStores(t, s)
		},
		"an old log that was not yet cleared": func(t *testing.T, dir string) {
			if _, err := Migrate(dir, WAL); err != nil {
				t.Fatal(err)
			}
			s := open(t, dir, WAL)
			if err := s.bolt.StoreLogs([]*raft.Log{entry(1), entry(2)}); err != nil {
				t.Fatal(err)
			}
			closeStores(t, s)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, BoltDB)
			fill(t, s, 1, 100)
			closeStores(t, s)
			leave(t, dir)
			for _, to := range []Kind{WAL, BoltDB} {
				if _, err := Migrate(dir, to); err != nil {
					t.Fatalf("to %s: %v", to, err)
				}
				s := open(t, dir, to)
				verify(t, s, 1, 100)
				closeStores(t, s)
			}
		})
	}
}

// No flipped bit in a closed log is ever read as something else: every entry is
// the same, or there is an error that says so. Every 61st byte is tried.
func TestFlippedBitsAreNeverSilent(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(string(kind), func(t *testing.T) {
			golden := t.TempDir()
			s := open(t, golden, kind)
			fill(t, s, 1, 60)
			closeStores(t, s)
			noticed, tried := 0, 0
			for _, file := range logFiles(t, golden, kind) {
				raw, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				raw = raw[:min(len(raw), 128<<10)] // the rest of a WAL segment is empty
				for at := 0; at < len(raw); at += 61 * stride(len(raw)) {
					tried++
					if flippedIsNoticed(t, file, at, golden, kind) {
						noticed++
					}
				}
			}
			if noticed == 0 {
				t.Errorf("none of %d flipped bits was noticed: the test flips the wrong bytes", tried)
			}
			t.Logf("%d of %d flipped bits were noticed, the others changed nothing", noticed, tried)
		})
	}
}

// stride keeps the number of tries, each of which opens a store, small.
func stride(size int) int {
	tries := 60
	if testing.Short() {
		tries = 15
	}
	return max(1, size/61/tries)
}

func logFiles(t *testing.T, dir string, kind Kind) []string {
	t.Helper()
	if kind == BoltDB {
		return []string{filepath.Join(dir, boltFile)}
	}
	files, err := filepath.Glob(filepath.Join(dir, walDir, "*.wal"))
	if err != nil || len(files) == 0 {
		t.Fatalf("segments %v (%v)", files, err)
	}
	return files
}

// flippedIsNoticed flips a bit in place, reads everything, and flips it back.
func flippedIsNoticed(t *testing.T, file string, at int, dir string, kind Kind) bool {
	t.Helper()
	flip := func() {
		f, err := os.OpenFile(file, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		var b [1]byte
		_, err = f.ReadAt(b[:], int64(at))
		b[0] ^= 0x04
		_, err2 := f.WriteAt(b[:], int64(at))
		if err := errors.Join(err, err2, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	work := t.TempDir()
	flip()
	if err := os.CopyFS(work, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	flip()
	s, err := Open(Options{Dir: work, Kind: kind})
	if err != nil {
		return true
	}
	defer s.Close()
	last, err := s.Log.LastIndex()
	if err != nil {
		return true
	}
	noticed := false
	for n := uint64(1); n <= last; n++ {
		err := same(s, n)
		if err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, raft.ErrLogNotFound) {
			t.Fatalf("bit in byte %d of %s: %v: read as something else", at, filepath.Base(file), err)
		}
		noticed = noticed || err != nil
	}
	return noticed || last != 60
}

func BenchmarkStoreLogs(b *testing.B) {
	for _, kind := range kinds() {
		for _, batch := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/batch=%d", kind, batch), func(b *testing.B) {
				s, err := Open(Options{Dir: b.TempDir(), Kind: kind})
				if err != nil {
					b.Fatal(err)
				}
				defer s.Close()
				body := make([]byte, 1024)
				index := uint64(0)
				for b.Loop() {
					logs := make([]*raft.Log, batch)
					for i := range logs {
						index++
						logs[i] = &raft.Log{Index: index, Term: 1, Data: body}
					}
					if err := s.Log.StoreLogs(logs); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/entry")
			})
		}
	}
}
