// Package datadir is one node's directory: its lock, its format and where things
// lie in it.
//
// It must never let two processes work in one directory, and never touch one
// whose format it does not know.
package datadir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// FormatVersion is what this build writes and reads.
const FormatVersion = 1

const (
	lockFile   = "lock"
	formatFile = "format"
	formatName = "qpqd-data"
	memberFile = "member"
	ownerFile  = "owner"
	peersFile  = "peers"
)

// memberText is what an operator reads who looks into the file.
const memberText = `A node that lies here has been a member of its cluster. Without its raft, store and
snapshots directories it has forgotten what it acknowledged and for whom it voted, and
comes back by qpqd run --join only.
`

// Dir is a locked directory.
type Dir struct {
	path string
	lock *os.File
	// fs is the operating system's; in tests of power cuts one that forgets what was
	// not synced.
	fs vfs.FS
}

// Errors that callers tell apart.
var (
	ErrLocked = errors.New("another process has this data directory")
	ErrFormat = errors.New("unknown format of data directory")
	ErrOwner  = errors.New("the data directory is another node's")
)

// Open locks a directory, which is made if it does not exist, and checks its
// format.
func Open(path string) (*Dir, error) {
	d := &Dir{path: path, fs: vfs.Default}
	if err := d.create(); err != nil {
		return nil, fmt.Errorf("make data directory: %w; choose another with --dir or correct its owner", err)
	}
	if err := d.takeLock(); err != nil {
		return nil, err
	}
	if err := errors.Join(d.prepare(), closeToOthers(path)); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// closeToOthers takes the access of everybody but the owner away, from all files and
// directories: earlier versions have made the store's readable for all.
func closeToOthers(path string) error {
	err := filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil || !info.Mode().IsRegular() && !info.IsDir() || info.Mode().Perm()&0o077 == 0 {
			return err
		}
		return os.Chmod(name, info.Mode().Perm()&^0o077)
	})
	if err != nil {
		return fmt.Errorf("close data directory %s to other users: %w; its files must belong to this process's user", path, err)
	}
	return nil
}

// create makes the directory and those above it, where they are missing, with durable
// names: a power cut must not take with them what the node has acknowledged since.
func (d *Dir) create() error {
	var made []string
	for dir := d.path; ; dir = filepath.Dir(dir) {
		_, err := d.fs.Stat(dir)
		if err == nil || dir == filepath.Dir(dir) {
			break
		}
		made = append(made, dir)
	}
	if err := d.fs.MkdirAll(d.path, 0o700); err != nil {
		return err
	}
	for _, dir := range made {
		if err := d.sync(filepath.Dir(dir)); err != nil {
			return err
		}
	}
	return nil
}

func (d *Dir) takeLock() error {
	lock, err := os.OpenFile(filepath.Join(d.path, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("open data directory %s: %w; the process must be able to read and write it", d.path, err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := os.ReadFile(lock.Name())
		return errors.Join(fmt.Errorf("%w: %s, process %s; stop that one or choose another --dir",
			ErrLocked, d.path, strings.TrimSpace(string(holder))), lock.Close())
	}
	if err := errors.Join(lock.Truncate(0), writeAt(lock, strconv.Itoa(os.Getpid())+"\n")); err != nil {
		return errors.Join(fmt.Errorf("lock data directory %s: %w", d.path, err), lock.Close())
	}
	d.lock = lock
	return nil
}

func writeAt(f *os.File, text string) error {
	_, err := f.WriteAt([]byte(text), 0)
	return err
}

// prepare checks or writes the format and makes the parts.
func (d *Dir) prepare() error {
	if err := d.checkFormat(); err != nil {
		return err
	}
	for _, part := range []string{d.Raft(), d.Store(), d.Snapshots(), d.Keys()} {
		if err := d.fs.MkdirAll(part, 0o700); err != nil {
			return fmt.Errorf("make data directory: %w", err)
		}
	}
	return d.sync(d.path)
}

func (d *Dir) checkFormat() error {
	file := filepath.Join(d.path, formatFile)
	raw, err := d.read(file)
	if errors.Is(err, fs.ErrNotExist) {
		return d.writeFormat(file)
	}
	if err != nil {
		return fmt.Errorf("read format: %w", err)
	}
	name, number, _ := strings.Cut(strings.TrimSpace(string(raw)), " ")
	version, err := strconv.Atoi(number)
	if name != formatName || err != nil {
		return fmt.Errorf("%w: %s does not say %q; is this a node's directory?", ErrFormat, file, formatName)
	}
	if version > FormatVersion {
		return fmt.Errorf("%w: %s has version %d, this qpqd knows up to %d: install the newer qpqd",
			ErrFormat, d.path, version, FormatVersion)
	}
	return nil
}

func (d *Dir) writeFormat(file string) error {
	if err := d.writeWhole(file, fmt.Sprintf("%s %d\n", formatName, FormatVersion)); err != nil {
		return fmt.Errorf("write format: %w", err)
	}
	return nil
}

// maxFile bounds what is read of one of these files, in bytes.
const maxFile = 1 << 20

func (d *Dir) read(file string) ([]byte, error) {
	f, err := d.fs.Open(file)
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxFile))
	return raw, errors.Join(err, f.Close())
}

// writeWhole writes a file that a crash leaves whole or as it was before, and its name.
func (d *Dir) writeWhole(file, text string) error {
	temp := file + ".tmp"
	f, err := d.fs.Create(temp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := d.fs.Rename(temp, file); err != nil {
		return err
	}
	return d.sync(d.path)
}

// sync makes the names in a directory durable.
func (d *Dir) sync(path string) error {
	dir, err := d.fs.OpenDir(path)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("sync directory %s: %w", path, err)
	}
	return nil
}

// Own makes the directory that of a node, named with its cluster, or checks that it is.
// A node that went on where another has voted would vote twice; what it has of another
// cluster's log is no prefix of its own. Directories of before have no owner yet.
func (d *Dir) Own(node string) error {
	file := filepath.Join(d.path, ownerFile)
	raw, err := d.read(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := d.writeWhole(file, node+"\n"); err != nil {
			return fmt.Errorf("note the owner: %w", err)
		}
		return nil
	case err != nil:
		return fmt.Errorf("read the owner: %w", err)
	case strings.TrimSpace(string(raw)) != node:
		return fmt.Errorf("%w: %s is of %s, and this node is %s; put each node's directory back to its node, or choose an empty one with --dir",
			ErrOwner, d.path, strings.TrimSpace(string(raw)), node)
	}
	return nil
}

// WasMember tells whether a node that lies here has ever been a member of a cluster,
// though everything else may have been taken from it.
func (d *Dir) WasMember() (bool, error) {
	_, err := d.fs.Stat(d.MemberFile())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for membership: %w", err)
	}
	return true, nil
}

// NoteMember makes WasMember true for good.
func (d *Dir) NoteMember() error {
	if was, err := d.WasMember(); was || err != nil {
		return err
	}
	if err := d.writeWhole(d.MemberFile(), memberText); err != nil {
		return fmt.Errorf("note membership: %w", err)
	}
	return nil
}

// Peers returns what WritePeers has written last; nothing before that.
func (d *Dir) Peers() ([]byte, error) {
	data, err := d.read(filepath.Join(d.path, peersFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// WritePeers keeps what this node remembers of the others, whole or as it was before.
func (d *Dir) WritePeers(data []byte) error {
	return d.writeWhole(filepath.Join(d.path, peersFile), string(data))
}

// MemberFile is what WasMember looks for.
func (d *Dir) MemberFile() string { return filepath.Join(d.path, memberFile) }

// Path is the directory itself.
func (d *Dir) Path() string { return d.path }

// Raft holds the raft log and its stable store.
func (d *Dir) Raft() string { return filepath.Join(d.path, "raft") }

// Store holds the state machine.
func (d *Dir) Store() string { return filepath.Join(d.path, "store") }

// Snapshots holds checkpoints of the store.
func (d *Dir) Snapshots() string { return filepath.Join(d.path, "snapshots") }

// Keys holds keys that must survive a restart.
func (d *Dir) Keys() string { return filepath.Join(d.path, "keys") }

// Close gives the lock back.
func (d *Dir) Close() error {
	if d.lock == nil {
		return nil
	}
	err := d.lock.Close()
	d.lock = nil
	return err
}
