package testcluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// loopDisk is an ext4 file system in a file, mounted over a node's directory: its power
// can be cut. What the node has not synced is gone then, as on a disk of its own.
type loopDisk struct {
	image, dir string
	filler     string // a file that leaves no room, while the disk is to be full
}

// loopDiskSize is what an image can hold, in bytes. It is sparse.
const loopDiskSize = 1 << 30

// LoopDisks tells why this machine can't have disks whose power can be cut; nil: it
// can.
func LoopDisks() error {
	if os.Geteuid() != 0 {
		return errors.New("disks in files need root: mount and the ioctl that cuts their power")
	}
	for _, tool := range []string{"mkfs.ext4", "mount", "umount"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("disks in files need %s: %w", tool, err)
		}
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		return fmt.Errorf("disks in files need loop devices: %w", err)
	}
	return nil
}

// newLoopDisk makes an image beside a directory that has files already, and mounts it
// there with the same files in it.
func newLoopDisk(dir string) (*loopDisk, error) {
	d := &loopDisk{image: dir + ".img", dir: dir}
	file, err := os.OpenFile(d.image, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make a disk: %w", err)
	}
	if err := errors.Join(file.Truncate(loopDiskSize), file.Close()); err != nil {
		return nil, fmt.Errorf("make a disk: %w", err)
	}
	if err := tool("mkfs.ext4", "-q", "-F", "-m", "0", d.image); err != nil {
		return nil, err
	}
	origin := dir + ".origin"
	if err := os.Rename(dir, origin); err != nil {
		return nil, fmt.Errorf("make a disk: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make a disk: %w", err)
	}
	if err := d.mount(); err != nil {
		return nil, err
	}
	if err := os.CopyFS(dir, os.DirFS(origin)); err != nil {
		return nil, errors.Join(fmt.Errorf("fill a disk: %w", err), d.unmount())
	}
	unix.Sync()
	return d, private(dir)
}

// private takes everybody else's rights to what is below a directory: os.CopyFS gives
// files the rights that the process usually gives.
func private(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.Name() == "lost+found" {
			return err
		}
		mode := os.FileMode(0o600)
		if entry.IsDir() {
			mode = 0o700
		}
		return os.Chmod(path, mode)
	})
}

func tool(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput() //nolint:noctx // short, and must not be left half done
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

func (d *loopDisk) mount() error   { return tool("mount", "-o", "loop", d.image, d.dir) }
func (d *loopDisk) unmount() error { return tool("umount", d.dir) }

// shutdownIoctl is EXT4_IOC_SHUTDOWN, and withoutFlush EXT4_GOING_FLAGS_NOLOGFLUSH
// (Linux, fs/ext4/ext4.h): nothing is written any more, not even what is in the
// journal's buffers.
const (
	shutdownIoctl = 0x8004587d
	withoutFlush  = 2
)

// cut cuts the power: from here on nothing reaches the disk.
func (d *loopDisk) cut() error {
	root, err := os.Open(d.dir)
	if err != nil {
		return fmt.Errorf("cut the power of %s: %w", d.dir, err)
	}
	err = unix.IoctlSetPointerInt(int(root.Fd()), shutdownIoctl, withoutFlush)
	if err := errors.Join(err, root.Close()); err != nil {
		return fmt.Errorf("cut the power of %s: %w", d.dir, err)
	}
	return nil
}

// restore mounts what a power cut has left; ext4 replays its journal.
func (d *loopDisk) restore() error {
	return errors.Join(d.unmount(), d.mount())
}

// fill leaves a twentieth of the disk, or gives the room back.
func (d *loopDisk) fill(full bool) error {
	d.filler = filepath.Join(d.dir, "filler")
	if !full {
		return os.Remove(d.filler)
	}
	var s unix.Statfs_t
	if err := unix.Statfs(d.dir, &s); err != nil {
		return fmt.Errorf("fill the disk of %s: %w", d.dir, err)
	}
	room := int64(s.Bavail) * s.Bsize
	file, err := os.Create(d.filler)
	if err != nil {
		return fmt.Errorf("fill the disk of %s: %w", d.dir, err)
	}
	err = unix.Fallocate(int(file.Fd()), 0, 0, room-int64(s.Blocks)*s.Bsize/20)
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("fill the disk of %s: %w", d.dir, err)
	}
	return nil
}

func (d *loopDisk) close() error { return d.unmount() }
