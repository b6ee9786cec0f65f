package vault

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Tests on a file system whose power can be cut. They need root and loop devices,
// and say so where they don't have them.

// disk is an ext4 file system on a file.
type disk struct{ image, dir string }

func newDisk(t *testing.T) *disk {
	t.Helper()
	if testing.Short() {
		t.Skip("makes a file system; not in the short suite")
	}
	if os.Geteuid() != 0 {
		t.Skip("making a file system needs root")
	}
	root := t.TempDir()
	d := &disk{filepath.Join(root, "image"), filepath.Join(root, "disk")}
	if err := errors.Join(os.WriteFile(d.image, nil, 0o600), os.Truncate(d.image, 128<<20), os.Mkdir(d.dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "mkfs.ext4", "-q", "-F", d.image).CombinedOutput(); err != nil {
		t.Skipf("no mkfs.ext4: %v %s", err, out)
	}
	d.mount(t)
	t.Cleanup(func() { d.unmount(t) })
	return d
}

func (d *disk) mount(t *testing.T) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "mount", "-o", "loop", d.image, d.dir).CombinedOutput(); err != nil {
		t.Skipf("mounting is not allowed here: %v %s", err, out)
	}
}

func (d *disk) unmount(t *testing.T) {
	t.Helper()
	if out, err := exec.Command("umount", d.dir).CombinedOutput(); err != nil {
		t.Errorf("umount %s: %v %s", d.dir, err, out)
	}
}

// EXT4_IOC_SHUTDOWN (linux/fs/ext4/ext4.h) ends an ext4 file system at once;
// noLogFlush drops what is only in memory, as a power cut does.
const (
	shutDownIoctl = 0x8004587d
	noLogFlush    = 2
)

// cut cuts the power.
func (d *disk) cut() error {
	dir, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	flags := uint32(noLogFlush)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), shutDownIoctl, uintptr(unsafe.Pointer(&flags)))
	if err := dir.Close(); err != nil || errno == 0 {
		return err
	}
	return errno
}

// cutWhile makes a vault or opens it and counts up in it, one Update each, until
// the power is cut; every 40th time it scrubs. It returns the last count that was
// acknowledged before, 0 for none.
func (d *disk) cutWhile(t *testing.T, s settings, after time.Duration) (acked int) {
	t.Helper()
	done := make(chan error, 1)
	var cutAt time.Time
	timer := time.AfterFunc(after, func() {
		cutAt = time.Now()
		done <- d.cut()
	})
	defer timer.Stop()
	dir := filepath.Join(d.dir, "profile", "vault")
	v, err := s.open(dir, testKey(1))
	if errors.Is(err, ErrMissing) {
		v, err = s.create(dir, testKey(1))
	}
	type ack struct {
		n  int
		at time.Time
	}
	var acks []ack
	if err == nil {
		for n := counter(t, v) + 1; err == nil; n++ {
			if err = v.Update(count(n)); err == nil {
				acks = append(acks, ack{n, time.Now()})
			}
			if n%40 == 0 && err == nil {
				err = v.Scrub()
			}
		}
		_ = v.Close() // fails: the disk is gone
	}
	if err := <-done; err != nil {
		t.Skipf("the file system can't be shut down here: %v", err)
	}
	for _, a := range acks {
		if a.at.Before(cutAt) { // a machine without power acknowledges nothing
			acked = a.n
		}
	}
	d.unmount(t)
	d.mount(t)
	return acked
}

func count(n int) func(*Tx) error {
	return func(tx *Tx) error {
		err := add(fmt.Sprint("count ", n, strings.Repeat("p", n%7*3000)))(tx)
		return errors.Join(err, tx.run("INSERT OR REPLACE INTO meta (name, value) VALUES ('count', ?)", n),
			tx.run("DELETE FROM note WHERE id < ?", n-20))
	}
}

func counter(t *testing.T, v *Vault) (n int) {
	t.Helper()
	err := v.View(func(tx *Tx) error {
		_, err := tx.one("SELECT value FROM meta WHERE name = 'count'", func(r *row) { n = int(r.int64(0)) })
		return err
	})
	if err != nil && !errors.Is(err, ErrFailed) {
		t.Log("count:", err) // the power may be off already
	}
	return n
}

// powerCuts is how often the power is cut: QPQ_POWER_CUTS, 4 without.
func powerCuts(t *testing.T) int {
	t.Helper()
	text := os.Getenv("QPQ_POWER_CUTS")
	if text == "" {
		return 4
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// After a power cut at any time, Create included, all that Update acknowledged is
// there, at most one Update more, and the vault opens by itself.
func TestPowerCut(t *testing.T) {
	d := newDisk(t)
	dir := filepath.Join(d.dir, "profile", "vault")
	acked := 0
	for i := range powerCuts(t) {
		now := d.cutWhile(t, withNotes, time.Duration(rand.IntN(300))*time.Millisecond)
		v, err := withNotes.open(dir, testKey(1))
		if errors.Is(err, ErrMissing) && acked == 0 && now == 0 {
			continue // before the vault was made
		}
		if err != nil {
			t.Fatalf("cut %d: %v", i, err)
		}
		acked = max(acked, now)
		got := counter(t, v)
		if got < acked || now > 0 && got > now+1 {
			t.Errorf("cut %d: %d was acknowledged, %d is there", i, acked, got)
		}
		if err := errors.Join(v.Check(), v.Close()); err != nil {
			t.Errorf("cut %d: %v", i, err)
		}
		acked = got
	}
	t.Logf("%d Updates over %d cuts", acked, powerCuts(t))
}

// The test's own test: where the disk only claims to sync, a power cut does lose
// what was acknowledged.
func TestPowerCutWithoutSyncLoses(t *testing.T) {
	d := newDisk(t)
	lazy := withNotes
	lazy.base = newFaultFS(func(op operation, _ string) (error, bool) {
		if op == opSync {
			return errSkipped, false
		}
		return nil, false
	})
	v, err := lazy.create(filepath.Join(d.dir, "profile", "vault"), testKey(1))
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	acked := d.cutWhile(t, lazy, 300*time.Millisecond)
	v, err = withNotes.open(filepath.Join(d.dir, "profile", "vault"), testKey(1))
	if err != nil {
		t.Logf("the vault does not even open: %v", err)
		return
	}
	defer v.Close()
	got := counter(t, v)
	if got >= acked {
		t.Errorf("all %d Updates survived without a sync: the cut cuts nothing", acked)
	}
	t.Logf("%d of %d acknowledged Updates survived", got, acked)
}
