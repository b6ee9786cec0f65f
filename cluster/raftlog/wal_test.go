package raftlog

import (
	"os"
	"path/filepath"
	"testing"
)

// smallSegments makes a wal rotate after some twenty entries of 300 bytes.
func smallSegments() tuning {
	t := standard()
	t.segmentSize = 8 << 10
	return t
}

func openSmall(tb testing.TB, dir string) *Stores {
	tb.Helper()
	s, err := open(Options{Dir: dir, Kind: WAL, OnFault: func(err error) { tb.Errorf("fault: %v", err) }}, smallSegments())
	must(tb, err)
	return s
}

// A log whose tail was cut off, as raft does when another leader's entries
// differ, is read after a restart, wherever it was cut and however often.
func TestCutTailIsReadAfterRestart(t *testing.T) {
	dir := t.TempDir()
	s := openSmall(t, dir)
	must(t, s.Stable.SetUint64([]byte("CurrentTerm"), 7))
	must(t, s.Stable.Set([]byte("LastVoteCand"), []byte("n2")))
	last := uint64(0)
	for _, cut := range []uint64{100, 99, 60, 61, 3, 3, 1} {
		for last < 100 {
			last++
			must(t, s.Log.StoreLog(entry(t, last, 300)))
		}
		must(t, s.Log.DeleteRange(cut, last))
		last = cut - 1
		mustClose(t, s)
		s = openSmall(t, dir)
		want := expected(t, min(1, last), last, 300)
		if d := diff(want, mustRead(t, s)); d != "" {
			t.Fatalf("cut at %d, before the next append: want - got +\n%s", cut, d)
		}
		must(t, s.Log.StoreLog(entry(t, cut, 300)))
		last = cut
		mustClose(t, s)
		s = openSmall(t, dir)
		if d := diff(expected(t, 1, last, 300), mustRead(t, s)); d != "" {
			t.Fatalf("cut at %d, after the next append: want - got +\n%s", cut, d)
		}
	}
	mustClose(t, s)
}

// A stop between the sealing of a segment and the start of the next, where the
// library alone would refuse every further entry, loses nothing.
func TestStopBeforeRotationIsMended(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, walDir, stateFile)
	s := openSmall(t, dir)
	must(t, s.Stable.SetUint64([]byte("CurrentTerm"), 7))
	must(t, s.Stable.Set([]byte("LastVoteCand"), []byte("n2")))
	before, err := os.ReadFile(list)
	must(t, err)
	mended := 0
	for index := uint64(1); index <= 120; index++ {
		must(t, s.Log.StoreLog(entry(t, index, 300)))
		mustClose(t, s)
		after, err := os.ReadFile(list)
		must(t, err)
		if string(before) != string(after) {
			// Rotated in time; back to the list as a crash leaves it.
			must(t, os.WriteFile(list, before, 0o600))
		}
		s = openSmall(t, dir)
		if d := diff(expected(t, 1, index, 300), mustRead(t, s)); d != "" {
			t.Fatalf("stopped after entry %d: want - got +\n%s", index, d)
		}
		opened, err := os.ReadFile(list)
		must(t, err)
		if string(opened) != string(before) {
			mended++
		}
		before = opened
	}
	mustClose(t, s)
	if mended < 3 {
		t.Errorf("%d segments were begun anew, want at least 3: the test does not do what it says", mended)
	}
}

// A wal whose segment was sealed by a write that a crash cut off goes on before
// that write.
func TestTornSealingWriteIsDropped(t *testing.T) {
	for _, alone := range []bool{false, true} {
		dir := t.TempDir()
		s := openSmall(t, dir)
		must(t, s.Stable.SetUint64([]byte("CurrentTerm"), 7))
		must(t, s.Stable.Set([]byte("LastVoteCand"), []byte("n2")))
		list := filepath.Join(dir, walDir, stateFile)
		before, err := os.ReadFile(list)
		must(t, err)
		kept := uint64(0)
		if !alone {
			kept = 2
			must(t, s.Log.StoreLogs(entries(t, 1, kept, 300)))
		}
		must(t, s.Log.StoreLogs(entries(t, kept+1, kept+40, 300))) // seals
		must(t, s.closeFiles())                                    // no note: a crash
		must(t, os.WriteFile(list, before, 0o600))
		segments, err := filepath.Glob(filepath.Join(dir, walDir, "00000000000000000001-*.wal"))
		if err != nil || len(segments) != 1 {
			t.Fatalf("segments %v (%v), want one", segments, err)
		}
		flip(t, segments[0], 5000) // within the write that seals
		for range 2 {
			s = openSmall(t, dir)
			last, err := s.Log.LastIndex()
			if err != nil || last != kept {
				t.Fatalf("alone %v: last entry %d (%v), want %d", alone, last, err, kept)
			}
			mustClose(t, s)
		}
		s = openSmall(t, dir)
		must(t, s.Log.StoreLogs(entries(t, kept+1, 60, 300)))
		mustClose(t, s)
		s = openSmall(t, dir)
		if d := diff(expected(t, 1, 60, 300), mustRead(t, s)); d != "" {
			t.Fatalf("alone %v: want - got +\n%s", alone, d)
		}
		mustClose(t, s)
	}
}

// flip inverts the bits of one byte of a file.
func flip(tb testing.TB, file string, at int64) {
	tb.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	must(tb, err)
	var b [1]byte
	_, err = f.ReadAt(b[:], at)
	must(tb, err)
	b[0] ^= 0xFF
	_, err = f.WriteAt(b[:], at)
	must(tb, err)
	must(tb, f.Close())
}
