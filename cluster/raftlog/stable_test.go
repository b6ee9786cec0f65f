package raftlog

import (
	"bytes"
	"maps"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"
)

// Raft's values survive closing, and raft understands what is missing.
func TestStableStoreKeepsTermAndVote(t *testing.T) {
	eachKind(t, func(t *testing.T, kind Kind) {
		dir := filepath.Join(t.TempDir(), "raft")
		s := mustOpen(t, dir, kind)
		if _, err := s.Stable.GetUint64([]byte("CurrentTerm")); err == nil || err.Error() != "not found" {
			t.Errorf("a value that was never set: %v, want the text that raft compares", err)
		}
		must(t, s.Stable.SetUint64([]byte("CurrentTerm"), 1<<60))
		must(t, s.Stable.Set([]byte("LastVoteCand"), []byte("n3")))
		must(t, s.Stable.Set([]byte("empty"), nil))
		mustClose(t, s)
		s = mustOpen(t, dir, kind)
		defer mustClose(t, s)
		term, err := s.Stable.GetUint64([]byte("CurrentTerm"))
		if err != nil || term != 1<<60 {
			t.Errorf("term %d (%v), want %d", term, err, uint64(1)<<60)
		}
		vote, err := s.Stable.Get([]byte("LastVoteCand"))
		if err != nil || string(vote) != "n3" {
			t.Errorf("vote %q (%v), want n3", vote, err)
		}
		if _, err := s.Stable.GetUint64([]byte("LastVoteCand")); err == nil {
			t.Error("an id was read as a number")
		}
		if err := s.Stable.Set([]byte("big"), make([]byte, maxStable)); err == nil {
			t.Error("a record beyond its limit was stored")
		}
	})
}

// Any set of values is read back, and any single flipped bit is noticed.
func TestStableRecordNoticesFlips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.MapOf(rapid.StringN(0, 20, 40), rapid.SliceOfN(rapid.Byte(), 0, 40)).Draw(t, "values")
		record := encodeStable(values)
		got, err := decodeStable(record)
		if err != nil || !maps.EqualFunc(values, got, bytes.Equal) {
			t.Fatalf("got %v (%v), want %v", got, err, values)
		}
		bit := rapid.IntRange(0, 8*len(record)-1).Draw(t, "bit")
		record[bit/8] ^= 1 << (bit % 8)
		if got, err := decodeStable(record); err == nil {
			t.Fatalf("a flipped bit %d was not noticed: %v", bit, got)
		}
	})
}

func FuzzStableRecord(f *testing.F) {
	f.Add(encodeStable(nil))
	f.Add(encodeStable(map[string][]byte{"CurrentTerm": {0, 0, 0, 0, 0, 0, 0, 7}, "LastVoteCand": []byte("n1")}))
	f.Fuzz(func(t *testing.T, record []byte) {
		values, err := decodeStable(record)
		if err != nil {
			return
		}
		// The writer is canonical; a reader may meet the same values written twice.
		again, err := decodeStable(encodeStable(values))
		if err != nil || !maps.EqualFunc(values, again, bytes.Equal) {
			t.Errorf("%v became %v (%v)", values, again, err)
		}
	})
}
