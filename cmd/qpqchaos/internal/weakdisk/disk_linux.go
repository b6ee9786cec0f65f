package weakdisk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Disk is a mounted file system. Its methods are safe for concurrent use.
type Disk struct {
	server *fuse.Server

	slow                   atomic.Int64 // nanoseconds that a flush takes longer
	failSyncs, failToWrite atomic.Bool
}

// Possible tells why this machine can't have such disks; nil: it can.
func Possible() error {
	if os.Geteuid() != 0 {
		return errors.New("disks with slow or failing flushes need root, to mount them")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		return fmt.Errorf("disks with slow or failing flushes need FUSE: %w", err)
	}
	return nil
}

// Mount serves what is in a directory at another one, which must exist.
func Mount(backing, at string) (*Disk, error) {
	d := &Disk{}
	root := &fs.LoopbackRoot{Path: backing}
	top := &node{&fs.LoopbackNode{RootData: root}, d}
	root.RootNode = top
	var nothing time.Duration // is remembered: the directory below may be mounted anew
	server, err := fs.Mount(at, top, &fs.Options{
		MountOptions: fuse.MountOptions{DirectMountStrict: true, FsName: "weakdisk", MaxWrite: 1 << 20},
		EntryTimeout: &nothing, AttrTimeout: &nothing, NegativeTimeout: &nothing,
	})
	if err != nil {
		return nil, fmt.Errorf("mount %s at %s: %w", backing, at, err)
	}
	d.server = server
	return d, nil
}

// SlowSyncs makes every flush take so much longer, 0: none.
func (d *Disk) SlowSyncs(by time.Duration) { d.slow.Store(int64(by)) }

// FailSyncs makes every flush fail with EIO, or none.
func (d *Disk) FailSyncs(fail bool) { d.failSyncs.Store(fail) }

// FailWrites makes every write fail with EIO, or none.
func (d *Disk) FailWrites(fail bool) { d.failToWrite.Store(fail) }

// Close unmounts the file system. No file in it may be open.
func (d *Disk) Close() error {
	if err := d.server.Unmount(); err != nil {
		return fmt.Errorf("unmount a weak disk: %w", err)
	}
	return nil
}

func (d *Disk) sync() syscall.Errno {
	time.Sleep(time.Duration(d.slow.Load()))
	if d.failSyncs.Load() {
		return syscall.EIO
	}
	return 0
}

// node is a file or directory. What it opens goes through the disk's faults.
type node struct {
	*fs.LoopbackNode

	disk *Disk
}

var (
	_ fs.NodeOpener      = (*node)(nil)
	_ fs.NodeCreater     = (*node)(nil)
	_ fs.NodeWrapChilder = (*node)(nil)
)

// WrapChild makes what is found in a directory a node of ours.
func (n *node) WrapChild(_ context.Context, child fs.InodeEmbedder) fs.InodeEmbedder {
	if inner, ok := child.(*fs.LoopbackNode); ok {
		return &node{inner, n.disk}
	}
	return child
}

// Open opens a file.
func (n *node) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	handle, out, errno := n.LoopbackNode.Open(ctx, flags)
	return n.disk.wrap(handle), out, errno
}

// Create makes and opens a file.
func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	inode, handle, more, errno := n.LoopbackNode.Create(ctx, name, flags, mode, out)
	return inode, n.disk.wrap(handle), more, errno
}

func (d *Disk) wrap(handle fs.FileHandle) fs.FileHandle {
	if inner, ok := handle.(*fs.LoopbackFile); ok && inner != nil {
		return &file{inner, d}
	}
	return handle
}

// file is an open file.
type file struct {
	*fs.LoopbackFile

	disk *Disk
}

var (
	_ fs.FileWriter          = (*file)(nil)
	_ fs.FileFsyncer         = (*file)(nil)
	_ fs.FilePassthroughFder = (*file)(nil)
)

// PassthroughFd keeps the kernel from going past this file system.
func (f *file) PassthroughFd() (int, bool) { return -1, false }

// Write writes, or fails.
func (f *file) Write(ctx context.Context, data []byte, off int64) (uint32, syscall.Errno) {
	if f.disk.failToWrite.Load() {
		return 0, syscall.EIO
	}
	return f.LoopbackFile.Write(ctx, data, off)
}

// Fsync flushes, slowly, or fails.
func (f *file) Fsync(ctx context.Context, flags uint32) syscall.Errno {
	if errno := f.disk.sync(); errno != 0 {
		return errno
	}
	return f.LoopbackFile.Fsync(ctx, flags)
}
