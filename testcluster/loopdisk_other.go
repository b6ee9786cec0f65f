//go:build !linux

package testcluster

import "errors"

// loopDisk needs Linux.
type loopDisk struct{}

var errLinux = errors.New("disks whose power can be cut need Linux")

// LoopDisks tells why this machine can't have disks whose power can be cut.
func LoopDisks() error { return errLinux }

func newLoopDisk(string) (*loopDisk, error) { return nil, errLinux }
func (*loopDisk) cut() error                { return errLinux }
func (*loopDisk) restore() error            { return errLinux }
func (*loopDisk) fill(bool) error           { return errLinux }
func (*loopDisk) close() error              { return nil }
