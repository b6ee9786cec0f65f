package raftlog

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// In a closed log any byte of any file may change: opening and reading it gives an
// error that names the file and what to do, or what was stored; never something
// else, never a panic.
func TestFlippedBytesAreNeverSilent(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine at a time: go test without -short runs it, the race detector has nothing to see")
	}
	eachKind(t, func(t *testing.T, kind Kind) {
		dir := t.TempDir()
		fill(t, dir, kind, 60, 200)
		want := expected(t, 1, 60, 200)
		const step = 101
		noticed, harmless := 0, 0
		for _, file := range files(t, dir) {
			whole, err := os.ReadFile(file)
			must(t, err)
			end := len(whole)
			if strings.HasSuffix(file, ".wal") {
				end = len(bytes.TrimRight(whole, "\x00")) + 64 // then zeros to 64 MiB
			}
			for at := 0; at < end; at += step {
				damaged := copyTree(t, dir)
				spoiled := bytes.Clone(whole[:min(end+4096, len(whole))])
				spoiled[at] ^= []byte{0x01, 0x80, 0xFF}[at%3]
				name, err := filepath.Rel(dir, file)
				must(t, err)
				must(t, os.WriteFile(filepath.Join(damaged, name), spoiled, 0o600))
				if checkDamaged(t, damaged, kind, want, name, at) {
					noticed++
				} else {
					harmless++
				}
				must(t, os.RemoveAll(damaged))
			}
		}
		t.Logf("%d flips noticed, %d without effect", noticed, harmless)
		if noticed < 30 {
			t.Errorf("only %d flips were noticed: the test does not do what it says", noticed)
		}
	})
}

// The same for files that were cut off.
func TestCutFilesAreNeverSilent(t *testing.T) {
	eachKind(t, func(t *testing.T, kind Kind) {
		dir := t.TempDir()
		fill(t, dir, kind, 60, 200)
		want := expected(t, 1, 60, 200)
		for _, file := range files(t, dir) {
			whole, err := os.ReadFile(file)
			must(t, err)
			end := len(bytes.TrimRight(whole, "\x00"))
			for cut := range 12 {
				damaged := copyTree(t, dir)
				name, err := filepath.Rel(dir, file)
				must(t, err)
				length := end * cut / 12
				must(t, os.WriteFile(filepath.Join(damaged, name), whole[:length], 0o600))
				checkDamaged(t, damaged, kind, want, name, length)
				must(t, os.RemoveAll(damaged))
			}
		}
	})
}

// checkDamaged opens and reads; true if the damage was noticed.
func checkDamaged(t *testing.T, dir string, kind Kind, want contents, file string, at int) bool {
	t.Helper()
	s, err := Open(Options{Dir: dir, Kind: kind})
	if err == nil {
		defer func() { _ = s.closeFiles() }()
		var got contents
		if got, err = read(s); err == nil {
			if d := diff(want, got); d != "" {
				t.Fatalf("%s at %d: silently different: want - got +\n%s", file, at, d)
			}
			return false
		}
	}
	if !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "--join") {
		t.Errorf("%s at %d: %q names no file or not what to do", file, at, err)
	}
	return true
}

func files(t *testing.T, dir string) (files []string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			files = append(files, path)
		}
		return err
	}))
	return files
}

// copyTree copies a log, segments without the zeros at their end: the library
// reads past the end of a file as it reads zeros.
func copyTree(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	for _, file := range files(t, dir) {
		name, err := filepath.Rel(dir, file)
		must(t, err)
		raw, err := os.ReadFile(file)
		must(t, err)
		if strings.HasSuffix(name, ".wal") {
			raw = append(bytes.TrimRight(raw, "\x00"), make([]byte, 4096)...)
		}
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(to, name)), 0o700))
		must(t, os.WriteFile(filepath.Join(to, name), raw, 0o600))
	}
	return to
}
