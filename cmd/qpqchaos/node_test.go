package main

import (
	"log/slog"
	"net"
	"testing"
	"time"

	"quicproquo/cluster"
	"quicproquo/cmd/internal/node"
)

// A node's packets suffer what its standard input says, until it says otherwise.
func TestHarmPackets(t *testing.T) {
	open := func() *net.UDPConn {
		conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	own, peer, client := open(), open(), open()
	var o node.ChildOptions
	harmPackets(&o, slog.New(slog.DiscardHandler))
	socket := o.Socket(own, "n1", []cluster.Peer{
		{ID: "n1", Address: own.LocalAddr().String()}, {ID: "n2", Address: peer.LocalAddr().String()},
	})
	arrive := func(to *net.UDPConn) (came int) {
		if _, err := socket.WriteTo([]byte("packet"), to.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		for buf := make([]byte, 100); ; came++ {
			if err := to.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			if _, err := to.Read(buf); err != nil {
				return came
			}
		}
	}
	for _, c := range []struct {
		line         string
		peer, client int
	}{
		{`[]`, 1, 1},
		{`[{"from":"n1","to":"n2","fault":{"duplicate":1}}]`, 2, 1},
		{`[{"from":"n1","to":"clients","fault":{"duplicate":1,"delay":1000000}},{"from":"n2","to":"n1","fault":{"cut":true}}]`, 1, 2},
		{`no JSON`, 1, 2}, // what was said before holds
		{`[{"from":"n1","to":"n2","fault":{"delay":3600000000000}}]`, 0, 1},
		{`[]`, 1, 1},
	} {
		o.Told([]byte(c.line))
		if got := arrive(peer); got != c.peer {
			t.Errorf("%s: n2 gets %d copies, want %d", c.line, got, c.peer)
		}
		if got := arrive(client); got != c.client {
			t.Errorf("%s: a client gets %d copies, want %d", c.line, got, c.client)
		}
	}
}
