//go:build !linux

package netns

import (
	"io"
	"net"
	"os/exec"

	"quicproquo/testcluster"
)

// Hosts are none on this system.
type Hosts struct{}

// Possible tells why.
func Possible() error { return ErrNotHere }

// New fails.
func New([]string, *testcluster.Faults, func(error)) (*Hosts, error) { return nil, ErrNotHere }

// Close does nothing.
func (*Hosts) Close() error { return nil }

// Address fails.
func (*Hosts) Address(string) (string, error) { return "", ErrNotHere }

// Start fails.
func (*Hosts) Start(string, *exec.Cmd, io.Writer) error { return ErrNotHere }

// Socket fails.
func (*Hosts) Socket() (net.PacketConn, error) { return nil, ErrNotHere }

// Unplug fails.
func (*Hosts) Unplug(string, bool) error { return ErrNotHere }

// Narrow fails.
func (*Hosts) Narrow(string, bool) error { return ErrNotHere }
