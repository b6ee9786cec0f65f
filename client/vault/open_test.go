package vault

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zalando/go-keyring"
)

// A vault opens with its passphrase only; the caller's copy of it is overwritten.
func TestPassphrase(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "vault")
	p := []byte("correct horse")
	v, err := withNotes.create(dir, Passphrase(p))
	if err != nil {
		t.Fatal(err)
	}
	if string(p) != strings.Repeat("\x00", len(p)) {
		t.Errorf("the passphrase is still there: %q", p)
	}
	update(t, v, add("mine"))
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	for _, wrong := range []Key{Passphrase([]byte("correct hors")), testKey(1)} {
		_, err := withNotes.open(dir, wrong)
		if !errors.Is(err, ErrWrongKey) || strings.Contains(err.Error(), "hors") {
			t.Error(err)
		}
	}
	if _, err := withNotes.open(dir, Passphrase(nil)); err == nil {
		t.Error("no passphrase opens it")
	}
	if info, err := Inspect(dir); err != nil || info.Kind != "passphrase" {
		t.Error(info, err)
	}
	if v, err = withNotes.open(dir, Passphrase([]byte("correct horse"))); err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if got := fmt.Sprint(notes(t, v)); got != "[mine]" {
		t.Error(got)
	}
}

// The keyring keeps a random secret; vaults share an item; without it, or without a
// keyring, the vault stays closed with a reason.
func TestKeyring(t *testing.T) {
	keyring.MockInit()
	first, second := filepath.Join(t.TempDir(), "1"), filepath.Join(t.TempDir(), "2")
	for _, dir := range []string{first, second} {
		v, err := withNotes.create(dir, Keyring("qpq", "alice"))
		if err != nil {
			t.Fatal(err)
		}
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{first, second} {
		v, err := withNotes.open(dir, Keyring("qpq", "alice"))
		if err != nil {
			t.Fatal(err)
		}
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := Inspect(first); err != nil || info != (Info{Kind: "keyring", Service: "qpq", User: "alice"}) {
		t.Error(info, err)
	}
	if _, err := withNotes.open(first, Keyring("qpq", "bob")); !errors.Is(err, ErrWrongKey) {
		t.Error(err)
	}
	if err := keyring.Set("qpq", "alice", "not a secret of ours"); err != nil {
		t.Fatal(err)
	}
	if _, err := withNotes.open(first, Keyring("qpq", "alice")); !errors.Is(err, ErrKeyring) || strings.Contains(err.Error(), "not a secret of ours") {
		t.Error(err)
	}
	if err := keyring.Delete("qpq", "alice"); err != nil {
		t.Fatal(err)
	}
	if _, err := withNotes.open(first, Keyring("qpq", "alice")); !errors.Is(err, ErrKeyring) {
		t.Error(err)
	}
	for _, name := range []string{"", strings.Repeat("n", maxKeyringName+1), "\xff"} {
		if _, err := withNotes.create(filepath.Join(t.TempDir(), "3"), Keyring("qpq", name)); !errors.Is(err, ErrKeyring) {
			t.Errorf("%q: %v", name, err)
		}
	}
	keyring.MockInitWithError(errors.New("locked"))
	if _, err := withNotes.open(first, Keyring("qpq", "alice")); !errors.Is(err, ErrKeyring) {
		t.Error(err)
	}
}

// After Rekey the new key opens the vault and the old one does not, from a
// passphrase to a keyring as well.
func TestRekey(t *testing.T) {
	keyring.MockInit()
	v := create(t)
	update(t, v, add("kept"))
	if err := v.Rekey(Keyring("qpq", "carol")); err != nil {
		t.Fatal(err)
	}
	update(t, v, add("after"))
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := withNotes.open(v.dir, testKey(1)); !errors.Is(err, ErrWrongKey) {
		t.Error(err)
	}
	v, err := withNotes.open(v.dir, Keyring("qpq", "carol"))
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if got := fmt.Sprint(notes(t, v)); got != "[kept after]" {
		t.Error(got)
	}
}

// Where there is no vault Open says so and leaves nothing, and Create does not
// replace one.
func TestMissingAndExists(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "vault")
	if _, err := withNotes.open(dir, testKey(1)); !errors.Is(err, ErrMissing) {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !notExist(err) {
		t.Error("Open made a directory")
	}
	if _, err := Inspect(dir); !errors.Is(err, ErrMissing) {
		t.Error(err)
	}
	v := create(t)
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := withNotes.create(v.dir, testKey(2)); !errors.Is(err, ErrExists) {
		t.Error(err)
	}
	if err := Import(v.dir, strings.NewReader(""), testKey(2), nil); !errors.Is(err, ErrExists) {
		t.Error(err)
	}
	open(t, v.dir)
}

// A second opener is told which process has the vault, in the same process and in
// another.
func TestBusy(t *testing.T) {
	v := create(t)
	_, err := withNotes.open(v.dir, testKey(1))
	busy, is := errors.AsType[*BusyError](err)
	if !errors.Is(err, ErrBusy) || !is || busy.PID != os.Getpid() {
		t.Error(err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), "flock", filepath.Join(v.dir, lockFile), "-c",
		"echo 4711 > "+filepath.Join(v.dir, lockFile)+"; echo has it; cat")
	in, _ := child.StdinPipe()
	out, _ := child.StdoutPipe()
	if err := child.Start(); err != nil {
		t.Skip("no flock(1)")
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	_, err = withNotes.open(v.dir, testKey(1))
	if busy, is := errors.AsType[*BusyError](err); !is || busy.PID != 4711 || !strings.Contains(err.Error(), "4711") {
		t.Error(err)
	}
	_ = in.Close()
	_, _ = io.Copy(io.Discard, out)
	if err := child.Wait(); err != nil {
		t.Fatal(err)
	}
	open(t, v.dir)
}

// A closed vault does nothing more; closing it twice does no harm.
func TestClosed(t *testing.T) {
	v := create(t)
	key := v.db.key
	for range 2 {
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, b := range key {
		if b != 0 {
			t.Fatal("the data key is still in memory")
		}
	}
	for _, err := range []error{v.View(add("")), v.Update(add("")), v.Rekey(testKey(1)), v.Scrub(), v.Check(), v.Export(io.Discard, testKey(1), nil)} {
		if !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	}
}

// A vault of an older version is brought up to date step by step; one of a newer
// version is left alone. A step that fails changes nothing.
func TestMigrations(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "vault")
	v, err := settings{}.create(dir, testKey(1))
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	bad := settings{migrations: append(testSchema[:len(testSchema):len(testSchema)], "CREATE TABLE half (id INTEGER); CREATE TABLE half (id INTEGER)")}
	if _, err := bad.open(dir, testKey(1)); err == nil {
		t.Error("a migration that fails is ignored")
	}
	v = open(t, dir)
	update(t, v, add("new table"))
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, testKey(1)); !errors.Is(err, ErrNewer) {
		t.Error(err)
	}
	open(t, dir)
}

// In a directory that can't be written nothing is made and the reason is given.
func TestDirectoryNotWritable(t *testing.T) {
	// Root may write everywhere, but not make a directory below a file.
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := withNotes.create(filepath.Join(file, "vault"), testKey(1)); err == nil || errors.Is(err, ErrMissing) {
		t.Error(err)
	}
	if os.Getuid() == 0 {
		t.Skip("root may write everywhere")
	}
	v := create(t)
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(v.dir, 0o500); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.Chmod(v.dir, 0o700) }()
	if _, err := withNotes.create(filepath.Join(v.dir, "vault"), testKey(1)); !errors.Is(err, os.ErrPermission) {
		t.Error(err)
	}
	if _, err := withNotes.open(v.dir, testKey(1)); err == nil || errors.Is(err, ErrCorrupt) {
		t.Error("without room for a log:", err)
	} else {
		t.Log(err)
	}
}

// A profile may lie in a directory with any name that people give to directories.
func TestDirectoryNames(t *testing.T) {
	for _, name := range []string{"with space", "a+b", "100%", "ü?#&=;", "…"} {
		dir := filepath.Join(t.TempDir(), name)
		v, err := Create(dir, Raw(bytes.Repeat([]byte{1}, 32)))
		if err != nil {
			t.Errorf("create in %q: %v", name, err)
			continue
		}
		if err := v.Close(); err != nil {
			t.Error(err)
		}
		if v, err = Open(dir, Raw(bytes.Repeat([]byte{1}, 32))); err != nil {
			t.Errorf("open in %q: %v", name, err)
			continue
		}
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	}
}
