package testcluster

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/hashicorp/raft"

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

// measure says half free, whatever the machine's own disk has left: tests must not turn
// read-only with it. Processes measure the real one.
func (d *disk) measure(string) (diskguard.Usage, error) {
	if d.full.Load() {
		return diskguard.Usage{Total: 100 << 30, Free: 1 << 30}, nil
	}
	return diskguard.Usage{Total: 100 << 30, Free: 50 << 30}, nil
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
	kind := cmp.Or(n.log, n.cluster.options.LogStore)
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

// FlipEntry changes one bit in one of the newest entries in the log of a stopped node.
func (n *Node) FlipEntry(rng *rand.Rand) (Flips, error) {
	if n.Engine() != nil {
		return nil, fmt.Errorf("node %s runs: stop it before its files are changed", n.id)
	}
	n.mu.Lock()
	kind := cmp.Or(n.log, n.cluster.options.LogStore)
	n.mu.Unlock()
	return FlipEntry(filepath.Join(n.dir, "raft"), kind, rng)
}

// Flip is a bit that was changed.
type Flip struct {
	File string
	At   int64 // the byte
	Bit  int
	to   byte // what the byte is now
}

// Flips are the copies of one bit.
type Flips []Flip

// Undo changes the bits back.
func (list Flips) Undo() error {
	var errs []error
	for _, f := range list {
		errs = append(errs, f.Undo())
	}
	return errors.Join(errs...)
}

// String says where they are.
func (list Flips) String() string {
	texts := make([]string, len(list))
	for i, f := range list {
		texts[i] = f.String()
	}
	return strings.Join(texts, " and ")
}

// rottenAmong is among how many of the newest entries FlipEntry chooses.
const rottenAmong = 64

// FlipEntry changes one bit of one of the newest commands in a log, wherever a copy of
// it lies in the directory's files: a bolt file may hold old ones. Nobody may have the
// log open. The empty kind is boltdb.
func FlipEntry(dir string, kind raftlog.Kind, rng *rand.Rand) (Flips, error) {
	entry, err := newCommand(dir, kind, rng)
	if err != nil {
		return nil, fmt.Errorf("choose an entry to damage: %w", err)
	}
	files, err := largeFiles(dir)
	if err != nil {
		return nil, err
	}
	at, bit := rng.IntN(len(entry)), rng.IntN(8)
	var list Flips
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return list, fmt.Errorf("damage a file: %w", err)
		}
		for from := 0; ; {
			i := bytes.Index(raw[from:], entry)
			if i < 0 {
				break
			}
			f := Flip{File: file, At: int64(from + i + at), Bit: bit, to: entry[at] ^ 1<<bit}
			if err := f.write(); err != nil {
				return list, err
			}
			list = append(list, f)
			from += i + len(entry)
		}
	}
	if len(list) == 0 {
		return nil, errors.New("damage an entry: it is in no file")
	}
	return list, nil
}

// newCommand reads one of the newest commands of a log.
func newCommand(dir string, kind raftlog.Kind, rng *rand.Rand) ([]byte, error) {
	stores, err := raftlog.Open(raftlog.Options{Dir: dir, Kind: cmp.Or(kind, raftlog.BoltDB)})
	if err != nil {
		return nil, err
	}
	last, err := stores.Log.LastIndex()
	var found [][]byte
	for index := last; err == nil && index > 0 && index+rottenAmong > last; index-- {
		var entry raft.Log
		err = stores.Log.GetLog(index, &entry)
		if errors.Is(err, raft.ErrLogNotFound) {
			err = nil
			break
		}
		if entry.Type == raft.LogCommand && len(entry.Data) > 0 {
			found = append(found, entry.Data)
		}
	}
	if err == nil && len(found) == 0 {
		err = errors.New("there is none among the newest")
	}
	if err := errors.Join(err, stores.Close()); err != nil {
		return nil, err
	}
	return found[rng.IntN(len(found))], nil
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

// FlipBit changes one bit in one of the files below some directories, in a byte that is
// not zero: most others belong to nothing.
func FlipBit(rng *rand.Rand, dirs ...string) (f Flip, err error) {
	var files []string
	for _, dir := range dirs {
		more, err := largeFiles(dir)
		if err != nil {
			return f, err
		}
		files = append(files, more...)
	}
	if len(files) == 0 {
		return f, errors.New("damage a file: there is none")
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
	return f, f.write()
}

// write changes the bit.
func (f Flip) write() error {
	out, err := os.OpenFile(f.File, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("damage a file: %w", err)
	}
	_, err = out.WriteAt([]byte{f.to}, f.At)
	return errors.Join(err, out.Sync(), out.Close())
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
	if err != nil {
		return nil, fmt.Errorf("look for files to damage in %s: %w", dir, err)
	}
	return files, nil
}
