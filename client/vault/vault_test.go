package vault

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// testSchema is the real schema and tables to write to.
var testSchema = append(append([]string(nil), migrations...), `
	CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT, body BLOB, at INTEGER) STRICT;
	CREATE VIRTUAL TABLE words USING fts5(text, content='note', content_rowid='id');
	INSERT INTO words(words, rank) VALUES ('secure-delete', 1);
	CREATE TRIGGER note_in AFTER INSERT ON note BEGIN INSERT INTO words(rowid, text) VALUES (new.id, new.text); END;
	CREATE TRIGGER note_out AFTER DELETE ON note BEGIN INSERT INTO words(words, rowid, text) VALUES ('delete', old.id, old.text); END;`)

var withNotes = settings{migrations: testSchema}

// testKey is a key that costs no Argon2id. Different numbers are different keys.
func testKey(n byte) Key { return Raw(bytes.Repeat([]byte{n}, rawKeySize)) }

func create(tb testing.TB) *Vault {
	tb.Helper()
	v, err := withNotes.create(filepath.Join(tb.TempDir(), "vault"), testKey(1))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = v.Close() })
	return v
}

func reopen(tb testing.TB, v *Vault) *Vault {
	tb.Helper()
	if err := v.Close(); err != nil {
		tb.Fatal(err)
	}
	return open(tb, v.dir)
}

func open(tb testing.TB, dir string) *Vault {
	tb.Helper()
	v, err := withNotes.open(dir, testKey(1))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = v.Close() })
	return v
}

func add(text string) func(*Tx) error {
	return func(tx *Tx) error {
		return tx.run("INSERT INTO note (text, body, at) VALUES (?, ?, ?)", text, []byte(text), time.UnixMilli(5))
	}
}

func update(tb testing.TB, v *Vault, f func(*Tx) error) {
	tb.Helper()
	if err := v.Update(f); err != nil {
		tb.Fatal(err)
	}
}

func notes(tb testing.TB, v *Vault) []string {
	tb.Helper()
	var texts []string
	err := v.View(func(tx *Tx) error {
		texts = nil
		return tx.each("SELECT text FROM note ORDER BY id", func(r *row) error {
			texts = append(texts, r.text(0))
			return nil
		})
	})
	if err != nil {
		tb.Fatal(err)
	}
	return texts
}

// What Update has stored is there after the vault is closed and opened again.
func TestStoredIsThere(t *testing.T) {
	v := create(t)
	update(t, v, add("one"))
	update(t, v, add("two"))
	v = reopen(t, v)
	if got := fmt.Sprint(notes(t, v)); got != "[one two]" {
		t.Error(got)
	}
}

// An error or a panic in Update leaves nothing behind, and the vault works on.
func TestRollback(t *testing.T) {
	v := create(t)
	mine := errors.New("mine")
	err := v.Update(func(tx *Tx) error { return errors.Join(add("lost")(tx), mine) })
	if !errors.Is(err, mine) {
		t.Error(err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_ = v.Update(func(tx *Tx) error {
			_ = add("lost")(tx)
			panic("mine")
		})
	}()
	update(t, v, add("kept"))
	if got := fmt.Sprint(notes(t, v)); got != "[kept]" {
		t.Error(got)
	}
}

// A View can't write, and a transaction is no use when it is over.
func TestReadOnlyAndOver(t *testing.T) {
	v := create(t)
	if err := v.View(add("no")); !errors.Is(err, ErrReadOnly) {
		t.Error(err)
	}
	var kept *Tx
	update(t, v, func(tx *Tx) error { kept = tx; return nil })
	if err := add("no")(kept); err == nil {
		t.Error("a transaction that is over wrote")
	}
	if got := notes(t, v); got != nil {
		t.Error(got)
	}
}

// Every kind of argument comes back as it was stored.
func TestValues(t *testing.T) {
	v := create(t)
	now := time.UnixMilli(1_700_000_000_123)
	update(t, v, func(tx *Tx) error {
		found, err := tx.one("SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?", func(r *row) {
			if r.int64(0) != -7 || r.int64(1) != 1<<62 || r.uint64(2) != 9 || !r.bool(3) || r.text(4) != "é\x00x" ||
				!bytes.Equal(r.bytes(5), []byte{0, 1}) || !r.null(6) || !r.time(7).Equal(now) || !r.time(8).IsZero() {
				t.Error("a value changed")
			}
		}, -7, int64(1<<62), uint64(9), true, "é\x00x", []byte{0, 1}, nil, now, time.Time{})
		if !found {
			t.Error("no row")
		}
		return err
	})
	for _, args := range [][]any{{uint64(1 << 63)}, {3.5}, {}, {1, 2}} {
		if err := v.Update(func(tx *Tx) error { return tx.run("SELECT ?", args...) }); err == nil {
			t.Errorf("%v was taken", args)
		}
	}
	err := v.View(func(tx *Tx) error {
		_, err := tx.one("SELECT -1", func(r *row) { _ = r.uint64(0) })
		return err
	})
	if !errors.Is(err, ErrCorrupt) {
		t.Error("a negative number for an unsigned one:", err)
	}
}

// A query may run inside its own rows, and more queries than are kept prepared.
func TestStatements(t *testing.T) {
	v := create(t)
	update(t, v, func(tx *Tx) error { return errors.Join(add("a")(tx), add("b")(tx)) })
	pairs := 0
	err := v.View(func(tx *Tx) error {
		return tx.each("SELECT id FROM note", func(*row) error {
			return tx.each("SELECT id FROM note", func(*row) error { pairs++; return nil })
		})
	})
	if err != nil || pairs != 4 {
		t.Error(pairs, err)
	}
	for i := range 2 * maxStatements {
		err := v.View(func(tx *Tx) error { return tx.run(fmt.Sprintf("SELECT %d", i)) })
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := len(v.db.statements); n > maxStatements {
		t.Error(n, "statements are kept")
	}
	var id, changed int64
	update(t, v, func(tx *Tx) error {
		err := add("c")(tx)
		id = tx.lastInsert()
		err = errors.Join(err, tx.run("UPDATE note SET at = 1"))
		changed = tx.changed()
		return err
	})
	if id != 3 || changed != 3 {
		t.Error(id, changed)
	}
}

// A constraint that is not met leaves the transaction usable.
func TestConstraint(t *testing.T) {
	v := create(t)
	update(t, v, func(tx *Tx) error {
		if err := tx.run("INSERT INTO note (id) VALUES (1)"); err != nil {
			return err
		}
		if err := tx.run("INSERT INTO note (id) VALUES (1)"); err == nil {
			t.Error("the same id twice")
		}
		return add("after")(tx)
	})
	if got := notes(t, v); len(got) != 2 {
		t.Error(got)
	}
}

// A statement that ends the transaction by itself takes all of it along: what f does
// after that is not stored on its own.
func TestTransactionLost(t *testing.T) {
	v := create(t)
	update(t, v, add("first"))
	err := v.Update(func(tx *Tx) error {
		_ = add("second")(tx)
		_ = tx.run("INSERT OR ROLLBACK INTO note (id) VALUES (1)")
		_ = add("third")(tx)
		return nil
	})
	if err == nil {
		t.Error("a transaction that was lost is said to be stored")
	}
	if got := fmt.Sprint(notes(t, v)); got != "[first]" {
		t.Error(got)
	}
}

// Words are found by the full-text index, and not once their row is deleted.
func TestFullText(t *testing.T) {
	v := create(t)
	update(t, v, add("the quick brown fox"))
	find := func() (n int) {
		_ = v.View(func(tx *Tx) error {
			return tx.each("SELECT rowid FROM words WHERE words MATCH ?", func(*row) error { n++; return nil }, "brow*")
		})
		return n
	}
	if find() != 1 {
		t.Error("not found")
	}
	update(t, v, func(tx *Tx) error { return tx.run("DELETE FROM note") })
	if find() != 0 {
		t.Error("still found")
	}
}

// Directory and files are for their owner alone, also when they were not.
func TestPermissions(t *testing.T) {
	v := create(t)
	update(t, v, add("so that there is a log"))
	check := func() {
		t.Helper()
		entries, err := os.ReadDir(v.dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().Perm() != 0o600 {
				t.Errorf("%s is %v", e.Name(), info.Mode())
			}
		}
		info, err := os.Stat(v.dir)
		if err != nil || info.Mode().Perm() != 0o700 {
			t.Error(info.Mode(), err)
		}
	}
	check()
	if err := os.Chmod(v.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	v = reopen(t, v)
	check()
}

// A directory that others use is not closed to them: Create refuses it, unless it is
// empty.
func TestSharedDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "somebody's")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := withNotes.create(dir, testKey(1)); err == nil {
		t.Error("taken")
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o755 {
		t.Error(info.Mode(), err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	v, err := withNotes.create(dir, testKey(1))
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Error(info.Mode(), err)
	}
}

// Keys do not print.
func TestKeysDoNotPrint(t *testing.T) {
	for _, key := range []Key{Passphrase([]byte("AAAA")), Raw([]byte("AAAA"))} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
			if text := fmt.Sprintf(verb, struct{ Key Key }{key}); !strings.Contains(text, "[redacted]") || strings.Contains(text, "65") || strings.Contains(text, "AAAA") {
				t.Error(verb, text)
			}
		}
	}
}

// Calls from many goroutines take turns, with an Export among them.
func TestConcurrent(t *testing.T) {
	v := create(t)
	var running sync.WaitGroup
	for i := range 8 {
		running.Go(func() {
			for n := range 20 {
				if err := v.Update(add(fmt.Sprint(i, n))); err != nil {
					t.Error(err)
				}
				_ = notes(t, v)
			}
			if err := v.Export(io.Discard, testKey(byte(i)), nil); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	if got := len(notes(t, v)); got != 160 {
		t.Error(got)
	}
	if entries, err := os.ReadDir(v.dir); err != nil || len(entries) != 4 { // with the log
		t.Error(entries, err)
	}
}
