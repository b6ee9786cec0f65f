package testcluster

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"quicproquo/cluster"
	"quicproquo/cluster/diskguard"
	"quicproquo/cluster/raftlog"
)

// newMemoryDisk is a file system in memory that has a node's directories, durably, as
// datadir makes them on a real one.
func newMemoryDisk(dir string) (*vfs.MemFS, error) {
	fs := vfs.NewCrashableMem()
	for _, part := range []string{"store", "snapshots"} {
		if err := fs.MkdirAll(fs.PathJoin(dir, part), 0o700); err != nil {
			return nil, fmt.Errorf("make a disk in memory: %w", err)
		}
	}
	for at := dir; ; at = fs.PathDir(at) {
		d, err := fs.OpenDir(at)
		if err != nil {
			return nil, fmt.Errorf("make a disk in memory: %w", err)
		}
		if err := errors.Join(d.Sync(), d.Close()); err != nil {
			return nil, fmt.Errorf("make a disk in memory: %w", err)
		}
		if at == fs.PathDir(at) {
			return fs, nil
		}
	}
}

// disk is what can be wrong with a node's disk.
type disk struct{ full, failing atomic.Bool }

func (d *disk) measure(dir string) (diskguard.Usage, error) {
	if d.full.Load() {
		return diskguard.Usage{Total: 100 << 30, Free: 1 << 30}, nil
	}
	return diskguard.Statfs(dir)
}

// wrap is a store's file system whose writes fail while the disk does.
func (d *disk) wrap(inner vfs.FS) vfs.FS {
	return errorfs.Wrap(inner, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if d.failing.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return syscall.EIO
		}
		return nil
	}))
}

// FillDisk makes the node's disk full, or gives it room again.
func (n *Node) FillDisk(full bool) { n.disk.full.Store(full) }

// FailDisk makes every write of the store fail (Options.MemoryStore), or none.
func (n *Node) FailDisk(failing bool) { n.disk.failing.Store(failing) }

// SetClock puts the node's clock off.
func (n *Node) SetClock(by time.Duration) { n.clock.Store(int64(by)) }

// SetTiming changes the node's timers at its next start; the zero Timing gives it the
// cluster's again. Long ones are those of a slow clock.
func (n *Node) SetTiming(t cluster.Timing) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.timing = t
}

// PowerCut stops a node as Kill does, and takes from its store's file system
// (Options.MemoryStore) what was written and not synced: all but a share in per cent,
// block by block, so that what remains may be torn.
func (n *Node) PowerCut(rng *rand.Rand, unsynced int) error {
	n.mu.Lock()
	before := n.storeFS
	n.mu.Unlock()
	if before == nil {
		return fmt.Errorf("cut the power of node %s: its store is not in memory", n.id)
	}
	after := before.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: unsynced, RNG: rng})
	if err := n.Kill(); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.storeFS = after
	return nil
}

// MigrateLog moves a stopped node's log to the other kind of store, and returns which
// that is.
func (n *Node) MigrateLog() (raftlog.Kind, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.engine != nil {
		return "", fmt.Errorf("node %s runs: stop it before its log is moved", n.id)
	}
	kind := n.log
	if kind == "" {
		kind = n.cluster.options.LogStore
	}
	other := raftlog.WAL
	if kind == raftlog.WAL {
		other = raftlog.BoltDB
	}
	if _, err := cluster.MigrateLog(n.dir, other); err != nil {
		return "", err
	}
	n.log = other
	return other, nil
}

// FlipBit changes one bit in the log files of a stopped node.
func (n *Node) FlipBit(rng *rand.Rand) (Flip, error) {
	if n.Engine() != nil {
		return Flip{}, fmt.Errorf("node %s runs: stop it before its files are changed", n.id)
	}
	return FlipBit(filepath.Join(n.dir, "raft"), rng)
}

// Flip is a bit that was changed.
type Flip struct {
	File string
	At   int64 // the byte
	Bit  int
	to   byte // what the byte is now
}

// String says where it is.
func (f Flip) String() string {
	return fmt.Sprintf("%s, byte %d, bit %d", filepath.Base(f.File), f.At, f.Bit)
}

// Undo changes the bit back, if the byte is still there as it was left.
func (f Flip) Undo() error {
	file, err := os.OpenFile(f.File, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // written anew meanwhile
	}
	if err != nil {
		return fmt.Errorf("mend a file: %w", err)
	}
	now := []byte{0}
	if _, err = file.ReadAt(now, f.At); err == nil && now[0] == f.to {
		_, err = file.WriteAt([]byte{f.to ^ 1<<f.Bit}, f.At)
	}
	return errors.Join(err, file.Close())
}

// FlipBit changes one bit in one of the files below a directory, in a byte that is not
// zero: most others belong to nothing.
func FlipBit(dir string, rng *rand.Rand) (f Flip, err error) {
	files, err := largeFiles(dir)
	if err != nil {
		return f, err
	}
	f.File = files[rng.IntN(len(files))]
	raw, err := os.ReadFile(f.File)
	if err != nil {
		return f, fmt.Errorf("damage a file: %w", err)
	}
	if raw = bytes.TrimRight(raw, "\x00"); len(raw) == 0 {
		return f, fmt.Errorf("damage a file: %s is empty", f.File)
	}
	at := rng.IntN(len(raw))
	for raw[at] == 0 {
		at = (at + 1) % len(raw)
	}
	f.At, f.Bit = int64(at), rng.IntN(8)
	f.to = raw[at] ^ 1<<f.Bit
	out, err := os.OpenFile(f.File, os.O_WRONLY, 0)
	if err != nil {
		return f, fmt.Errorf("damage a file: %w", err)
	}
	_, err = out.WriteAt([]byte{f.to}, f.At)
	return f, errors.Join(err, out.Sync(), out.Close())
}

// largeFiles are those below a directory that hold more than a page.
func largeFiles(dir string) (files []string, err error) {
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Size() > 4096 {
			files = append(files, path)
		}
		return err
	})
	if err == nil && len(files) == 0 {
		err = errors.New("there is none")
	}
	if err != nil {
		return nil, fmt.Errorf("look for files to damage in %s: %w", dir, err)
	}
	return files, nil
}
