package process

import (
	"fmt"
	"net"
)

// FreeAddress returns a UDP address of the loopback at which nobody listens, for a program
// that is told where to: port if that is free, any for 0.
func FreeAddress(port int) (string, error) {
	conn, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		conn, err = net.ListenPacket("udp", "127.0.0.1:0")
	}
	if err != nil {
		return "", fmt.Errorf("find a free UDP port: %w", err)
	}
	return conn.LocalAddr().String(), conn.Close()
}
