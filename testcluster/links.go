package testcluster

import (
	"cmp"
	"maps"
	"net"
	"slices"
)

// Link is one direction of a link, by the names of its ends, and what it suffers.
type Link struct {
	From  string    `json:"from"`
	To    string    `json:"to"`
	Fault LinkFault `json:"fault"`
}

// Links returns the links that suffer something, in the order of their names.
func (f *Faults) Links() []Link {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]Link, 0, len(f.links))
	for _, l := range slices.SortedFunc(maps.Keys(f.links), func(a, b link) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to))
	}) {
		list = append(list, Link{l.from, l.to, f.links[l]})
	}
	return list
}

// SetLinks gives links their faults and heals all others.
func (f *Faults) SetLinks(list []Link) {
	f.mu.Lock()
	clear(f.links)
	for _, l := range list {
		f.links[link{l.From, l.To}] = l.Fault
	}
	f.mu.Unlock()
	f.tell()
}

// Watch has told called with the links after each change, one call at a time, before the
// change returns. It must come before the first change.
func (f *Faults) Watch(told func([]Link)) { f.told = told }

func (f *Faults) tell() {
	if f.told == nil {
		return
	}
	f.telling.Lock()
	defer f.telling.Unlock()
	f.told(f.Links())
}

// Conn is a node's socket with the faults of what the node sends. Who has no name is one
// of Clients.
func (f *Faults) Conn(socket *net.UDPConn, node string) net.PacketConn {
	return &faultyConn{PacketConn: socket, udp: socket, faults: f, node: node}
}
