//go:build !linux

package mesh

import "net"

// coalesce is for Linux only.
func coalesce(conn net.PacketConn) net.PacketConn { return conn }
