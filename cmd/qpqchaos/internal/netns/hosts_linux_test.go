package netns

import (
	"bytes"
	"encoding/json"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"quicproquo/testcluster"
)

// three are hosts of two nodes and the clients, with a socket on each.
type three struct {
	*Hosts
	t       *testing.T
	faults  *testcluster.Faults
	sockets map[string]*net.UDPConn
}

func newThree(t *testing.T) *three {
	t.Helper()
	if err := Possible(); err != nil {
		t.Skip(err)
	}
	faults := testcluster.NewFaults(1)
	hosts, err := New([]string{"n1", "n2"}, faults, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	h := &three{hosts, t, faults, map[string]*net.UDPConn{}}
	for name, one := range hosts.hosts {
		if err := one.space.within(func() (err error) {
			h.sockets[name], err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(one.address, port)))
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for _, socket := range h.sockets {
			_ = socket.Close()
		}
		if err := hosts.Close(); err != nil {
			t.Error(err)
		}
	})
	for from := range h.sockets {
		for to := range h.sockets {
			if from != to {
				h.settle(from, to)
			}
		}
	}
	return h
}

// arrive sends packets of so many bytes and counts those that come. It gives those that
// must come the time that a busy machine may take, and listens 200 ms for more.
func (h *three) arrive(from, to string, packets, size, least int) (came int) {
	h.t.Helper()
	at := h.sockets[to].LocalAddr()
	for range packets {
		if _, err := h.sockets[from].WriteTo(make([]byte, size), at); err != nil {
			h.t.Logf("%s to %s: %v", from, to, err)
		}
	}
	for buf := make([]byte, 2000); ; came++ {
		patience := 200 * time.Millisecond
		if came < least {
			patience = 10 * time.Second
		}
		if err := h.sockets[to].SetReadDeadline(time.Now().Add(patience)); err != nil {
			h.t.Fatal(err)
		}
		if _, err := h.sockets[to].Read(buf); err != nil {
			return came
		}
	}
}

// settle waits until the way is open: the kernel may bring a link up as late as a second
// after it was told, and asks for a neighbour's address first.
func (h *three) settle(from, to string) {
	h.t.Helper()
	for end := time.Now().Add(20 * time.Second); h.arrive(from, to, 1, 100, 0) == 0; {
		if time.Now().After(end) {
			h.t.Fatalf("nothing comes from %s to %s", from, to)
		}
	}
}

// Each fault hits the direction that it is meant for, and nothing else.
func TestKernelFaults(t *testing.T) {
	h := newThree(t)
	const packets = 60
	for _, c := range []struct {
		name     string
		fault    testcluster.LinkFault
		size     int
		min, max int // that come from n1 to n2
	}{
		{"none", testcluster.LinkFault{}, 1200, packets, packets},
		{"cut", testcluster.LinkFault{Cut: true}, 1200, 0, 0},
		{"a half is lost", testcluster.LinkFault{Loss: 0.5}, 100, packets / 6, packets * 5 / 6},
		{"the largest that passes", testcluster.LinkFault{Largest: 1232}, 1232, packets, packets},
		{"one byte more", testcluster.LinkFault{Largest: 1232}, 1233, 0, 0},
		{"the kernel leaves delays to the sockets", testcluster.LinkFault{Delay: time.Hour}, 100, packets, packets},
	} {
		t.Run(c.name, func(t *testing.T) {
			h.faults.Set("n1", "n2", c.fault)
			defer h.faults.Heal()
			if got := h.arrive("n1", "n2", packets, c.size, c.min); got < c.min || got > c.max {
				t.Errorf("%d of %d packets came, want %d to %d", got, packets, c.min, c.max)
			}
			dropped, err := h.hosts["n2"].rules.dropped()
			if err != nil || int(dropped) < packets-c.max || int(dropped) > packets-c.min {
				t.Errorf("the kernel says that it dropped %d (%v), want %d to %d", dropped, err, packets-c.max, packets-c.min)
			}
			for _, free := range [][2]string{{"n2", "n1"}, {testcluster.Clients, "n2"}, {"n1", testcluster.Clients}} {
				if got := h.arrive(free[0], free[1], 5, c.size, 5); got != 5 {
					t.Errorf("%d of 5 packets came from %s to %s, which suffer nothing", got, free[0], free[1])
				}
			}
		})
	}
	if got := h.arrive("n1", "n2", 5, 1200, 5); got != 5 {
		t.Errorf("%d of 5 packets came after all was healed", got)
	}
	h.faults.Narrow(1252)
	h.faults.Heal()
	for _, path := range [][2]string{{"n2", "n1"}, {testcluster.Clients, "n2"}} {
		if fit, not := h.arrive(path[0], path[1], 5, 1252, 5), h.arrive(path[0], path[1], 5, 1253, 0); fit != 5 || not != 0 {
			t.Errorf("%v on narrow paths: %d of 5 packets came that fit, and %d that do not", path, fit, not)
		}
	}
}

// What a node does not send itself is told to its process, at once and at its start; a
// client's socket does it here.
func TestSocketFaults(t *testing.T) {
	h := newThree(t)
	slow := testcluster.LinkFault{Delay: time.Millisecond, Corrupt: 1}
	h.faults.Set("n1", "n2", testcluster.LinkFault{Cut: true, Delay: slow.Delay, Corrupt: 1})
	var told bytes.Buffer
	if err := h.Start("n1", exec.CommandContext(t.Context(), "true"), &told); err != nil {
		t.Fatal(err)
	}
	h.faults.Set(testcluster.Clients, "n1", testcluster.LinkFault{Duplicate: 1})
	h.faults.Set("n1", "n2", testcluster.LinkFault{Cut: true})
	want := [][]testcluster.Link{
		{{From: "n1", To: "n2", Fault: slow}},
		{{From: testcluster.Clients, To: "n1", Fault: testcluster.LinkFault{Duplicate: 1}}, {From: "n1", To: "n2", Fault: slow}},
		{{From: testcluster.Clients, To: "n1", Fault: testcluster.LinkFault{Duplicate: 1}}},
	}
	lines := strings.Split(strings.TrimSpace(told.String()), "\n")
	if len(lines) != len(want) {
		t.Fatalf("n1 was told %q, want %d lines", lines, len(want))
	}
	for i, line := range lines {
		wanted, err := json.Marshal(want[i])
		if err != nil || line != string(wanted) {
			t.Errorf("line %d: %s, want %s (%v)", i, line, wanted, err)
		}
	}
	client, err := h.Socket()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	if _, err := client.WriteTo([]byte("twice"), h.sockets["n1"].LocalAddr()); err != nil {
		t.Fatal(err)
	}
	if got := h.arrive("n2", "n1", 0, 0, 2); got != 2 {
		t.Errorf("%d packets came of one that is doubled", got)
	}
}

// A link without its plug, and one that is too narrow, refuse packets to the sender's
// face.
func TestLinks(t *testing.T) {
	h := newThree(t)
	for _, c := range []struct {
		name     string
		do, undo func() error
		size     int
		want     int // of 3
	}{
		{"unplugged", func() error { return h.Unplug("n1", true) }, func() error { return h.Unplug("n1", false) }, 100, 0},
		{"narrow", func() error { return h.Narrow("n1", true) }, func() error { return h.Narrow("n1", false) }, smallestMTU - headers, 3},
	} {
		if err := c.do(); err != nil {
			t.Fatal(err)
		}
		if got := h.arrive("n1", "n2", 3, c.size, c.want); got != c.want {
			t.Errorf("%s: %d of 3 packets came, want %d", c.name, got, c.want)
		}
		if err := c.undo(); err != nil {
			t.Fatal(err)
		}
		h.settle("n1", "n2")
		if got := h.arrive("n1", "n2", 3, 1400, 3); got != 3 {
			t.Errorf("%s, and undone: %d of 3 packets came", c.name, got)
		}
	}
}
