package raftlog

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
)

// boltBytes makes the file of a log large enough to have branch pages, pages with
// overflow and free pages.
func boltBytes(tb testing.TB, last uint64, size int) []byte {
	tb.Helper()
	dir := tb.TempDir()
	fill(tb, dir, BoltDB, last, size)
	raw, err := os.ReadFile(filepath.Join(dir, boltFile))
	must(tb, err)
	return raw
}

// Files of every shape that the libraries write pass the walk.
func TestWholeBoltFilesPass(t *testing.T) {
	for _, c := range []struct {
		last uint64
		size int
	}{{0, 0}, {1, 0}, {3, 10}, {500, 0}, {500, 900}, {30, 20_000}} {
		raw := boltBytes(t, c.last, c.size)
		if err := checkPages(bytes.NewReader(raw), int64(len(raw))); err != nil {
			t.Errorf("%d entries of %d bytes: %v", c.last, c.size, err)
		}
	}
}

// The walk passes whatever was deleted and put back, as raft does all the time.
func TestUsedBoltFilePasses(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, BoltDB)
	next := uint64(1)
	for round := range uint64(30) {
		must(t, s.Log.StoreLogs(entries(t, next, next+19, int(round*37%700))))
		next += 20
		if round%3 == 2 {
			must(t, s.Log.DeleteRange(next-5, next-1))
			next -= 5
		}
		if round%5 == 4 {
			must(t, s.Log.DeleteRange(1, next-30))
		}
		must(t, s.Stable.SetUint64([]byte("CurrentTerm"), round))
		if err := checkBoltFile(filepath.Join(dir, boltFile)); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
	mustClose(t, s)
}

// A bolt file that some other program made is refused.
func TestForeignBoltFileIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "foreign.db")
	db, err := bbolt.Open(file, 0o600, boltOptions())
	must(t, err)
	must(t, db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket([]byte("accounts"))
		return err
	}))
	must(t, db.Close())
	if err := checkBoltFile(file); !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v, want ErrDamaged", err)
	}
}

// What passes the walk can be opened and read: bbolt neither panics nor faults,
// on no goroutine.
func FuzzBoltPages(f *testing.F) {
	whole := [][]byte{boltBytes(f, 0, 0), boltBytes(f, 40, 100), boltBytes(f, 300, 10)}
	f.Add(uint8(0), uint32(4096*3+8), byte(1), uint32(0), byte(0))
	f.Add(uint8(1), uint32(16), byte(0xFF), uint32(4096+16), byte(0xFF))
	f.Add(uint8(2), uint32(40), byte(1), uint32(4096*5+10), byte(7))
	f.Fuzz(func(t *testing.T, which uint8, at1 uint32, xor1 byte, at2 uint32, xor2 byte) {
		raw := bytes.Clone(whole[int(which)%len(whole)])
		raw[int(at1)%len(raw)] ^= xor1
		raw[int(at2)%len(raw)] ^= xor2
		if checkPages(bytes.NewReader(raw), int64(len(raw))) != nil {
			return
		}
		file := filepath.Join(t.TempDir(), boltFile)
		must(t, os.WriteFile(file, raw, 0o600))
		store, err := newBolt(file)
		if err != nil {
			t.Fatalf("the walk passed what bbolt refuses: %v", err)
		}
		log := newChecked(store, file, BoltDB, nil)
		_, last, err := log.bounds()
		must(t, err)
		for index := uint64(0); index <= min(last, 400); index++ {
			_ = log.GetLog(index, &raft.Log{})
		}
		must(t, store.StoreLog(&raft.Log{Index: 1 << 20, AppendedAt: time.Unix(1, 0)}))
		must(t, store.Close())
	})
}
