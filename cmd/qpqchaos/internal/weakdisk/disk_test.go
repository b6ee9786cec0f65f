//go:build linux

package weakdisk

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// A disk keeps what is written to it, and is as slow and as broken as it is told to be.
func TestDisk(t *testing.T) {
	if err := Possible(); err != nil {
		t.Skip(err)
	}
	backing, at := t.TempDir(), t.TempDir()
	d, err := Mount(backing, at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	f, err := os.Create(filepath.Join(at, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	write := func(text string) error {
		if _, err := f.WriteString(text); err != nil {
			return err
		}
		return f.Sync()
	}
	if err := write("one "); err != nil {
		t.Fatal(err)
	}
	d.SlowSyncs(50 * time.Millisecond)
	began := time.Now()
	if err := write("two "); err != nil || time.Since(began) < 50*time.Millisecond {
		t.Errorf("a slow flush took %v and ended with %v", time.Since(began), err)
	}
	d.SlowSyncs(0)
	d.FailSyncs(true)
	if err := write("three "); !errors.Is(err, syscall.EIO) {
		t.Errorf("a failing flush ended with %v", err)
	}
	d.FailSyncs(false)
	d.FailWrites(true)
	if err := write("four "); !errors.Is(err, syscall.EIO) {
		t.Errorf("a failing write ended with %v", err)
	}
	d.FailWrites(false)
	if err := write("five"); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(filepath.Join(backing, "log")); err != nil || string(got) != "one two three five" {
		t.Errorf("the directory below has %q, %v", got, err)
	}
}
