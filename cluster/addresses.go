package cluster

import (
	"fmt"
	"net"
	"slices"

	"github.com/hashicorp/raft"

	"quicproquo/crypto/tlsid"
)

// Where nodes are. A node says where it is in its configuration; the others hear it by
// gossip, and the leader, who asks the node itself, writes it into raft's configuration,
// which is what clients are told (decision 0130).

// resolve says where a node may be: where gossip has it, which is the latest word; where
// raft's configuration has it; and where this node's own file does, which is all that is
// right when every node has moved at once. A wrong place is harmless: the certificate
// decides who answers.
func (n *Node) resolve(id tlsid.NodeID) (places []string) {
	add := func(address string) {
		if address != "" && !slices.Contains(places, address) {
			places = append(places, address)
		}
	}
	add(n.gossip.address(id))
	if m, ok := n.member(id); ok {
		add(m.Address)
	}
	for _, p := range n.cfg.Peers {
		if p.ID == id {
			add(p.Address)
		}
	}
	return places
}

// followAddresses has raft's configuration say where the members are by their own word.
// It runs on the leader, with what the members have just answered.
func (n *Node) followAddresses(statuses map[tlsid.NodeID]Status) {
	members := n.Members()
	for _, m := range members {
		status, answered := statuses[m.ID]
		if !answered || status.Address == m.Address || !usableAddress(status.Address) {
			continue
		}
		to := status.Address
		if i := slices.IndexFunc(members, func(other Member) bool { return other.ID != m.ID && other.Address == to }); i >= 0 {
			holder := members[i]
			if s, ok := statuses[holder.ID]; !ok || s.Address == to {
				n.log.Warn("two members say that they are at one address: correct the setting address of one", "address", to, "member", m.ID, "other", holder.ID)
				continue
			}
			to = betweenPlaces(m.ID) // they change places: raft wants each address once
		}
		if m.Address == to {
			continue
		}
		err := n.setAddress(m.ID, to)
		n.log.Info("member moved", "member", m.ID, "from", m.Address, "to", to, "error", err)
		if err != nil {
			return // the next round tries again
		}
	}
}

// setAddress adds a member, or changes the address of one: who votes goes on to vote.
func (n *Node) setAddress(id tlsid.NodeID, address string) error {
	return n.raft.AddNonvoter(raft.ServerID(id), raft.ServerAddress(address), 0, memberChangeTimeout).Error()
}

// betweenPlaces stands for the address of a member whose new one is still another's.
func betweenPlaces(id tlsid.NodeID) string { return fmt.Sprintf("%s.moving.invalid:1", id) }

// maxAddressLength bounds what a member says of its address, in bytes: a name and a port.
const maxAddressLength = 253 + len(":65535")

func usableAddress(address string) bool {
	host, port, err := net.SplitHostPort(address)
	return err == nil && host != "" && port != "" && len(address) <= maxAddressLength
}
