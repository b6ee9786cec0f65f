package raftlog

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"golang.org/x/sys/unix"
)

// Tests on real small file systems. They need root and loop devices, and say so
// where they don't have them.

func mount(t *testing.T, args ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting a file system needs root")
	}
	dir := args[len(args)-1]
	must(t, os.MkdirAll(dir, 0o700))
	if out, err := exec.CommandContext(t.Context(), "mount", args...).CombinedOutput(); err != nil {
		t.Skipf("mounting is not allowed here: %v %s", err, out)
	}
}

func unmount(t *testing.T, dir string) {
	t.Helper()
	if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
		t.Errorf("umount %s: %v %s", dir, err, out)
	}
}

// writer stores entries as raft does and knows what was acknowledged.
type writer struct {
	s     *Stores
	first uint64 // not yet deleted, or perhaps deleted
	acked uint64
	term  uint64
	// off is set before the power is cut. What returns after that was never heard
	// of: a machine without power acknowledges nothing.
	off atomic.Bool
}

var errOff = errors.New("the power is off")

// step writes a batch, now and then a term, and now and then deletes the head.
func (w *writer) step(t *testing.T) error {
	size := w.acked*7%8 + 1
	if err := w.s.Log.StoreLogs(entries(t, w.acked+1, w.acked+size, 900)); err != nil {
		return err
	}
	if w.off.Load() {
		return errOff
	}
	w.acked += size
	if w.acked%5 == 0 {
		if err := w.s.Stable.SetUint64([]byte("CurrentTerm"), w.term+1); err != nil {
			return err
		}
		if w.off.Load() {
			return errOff
		}
		w.term++
	}
	if w.acked%11 == 0 && w.acked > 500 {
		upTo := w.acked - 400
		w.first = max(w.first, upTo+1)
		return w.s.Log.DeleteRange(1, upTo)
	}
	return nil
}

// check compares a log with what was acknowledged. Writes that were under way
// may be there or not.
func (w *writer) check(t *testing.T, s *Stores) {
	t.Helper()
	last, err := s.Log.LastIndex()
	must(t, err)
	if last < w.acked {
		t.Errorf("the log ends at %d, entry %d was acknowledged", last, w.acked)
	}
	for index := w.first; index <= last; index++ {
		var log raft.Log
		must(t, s.Log.GetLog(index, &log))
		if checksum(&log) != checksum(entry(t, index, 900)) {
			t.Fatalf("entry %d is not what was written", index)
		}
	}
	if term, err := s.Stable.GetUint64([]byte("CurrentTerm")); err != nil || term < w.term || term > w.term+1 {
		t.Errorf("term %d (%v), want %d or the one that was being written", term, err, w.term)
	}
}

// On a full disk nothing that was acknowledged is lost; boltdb goes on when there
// is room again, a wal stops its node and goes on after a restart.
func TestFullDiskLosesNothing(t *testing.T) {
	eachKind(t, func(t *testing.T, kind Kind) {
		disk := filepath.Join(t.TempDir(), "disk")
		mount(t, "-t", "tmpfs", "-o", "size=6m", "tmpfs", disk)
		defer unmount(t, disk)
		filler := filepath.Join(disk, "filler")
		must(t, os.WriteFile(filler, make([]byte, 2<<20), 0o600))
		small := tuning{compact: standard().compact, segmentSize: 256 << 10}
		o := Options{Dir: filepath.Join(disk, "raft"), Kind: kind}
		var told error
		o.OnFault = func(err error) { told = err }
		s, err := open(o, small)
		must(t, err)
		w := &writer{s: s, first: 1}
		for err == nil {
			size := uint64(4)
			if err = s.Log.StoreLogs(entries(t, w.acked+1, w.acked+size, 900)); err == nil {
				w.acked += size
			}
			if w.acked > 1<<20 {
				t.Fatal("the disk never fills")
			}
		}
		if kind == BoltDB && (!errors.Is(err, syscall.ENOSPC) || told != nil) {
			t.Errorf("full disk: %v, fault %v; want the plain error", err, told)
		}
		if kind == WAL && (!errors.Is(err, ErrDisk) || !errors.Is(told, ErrDisk)) {
			t.Errorf("full disk: %v, fault %v; want ErrDisk", err, told)
		}
		must(t, os.Remove(filler))
		if kind == BoltDB {
			must(t, s.Log.StoreLogs(entries(t, w.acked+1, w.acked+1, 900)))
			w.acked++
		}
		must(t, s.Close())
		s, err = open(o, small)
		must(t, err)
		w.s = s
		must(t, s.Stable.SetUint64([]byte("CurrentTerm"), 0))
		w.check(t, s)
		must(t, s.Log.StoreLogs(entries(t, w.acked+1, w.acked+1, 900)))
		must(t, s.Close())
	})
}

// shutDownIoctl is EXT4_IOC_SHUTDOWN (linux/fs/ext4/ext4.h), which ends an ext4
// file system at once; noLogFlush drops what is only in memory, as a power cut
// does.
const (
	shutDownIoctl = 0x8004587d
	noLogFlush    = 2
)

// disk is an ext4 file system on a file, whose power can be cut.
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
	must(t, os.WriteFile(d.image, nil, 0o600))
	must(t, os.Truncate(d.image, 256<<20))
	if out, err := exec.CommandContext(t.Context(), "mkfs.ext4", "-q", "-F", d.image).CombinedOutput(); err != nil {
		t.Skipf("no mkfs.ext4: %v %s", err, out)
	}
	mount(t, "-o", "loop", d.image, d.dir)
	return d
}

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

// restart mounts the file system again.
func (d *disk) restart(t *testing.T) {
	t.Helper()
	unmount(t, d.dir)
	mount(t, "-o", "loop", d.image, d.dir)
}

// powerCuts is how often each kind is cut: QPQ_POWER_CUTS, 2 without.
func powerCuts(t *testing.T) int {
	t.Helper()
	text := os.Getenv("QPQ_POWER_CUTS")
	if text == "" {
		return 2
	}
	n, err := strconv.Atoi(text)
	must(t, err)
	return n
}

// After a power cut everything acknowledged is there, with either kind, and the
// log opens by itself. The cut also is a disk that fails: the log says so and
// takes nothing more.
func TestPowerCutLosesNothingAcknowledged(t *testing.T) {
	eachKind(t, func(t *testing.T, kind Kind) {
		d := newDisk(t)
		defer func() { unmount(t, d.dir) }()
		var told error
		o := Options{Dir: filepath.Join(d.dir, "raft"), Kind: kind, OnFault: func(err error) { told = err }}
		small := tuning{compact: standard().compact, segmentSize: 128 << 10}
		w := &writer{first: 1}
		for cut := range powerCuts(t) {
			s, err := open(o, small)
			must(t, err)
			if cut == 0 {
				must(t, s.Stable.SetUint64([]byte("CurrentTerm"), 0))
			}
			w.s = s
			w.check(t, s)
			last, err := s.Log.LastIndex()
			must(t, err)
			w.acked = last // what was being written is there for good now
			term, err := s.Stable.GetUint64([]byte("CurrentTerm"))
			must(t, err)
			w.term = term
			told = nil
			w.off.Store(false)
			done := make(chan error)
			time.AfterFunc(time.Duration(100+cut%7*60)*time.Millisecond, func() {
				w.off.Store(true)
				done <- d.cut()
			})
			for err == nil {
				err = w.step(t)
			}
			if err := <-done; err != nil {
				t.Skipf("the file system can't be shut down here: %v", err)
			}
			// A cut within the term's write fails that and not the log.
			if errors.Is(err, ErrDisk) != (told != nil) {
				t.Errorf("after the cut: %v, fault %v", err, told)
			}
			_ = s.closeFiles() // fails: the disk is gone
			d.restart(t)
		}
		s, err := open(o, small)
		must(t, err)
		w.check(t, s)
		t.Logf("%d entries over %d cuts", w.acked, powerCuts(t))
		mustClose(t, s)
	})
}

// The test's own test: without syncs a power cut does lose acknowledged entries.
func TestPowerCutWithoutSyncLoses(t *testing.T) {
	d := newDisk(t)
	defer func() { unmount(t, d.dir) }()
	file := filepath.Join(d.dir, boltFile)
	must(t, makeBolt(file))
	store, err := raftboltdb.New(raftboltdb.Options{Path: file, BoltOptions: boltOptions(), NoSync: true})
	must(t, err)
	acked := uint64(0)
	for start := time.Now(); time.Since(start) < 300*time.Millisecond; acked += 8 {
		must(t, store.StoreLogs(entries(t, acked+1, acked+8, 900)))
	}
	if err := d.cut(); err != nil {
		t.Skipf("the file system can't be shut down here: %v", err)
	}
	_ = store.Close()
	d.restart(t)
	store, err = raftboltdb.New(raftboltdb.Options{Path: file, BoltOptions: boltOptions()})
	if err != nil {
		t.Logf("the file does not even open: %v", err)
		return
	}
	last, err := store.LastIndex()
	must(t, errors.Join(err, store.Close()))
	if last >= acked {
		t.Errorf("all %d entries survived without a sync: the cut cuts nothing", acked)
	}
	t.Logf("%d of %d acknowledged entries survived", last, acked)
}
