package vault

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
)

func export(t *testing.T, v *Vault, key Key) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := v.Export(&out, key, nil); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func restore(dir string, backup []byte, key Key) error {
	return withNotes.restore(dir, bytes.NewReader(backup), key, nil)
}

// A backup holds what the vault held, opens with its own key, and the vault that
// comes of it knows that it is a copy.
func TestBackup(t *testing.T) {
	v := create(t)
	for i := range 50 {
		update(t, v, add(fmt.Sprint(i, strings.Repeat("b", 3000))))
	}
	update(t, v, func(tx *Tx) error { return tx.run("DELETE FROM note WHERE id % 2 = 0") })
	var done, total int64
	var out bytes.Buffer
	if err := v.Export(&out, testKey(7), func(d, all int64) { done, total = d, all }); err != nil {
		t.Fatal(err)
	}
	if done == 0 || done != total {
		t.Error("progress ends with", done, "of", total)
	}
	want := notes(t, v)
	update(t, v, add("later"))

	dir := filepath.Join(t.TempDir(), "copy")
	done = 0
	if err := withNotes.restore(dir, &out, testKey(7), func(d, _ int64) { done = d }); err != nil {
		t.Fatal(err)
	}
	if done != total {
		t.Error("progress of Import ends with", done, "of", total)
	}
	if _, err := withNotes.open(dir, testKey(1)); !errors.Is(err, ErrWrongKey) {
		t.Error("the original's key opens the copy:", err)
	}
	restored, err := withNotes.open(dir, testKey(7))
	if err != nil {
		t.Fatal(err)
	}
	defer restored.Close()
	if got := notes(t, restored); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%d notes, not %d", len(got), len(want))
	}
	if err := restored.Check(); err != nil {
		t.Error(err)
	}
	if bytes.Equal(v.db.key, restored.db.key) {
		t.Error("the copy has the original's data key")
	}
	update(t, restored, func(tx *Tx) error {
		at, err := tx.Restored()
		if at.IsZero() {
			t.Error("the copy does not know that it is one")
		}
		return errors.Join(err, tx.ForgetRestored())
	})
	for _, w := range []*Vault{v, restored} {
		err := w.View(func(tx *Tx) error {
			at, err := tx.Restored()
			if !at.IsZero() {
				t.Error("restored at", at)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// A backup that was altered or cut off anywhere, or that is none, is refused, and
// nothing is left of the attempt: the directory takes a good one afterwards.
func TestDamagedBackup(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine at a time: go test without -short runs it, the race detector has nothing to see")
	}
	v := create(t)
	update(t, v, add(strings.Repeat("c", 200_000)))
	good := export(t, v, testKey(7))
	dir := filepath.Join(t.TempDir(), "copy")
	for at := 0; at < len(good); at += 1 + len(good)/97 {
		bad := bytes.Clone(good)
		bad[at] ^= 4
		if err := restore(dir, bad, testKey(7)); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNewer) {
			t.Errorf("byte %d: %v", at, err)
		}
		if err := restore(dir, good[:at], testKey(7)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("cut to %d: %v", at, err)
		}
	}
	if err := restore(dir, append(bytes.Clone(good), 0), testKey(7)); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
	if err := restore(dir, good, testKey(8)); !errors.Is(err, ErrWrongKey) {
		t.Error(err)
	}
	if _, err := withNotes.open(dir, testKey(7)); !errors.Is(err, ErrMissing) {
		t.Error(err)
	}
	// Of a version that this program does not know.
	if err := Import(dir, bytes.NewReader(good), testKey(7), nil); !errors.Is(err, ErrNewer) {
		t.Error(err)
	}
	if err := restore(dir, good, testKey(7)); err != nil {
		t.Error(err)
	}
}

// A damaged vault can't be exported as if it were whole.
func TestExportOfDamage(t *testing.T) {
	dir, _ := filled(t)
	dir = altered(t, dir, databaseFile, func(raw []byte) []byte { raw[len(raw)/2] ^= 1; return raw })
	v, err := withNotes.open(dir, testKey(1))
	if err != nil {
		t.Skip("the damage is where Open reads")
	}
	defer v.Close()
	if err := v.Export(&bytes.Buffer{}, testKey(7), nil); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
	if err := v.Export(brokenPipe{}, testKey(7), nil); err == nil {
		t.Error("an error of the writer is lost")
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

// Whatever was written, deleted and rolled back: every page of the file has its
// checksum, so that no Export takes a free page for damage.
func TestExportAfterAnything(t *testing.T) {
	v := create(t)
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range 60 {
		_ = v.Update(func(tx *Tx) error {
			for range r.IntN(20) {
				body := make([]byte, r.IntN(1<<uint(r.IntN(19))))
				if err := tx.run("INSERT INTO note (text, body) VALUES (?, ?)", fmt.Sprint("word", r.IntN(500)), body); err != nil {
					t.Error(err)
				}
				if err := tx.run("DELETE FROM note WHERE id % 7 = ?", r.IntN(20)); err != nil {
					t.Error(err)
				}
			}
			if r.IntN(9) == 0 {
				if err := tx.run("CREATE TABLE IF NOT EXISTS extra AS SELECT * FROM note"); err != nil {
					t.Error(err)
				}
			}
			if r.IntN(9) == 0 {
				if err := tx.run("DROP TABLE IF EXISTS extra"); err != nil {
					t.Error(err)
				}
			}
			if r.IntN(4) == 0 {
				return errors.New("rolled back")
			}
			return nil
		})
		if i%10 == 9 {
			if err := v.Export(io.Discard, testKey(7), nil); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
	}
}

// BenchmarkExport copies a vault of 32 MiB.
func BenchmarkExport(b *testing.B) {
	v := create(b)
	for range 32 {
		update(b, v, insert(make([]byte, 1<<20)))
	}
	b.SetBytes(32 << 20)
	for b.Loop() {
		if err := v.Export(io.Discard, testKey(7), nil); err != nil {
			b.Fatal(err)
		}
	}
}
