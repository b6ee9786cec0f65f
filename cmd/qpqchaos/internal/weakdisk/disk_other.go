//go:build !linux

package weakdisk

import (
	"errors"
	"time"
)

// Disk is a mounted file system: there is none on this system.
type Disk struct{}

var errNotHere = errors.New("disks with slow or failing flushes need Linux")

// Possible tells why this machine can't have such disks.
func Possible() error { return errNotHere }

// Mount fails.
func Mount(string, string) (*Disk, error) { return nil, errNotHere }

// SlowSyncs does nothing.
func (*Disk) SlowSyncs(time.Duration) {}

// FailSyncs does nothing.
func (*Disk) FailSyncs(bool) {}

// FailWrites does nothing.
func (*Disk) FailWrites(bool) {}

// Close does nothing.
func (*Disk) Close() error { return nil }
