package vault

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// filled is a closed vault with some hundred pages.
func filled(t *testing.T) (dir string, want []string) {
	t.Helper()
	v := create(t)
	for i := range 40 {
		text := fmt.Sprintf("note %d %s", i, strings.Repeat("z", 5000+i))
		update(t, v, add(text))
		if i%3 != 0 {
			want = append(want, text)
		}
	}
	update(t, v, func(tx *Tx) error { return tx.run("DELETE FROM note WHERE (id - 1) % 3 = 0") })
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	return v.dir, want
}

// altered copies a vault and changes one of its files.
func altered(t *testing.T, dir, name string, change func([]byte) []byte) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "vault")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(to, name)
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, change(raw), 0o600); err != nil {
		t.Fatal(err)
	}
	return to
}

// readAll opens a vault, reads all and checks it; the error is the first one.
func readAll(dir string) (texts []string, err error) {
	v, err := withNotes.open(dir, testKey(1))
	if err != nil {
		return nil, err
	}
	defer v.Close()
	err = v.View(func(tx *Tx) error {
		return tx.each("SELECT text FROM note ORDER BY id", func(r *row) error {
			texts = append(texts, r.text(0))
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return texts, v.Check()
}

// One flipped bit in any page is ErrCorrupt or, where the page is not in use, makes
// no difference.
func TestFlippedBit(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine at a time: go test without -short runs it, the race detector has nothing to see")
	}
	dir, want := filled(t)
	raw, err := os.ReadFile(filepath.Join(dir, databaseFile))
	if err != nil {
		t.Fatal(err)
	}
	harmless := 0
	for page := range len(raw) / blockSize {
		at := page*blockSize + rand.IntN(blockSize)
		bit := byte(1) << rand.IntN(8)
		got, err := readAll(altered(t, dir, databaseFile, func(raw []byte) []byte { raw[at] ^= bit; return raw }))
		switch {
		case err == nil && fmt.Sprint(got) == fmt.Sprint(want):
			harmless++
		case !errors.Is(err, ErrCorrupt):
			t.Errorf("page %d, byte %d: %v", page+1, at, err)
		}
	}
	t.Logf("%d pages, %d of them free", len(raw)/blockSize, harmless)
	if harmless > len(raw)/blockSize/2 {
		t.Error("most damage was not found")
	}
}

// Pages that change places, though each is genuine, are found out.
func TestSwappedPages(t *testing.T) {
	dir, _ := filled(t)
	_, err := readAll(altered(t, dir, databaseFile, func(raw []byte) []byte {
		a, b := raw[2*blockSize:3*blockSize], raw[3*blockSize:4*blockSize]
		kept := bytes.Clone(a)
		copy(a, b)
		copy(b, kept)
		return raw
	}))
	if !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
}

// A database that is cut off anywhere, empty, or another file altogether is
// ErrCorrupt.
func TestTruncated(t *testing.T) {
	dir, _ := filled(t)
	for _, keep := range []int{0, 1, 100, blockSize - 1, blockSize, blockSize + 1, 10 * blockSize} {
		_, err := readAll(altered(t, dir, databaseFile, func(raw []byte) []byte { return raw[:keep] }))
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("cut to %d bytes: %v", keep, err)
		}
	}
	_, err := readAll(altered(t, dir, databaseFile, func(raw []byte) []byte {
		return append(raw[:len(raw)-blockSize], make([]byte, blockSize)...)
	}))
	if !errors.Is(err, ErrCorrupt) {
		t.Error("last page zero:", err)
	}
	_, err = readAll(altered(t, dir, databaseFile, func([]byte) []byte { return []byte("SQLite format 3\x00 or so") }))
	if !errors.Is(err, ErrCorrupt) {
		t.Error("another file:", err)
	}
}

// A vault whose key file or database is missing is damaged, not new: neither Open
// nor Create makes anything.
func TestFileMissing(t *testing.T) {
	for _, name := range []string{keyFileName, databaseFile} {
		dir, _ := filled(t)
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if _, err := withNotes.open(dir, testKey(1)); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), name) {
			t.Error(err)
		}
		if _, err := withNotes.create(dir, testKey(1)); !errors.Is(err, ErrExists) {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Join(dir, name)); !notExist(err) {
			t.Error(name, "was made")
		}
	}
}

// A key file that was altered at any byte does not open the vault; what is damage is
// told from a wrong key.
func TestAlteredKeyFile(t *testing.T) {
	dir, _ := filled(t)
	raw, err := os.ReadFile(filepath.Join(dir, keyFileName))
	if err != nil {
		t.Fatal(err)
	}
	for at := range raw {
		_, err := withNotes.open(altered(t, dir, keyFileName, func(raw []byte) []byte { raw[at] ^= 1; return raw }), testKey(1))
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNewer) {
			t.Errorf("byte %d, %q: %v", at, raw[at], err)
		}
	}
	for keep := range raw[:len(raw)-1] {
		if _, err := parseKeyFile(raw[:keep]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("cut to %d bytes: %v", keep, err)
		}
	}
	newer := bytes.Replace(raw, []byte(`"version": 1`), []byte(`"version": 2`), 1)
	if _, err := parseKeyFile(newer); !errors.Is(err, ErrNewer) {
		t.Error(err)
	}
}

// A database under another vault's key is damage, since the key file is intact.
func TestForeignDatabase(t *testing.T) {
	dir, _ := filled(t)
	other, _ := filled(t)
	raw, err := os.ReadFile(filepath.Join(other, databaseFile))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readAll(altered(t, dir, databaseFile, func([]byte) []byte { return raw })); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
}

// One flipped bit in the log that a crash has left is ErrCorrupt, or it costs the
// last transaction, or the last two where both have a part in the block: nobody can
// tell them from one that was not finished.
func TestDamagedLog(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine at a time: go test without -short runs it, the race detector has nothing to see")
	}
	v := create(t)
	const stored = 30
	for i := range stored {
		update(t, v, add(fmt.Sprint(i, strings.Repeat("w", i*400))))
	}
	// As if the process had been killed here.
	raw, err := os.ReadFile(filepath.Join(v.dir, databaseFile+walSuffix))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := readAll(altered(t, v.dir, databaseFile+walSuffix, bytes.Clone)); err != nil || len(got) != stored {
		t.Error("not damaged:", len(got), err)
	}
	found, last := 0, 0
	for block := range len(raw) / blockSize {
		at := block*blockSize + rand.IntN(blockSize)
		got, err := readAll(altered(t, v.dir, databaseFile+walSuffix, func(raw []byte) []byte { raw[at] ^= 16; return raw }))
		switch {
		case errors.Is(err, ErrCorrupt):
			found++
		case err != nil || len(got) < stored-2:
			t.Errorf("block %d: %d notes, %v", block, len(got), err)
		default:
			last++
		}
	}
	t.Logf("%d blocks, %d found, %d of the last transaction", len(raw)/blockSize, found, last)
	if found < last {
		t.Error("most damage was not found")
	}
}
