package vault

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// faultCase is an operation of the disk that fails, on its n-th occurrence and from
// then on.
type faultCase struct {
	op         operation
	err        error
	carriedOut bool // the disk did it although it said that it did not
}

// A disk that fails, at any write or sync of an Update and of the carrying over that
// follows, makes Update fail and loses nothing that was stored. When the disk works
// again, so does the vault: at once if the disk was full, after the next Open if it
// could not sync.
func TestDiskFailsAnywhere(t *testing.T) {
	for _, c := range []faultCase{
		{opWrite, errDiskFull, false},
		{opWrite, errDiskFull, true},
		{opSync, errNoSync, false},
		{opSync, errNoSync, true},
		{opTruncate, errNoTruncate, false},
	} {
		stride := 1
		if c.op == opWrite {
			stride = 5 // by far the most, and alike
			if testing.Short() {
				stride = 50
			}
		}
		t.Run(fmt.Sprintf("%s carried out %v", c.op, c.carriedOut), func(t *testing.T) {
			for n := 1; ; n += stride {
				more := failOnce(t, c, n, true)
				if !failOnce(t, c, n, false) && !more || t.Failed() {
					t.Logf("%d places", n-1)
					return
				}
			}
		})
	}
}

// failOnce fails from the n-th operation of the kind on and reports whether there are
// so many. The disk works again before the vault is closed, or only after.
func failOnce(t *testing.T, c faultCase, n int, repaired bool) bool {
	t.Helper()
	disk := &failFrom{op: c.op, n: n, err: c.err, carriedOut: c.carriedOut, off: true}
	s := settings{base: newFaultFS(disk.fault), migrations: testSchema}
	v, err := s.create(filepath.Join(t.TempDir(), "vault"), testKey(1))
	if err != nil {
		t.Fatal(err)
	}
	update(t, v, add("before"))
	disk.off = false
	want := []string{"before"}
	for i := range 3 {
		text := fmt.Sprint(i, strings.Repeat("x", 20_000))
		if err := v.Update(add(text)); err == nil {
			want = append(want, text)
		} else if c.op != opTruncate && !errors.Is(err, ErrFull) && !errors.Is(err, ErrFailed) {
			t.Errorf("n = %d: %v", n, err)
		}
		_ = v.Scrub()
	}
	failed := disk.seen >= n
	disk.off = repaired
	err = v.Update(add("after"))
	if err == nil {
		want = append(want, "after")
	} else if repaired && c.op != opSync || repaired && !errors.Is(err, ErrFailed) {
		t.Errorf("n = %d: the disk works again, Update does not: %v", n, err)
	}
	if err == nil {
		if got := notes(t, v); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("n = %d: %d notes, not %d", n, len(got), len(want))
		}
	}
	_ = v.Close()
	v = open(t, v.dir)
	got := notes(t, v)
	// One Update more may be there: the one that the disk stored and did not confirm.
	if len(got) == len(want)+1 && c.op == opSync {
		got = got[:len(want)]
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("n = %d: after reopening %d notes, not %d", n, len(got), len(want))
	}
	if err := v.Check(); err != nil {
		t.Errorf("n = %d: %v", n, err)
	}
	_ = v.Close()
	return failed
}

// On a file system that is really full, Update says so, what was stored stays, and
// with room again the vault goes on.
func TestFileSystemFull(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("mounting is not allowed here: %v %s", err, out)
	}
	defer func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v %s", err, out)
		}
	}()
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 600<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	v, err := withNotes.create(filepath.Join(dir, "vault"), testKey(1))
	if err != nil {
		t.Fatal(err)
	}
	stored := 0
	for err == nil {
		if err = v.Update(add(strings.Repeat("y", 10_000))); err == nil {
			stored++
		}
	}
	if !errors.Is(err, ErrFull) || stored == 0 {
		t.Error(stored, err)
	}
	if err := v.Export(nil, testKey(3), nil); !errors.Is(err, ErrFull) {
		t.Error("export:", err)
	}
	if err := v.Rekey(testKey(2)); err != nil && !errors.Is(err, ErrFull) {
		t.Error("rekey:", err)
	}
	if err := v.Rekey(testKey(1)); err != nil && !errors.Is(err, ErrFull) {
		t.Error("rekey:", err)
	}
	if got := len(notes(t, v)); got != stored {
		t.Error(got, "of", stored)
	}
	// It opens on the full disk too.
	v = reopen(t, v)
	if got := len(notes(t, v)); got != stored {
		t.Error(got, "of", stored)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	update(t, v, add("room again"))
	if got := len(notes(t, v)); got != stored+1 {
		t.Error(got, "of", stored+1)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
}
