package netns

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"sync"

	"github.com/vishvananda/netlink"
	vishnetns "github.com/vishvananda/netns"

	"quicproquo/testcluster"
)

// port is where every node listens.
const port = 4433

// Hosts are the nodes' and the clients' hosts. mu guards inputs.
type Hosts struct {
	hub    space
	hosts  map[string]*host // by the names of testcluster.Faults
	faults *testcluster.Faults
	socket *testcluster.Faults
	report func(error)

	mu     sync.Mutex
	inputs map[string]io.Writer // of the nodes' processes
	told   []byte               // the line that they were told last
}

// host is one of them.
type host struct {
	space   space
	address netip.Addr
	rules   rules
	links   *netlink.Handle
}

// Possible tells why this machine can't have such hosts.
func Possible() error {
	h, err := New([]string{"probe"}, testcluster.NewFaults(0), func(error) {})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotHere, err)
	}
	return h.Close()
}

// New makes a host for each node and one for the clients, where the faults happen. What
// goes wrong with a later change of the faults is reported.
func New(nodes []string, faults *testcluster.Faults, report func(error)) (h *Hosts, err error) {
	h = &Hosts{
		hosts: map[string]*host{}, faults: faults, socket: testcluster.NewFaults(1), report: report, inputs: map[string]io.Writer{},
		told: []byte("[]\n"),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.Close())
		}
	}()
	if h.hub, err = newSpace(); err != nil {
		return nil, err
	}
	hub, err := netlink.NewHandleAt(vishnetns.NsHandle(h.hub.fd()))
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	defer hub.Close()
	bridge := &netlink.Bridge{LinkAttrs: attributes("hub")}
	if err := hub.LinkAdd(bridge); err != nil {
		return nil, fmt.Errorf("make a bridge: %w", err)
	}
	if err := hub.LinkSetUp(bridge); err != nil {
		return nil, fmt.Errorf("set the bridge up: %w", err)
	}
	for i, name := range append([]string{testcluster.Clients}, nodes...) {
		one, err := newHost(hub, bridge, i)
		if one != nil {
			h.hosts[name] = one
		}
		if err != nil {
			return nil, fmt.Errorf("make the host of %s: %w", name, err)
		}
		if name != testcluster.Clients {
			h.socket.Name(one.listens(), name)
		}
	}
	faults.Watch(h.apply)
	return h, nil
}

func attributes(name string) netlink.LinkAttrs {
	a := netlink.NewLinkAttrs()
	a.Name = name
	return a
}

// newHost makes the host with a number and joins it to the bridge. It is not nil if
// there is something to close.
func newHost(hub *netlink.Handle, bridge netlink.Link, number int) (h *host, err error) {
	h = &host{address: netip.AddrFrom4([4]byte{10, 83, 0, byte(number + 1)})}
	if h.space, err = newSpace(); err != nil {
		return nil, err
	}
	if h.links, err = netlink.NewHandleAt(vishnetns.NsHandle(h.space.fd())); err != nil {
		return h, fmt.Errorf("open netlink: %w", err)
	}
	pair := &netlink.Veth{
		LinkAttrs: attributes(fmt.Sprintf("port%d", number)), PeerName: linkName, PeerNamespace: netlink.NsFd(h.space.fd()),
	}
	pair.MasterIndex = bridge.Attrs().Index
	if err := hub.LinkAdd(pair); err != nil {
		return h, fmt.Errorf("make a pair of links: %w", err)
	}
	if err := hub.LinkSetUp(pair); err != nil {
		return h, fmt.Errorf("set a port up: %w", err)
	}
	link, err := h.links.LinkByName(linkName)
	if err != nil {
		return h, fmt.Errorf("find the link: %w", err)
	}
	at := netlink.Addr{IPNet: &net.IPNet{IP: h.address.AsSlice(), Mask: net.CIDRMask(24, 32)}}
	if err := h.links.AddrAdd(link, &at); err != nil {
		return h, fmt.Errorf("give the link its address: %w", err)
	}
	for _, name := range []string{"lo", linkName} {
		if err := h.setUp(name, true); err != nil {
			return h, err
		}
	}
	h.rules, err = newRules(h.space)
	return h, err
}

// linkName is what a host calls its one link.
const linkName = "eth0"

// smallestMTU is what IPv6 asks of every link, in bytes: QUIC's least packet fits.
const smallestMTU = 1280

func (h *host) setUp(name string, up bool) error {
	link, err := h.links.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find link %s: %w", name, err)
	}
	set := h.links.LinkSetDown
	if up {
		set = h.links.LinkSetUp
	}
	if err := set(link); err != nil {
		return fmt.Errorf("set link %s up or down: %w", name, err)
	}
	return nil
}

func (h *host) listens() string { return netip.AddrPortFrom(h.address, port).String() }

// Close forgets the namespaces, whose processes have ended.
func (h *Hosts) Close() error {
	var errs []error
	for _, one := range h.hosts {
		if one.links != nil {
			one.links.Close()
		}
		errs = append(errs, one.space.file.Close())
	}
	if h.hub.file != nil {
		errs = append(errs, h.hub.file.Close())
	}
	return errors.Join(errs...)
}

// Address is a node's HOST:PORT.
func (h *Hosts) Address(node string) (string, error) {
	one, err := h.host(node)
	if err != nil {
		return "", err
	}
	return one.listens(), nil
}

func (h *Hosts) host(name string) (*host, error) {
	if one := h.hosts[name]; one != nil {
		return one, nil
	}
	return nil, fmt.Errorf("%s has no host", name)
}

// Start starts a process on a node's host and tells it by its standard input what its
// socket does to packets: a line of JSON, a list of testcluster.Link, after each change.
func (h *Hosts) Start(node string, process *exec.Cmd, input io.Writer) error {
	one, err := h.host(node)
	if err != nil {
		return err
	}
	if err := one.space.within(process.Start); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.inputs[node] = input
	_, err = input.Write(h.told)
	return err
}

// Socket opens a socket of a client.
func (h *Hosts) Socket() (net.PacketConn, error) {
	one := h.hosts[testcluster.Clients]
	var socket *net.UDPConn
	err := one.space.within(func() (err error) {
		socket, err = net.ListenUDP("udp4", &net.UDPAddr{IP: one.address.AsSlice()})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open a client's socket: %w", err)
	}
	return h.socket.Conn(socket, testcluster.Clients), nil
}

// apply divides what links suffer between the kernels and the sockets.
func (h *Hosts) apply(links []testcluster.Link) {
	kernel := map[string]map[netip.Addr]testcluster.LinkFault{}
	socket := []testcluster.Link{}
	for _, l := range links {
		from, err := h.host(l.From)
		if err != nil {
			h.report(err)
			continue
		}
		if kernel[l.To] == nil {
			kernel[l.To] = map[netip.Addr]testcluster.LinkFault{}
		}
		kernel[l.To][from.address] = l.Fault
		l.Fault.Cut, l.Fault.Loss, l.Fault.Largest = false, 0, 0
		if l.Fault != (testcluster.LinkFault{}) {
			socket = append(socket, l)
		}
	}
	for name, one := range h.hosts {
		if err := one.rules.set(kernel[name], h.faults.Narrowest()); err != nil {
			h.report(fmt.Errorf("host of %s: %w", name, err))
		}
	}
	h.socket.SetLinks(socket)
	var told bytes.Buffer
	if err := json.NewEncoder(&told).Encode(socket); err != nil {
		h.report(fmt.Errorf("tell the nodes of faults: %w", err))
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.told = told.Bytes()
	for _, input := range h.inputs {
		_, _ = input.Write(h.told) // who has ended hears nothing; the next one is told at its start
	}
}

// Unplug takes a node's link down, or up again: whoever sends hears that there is no way.
func (h *Hosts) Unplug(node string, unplugged bool) error {
	one, err := h.host(node)
	if err != nil {
		return err
	}
	return one.setUp(linkName, !unplugged)
}

// Narrow leaves a node's link packets of 1,280 bytes, headers included, and says so to
// whoever sends a longer one; or gives it 1,500 again.
func (h *Hosts) Narrow(node string, narrow bool) error {
	one, err := h.host(node)
	if err != nil {
		return err
	}
	link, err := one.links.LinkByName(linkName)
	if err != nil {
		return fmt.Errorf("find link %s: %w", linkName, err)
	}
	mtu := 1500
	if narrow {
		mtu = smallestMTU
	}
	if err := one.links.LinkSetMTU(link, mtu); err != nil {
		return fmt.Errorf("set the link's MTU: %w", err)
	}
	return nil
}
