package raftlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A log is the same after it was moved to the other kind and back.
func TestMigrateKeepsEverything(t *testing.T) {
	for _, last := range []uint64{0, 1, 200} {
		eachKind(t, func(t *testing.T, kind Kind) {
			dir := t.TempDir()
			fill(t, dir, kind, last, 500)
			for _, to := range []Kind{kind, otherKind(kind), otherKind(kind), kind} {
				n, err := Migrate(dir, to)
				if err != nil || n != last {
					t.Fatalf("migrate to %s: %d entries (%v), want %d", to, n, err, last)
				}
				s := mustOpen(t, dir, to)
				if d := diff(expected(t, min(1, last), last, 500), mustRead(t, s)); d != "" {
					t.Errorf("after migration to %s: want - got +\n%s", to, d)
				}
				mustClose(t, s)
			}
			if _, err := os.Stat(filepath.Join(dir, walDir)); (err == nil) != (kind == WAL) {
				t.Errorf("directory %s: %v, want one only for wal", walDir, err)
			}
		})
	}
}

func otherKind(kind Kind) Kind {
	if kind == WAL {
		return BoltDB
	}
	return WAL
}

// Cut off before any of its steps, a migration leaves a log of one kind or the
// other, whole, and is done when it is run again.
func TestMigrateIsSafeAtEveryStep(t *testing.T) {
	errCrash := errors.New("crash")
	eachKind(t, func(t *testing.T, from Kind) {
		var names []string
		for stop := 0; ; stop++ {
			dir := t.TempDir()
			fill(t, dir, from, 150, 100)
			at := 0
			_, err := migrate(dir, otherKind(from), func(name string) error {
				if at == stop {
					names = append(names, name)
					return errCrash
				}
				at++
				return nil
			})
			if err == nil {
				break
			}
			if !errors.Is(err, errCrash) {
				t.Fatalf("step %d: %v", stop, err)
			}
			kind, err := readKind(dir)
			must(t, err)
			s := mustOpen(t, dir, kind)
			if d := diff(expected(t, 1, 150, 100), mustRead(t, s)); d != "" {
				t.Fatalf("stopped before %s: want - got +\n%s", names[stop], d)
			}
			// The node may also have gone on meanwhile.
			must(t, s.Log.StoreLogs(entries(t, 151, 153, 100)))
			mustClose(t, s)
			for _, to := range []Kind{otherKind(from), from} {
				if n, err := Migrate(dir, to); err != nil || n != 153 {
					t.Fatalf("stopped before %s, then to %s: %d entries (%v), want 153", names[stop], to, n, err)
				}
			}
		}
		for _, want := range []string{"copy", "compare", "kind", "clean"} {
			if !slices.Contains(names, want) {
				t.Errorf("no stop before %q, only before %v", want, names)
			}
		}
	})
}

// A wal has no gaps: it gets what lies after the one that a snapshot left.
func TestMigrateLeavesTheGapBehind(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, BoltDB)
	must(t, s.Log.StoreLogs(entries(t, 1, 50, 10)))
	must(t, s.Log.StoreLogs(entries(t, 501, 520, 10)))
	mustClose(t, s)
	if n, err := Migrate(dir, WAL); err != nil || n != 20 {
		t.Fatalf("%d entries (%v), want 20", n, err)
	}
	s = mustOpen(t, dir, WAL)
	defer mustClose(t, s)
	if first, err := s.Log.FirstIndex(); err != nil || first != 501 {
		t.Errorf("first entry %d (%v), want 501", first, err)
	}
	must(t, s.Verify(500))
}

// A damaged log is not moved, and neither is none.
func TestMigrateRefusesDamageAndNothing(t *testing.T) {
	if _, err := Migrate(t.TempDir(), WAL); err == nil || !strings.Contains(err.Error(), "holds no log") {
		t.Errorf("an empty directory: %v", err)
	}
	eachKind(t, func(t *testing.T, kind Kind) {
		dir := t.TempDir()
		fill(t, dir, kind, 100, 100)
		if _, err := Migrate(dir, "paper"); err == nil {
			t.Error("an unknown kind was accepted")
		}
		files, err := filepath.Glob(filepath.Join(dir, map[Kind]string{BoltDB: boltFile, WAL: "wal/*.wal"}[kind]))
		must(t, err)
		damaged := 0
		for _, file := range files { // of the wal's segments one has it
			raw, err := os.ReadFile(file)
			must(t, err)
			if at := strings.Index(string(raw), strings.Repeat("\x30", 20)); at >= 0 { // the data of entry 48
				flip(t, file, int64(at))
				damaged++
			}
		}
		if damaged != 1 {
			t.Fatalf("entry 48 is in %d of %v, want one", damaged, files)
		}
		if _, err := Migrate(dir, otherKind(kind)); !errors.Is(err, ErrDamaged) {
			t.Errorf("got %v, want ErrDamaged", err)
		}
		if have, err := readKind(dir); err != nil || have != kind {
			t.Errorf("the kind is %s (%v), want still %s", have, err, kind)
		}
	})
}

func ExampleMigrate() {
	dir, err := os.MkdirTemp("", "raftlog")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	_, err = Migrate(dir, "paper")
	fmt.Println(err)
	// Output: log store "paper": use boltdb or wal
}
