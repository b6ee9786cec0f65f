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

// FlipBit changes one bit in the log files of a stopped node, in a byte that is not
// zero: most others belong to nothing. It returns where.
func (n *Node) FlipBit(rng *rand.Rand) (string, error) {
	if n.Engine() != nil {
		return "", fmt.Errorf("node %s runs: stop it before its files are changed", n.id)
	}
	return FlipBit(filepath.Join(n.dir, "raft"), rng)
}

// FlipBit changes one bit in one of the files below a directory, in a byte that is
// not zero, and returns where.
func FlipBit(dir string, rng *rand.Rand) (string, error) {
	var files []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Size() > 4096 {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("look for files to damage: %w", err)
	}
	if len(files) == 0 {
		return "", fmt.Errorf("there is no file to damage in %s", dir)
	}
	file := files[rng.IntN(len(files))]
	raw, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("damage a file: %w", err)
	}
	if raw = bytes.TrimRight(raw, "\x00"); len(raw) == 0 {
		return "", fmt.Errorf("%s is empty", file)
	}
	at := rng.IntN(len(raw))
	for raw[at] == 0 {
		at = (at + 1) % len(raw)
	}
	bit := rng.IntN(8)
	raw[at] ^= 1 << bit
	out, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return "", fmt.Errorf("damage a file: %w", err)
	}
	_, err = out.WriteAt(raw[at:at+1], int64(at))
	return fmt.Sprintf("%s, byte %d, bit %d", file, at, bit), errors.Join(err, out.Close())
}
