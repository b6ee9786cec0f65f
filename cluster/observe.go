package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"

	"quicproquo/cluster/mesh"
	"quicproquo/crypto/tlsid"
)

// Observation is what an operator's command sees of one member.
type Observation struct {
	Member // Address is where it says that it is, if it answered
	// Configured is its address in raft's configuration, "" where nobody named it.
	Configured string
	// Status is nil when the member did not answer; Err says why.
	Status *Status
	Err    error
}

// Observe asks every member for its status, from outside a node, with the
// certificate of one. It starts from peers and adds the members that those
// name, and where they say that others are. conn is an unused packet connection; Observe closes it.
func Observe(ctx context.Context, conn net.PacketConn, identity *tlsid.Identity, peers []Peer, logger *slog.Logger) ([]Observation, error) {
	o, err := openOutside(conn, identity, peers, logger)
	if err != nil {
		return nil, err
	}
	defer o.close(ctx)
	return o.observe(ctx), nil
}

// Followed returns the node that more than half of a cluster of size members say they
// follow, "" for none.
func Followed(seen []Observation, size int) tlsid.NodeID {
	followers := map[tlsid.NodeID]int{}
	for _, o := range seen {
		if o.Status != nil && o.Status.Leader != "" {
			followers[o.Status.Leader]++
			if followers[o.Status.Leader] > size/2 {
				return o.Status.Leader
			}
		}
	}
	return ""
}

// outside is where an operator's command stands: it has a node's certificate, and is none.
type outside struct {
	conn      net.PacketConn
	endpoint  *mesh.Endpoint
	streams   *peerStreams
	peers     []Peer
	addresses *addressBook
	log       *slog.Logger
}

func openOutside(conn net.PacketConn, identity *tlsid.Identity, peers []Peer, logger *slog.Logger) (*outside, error) {
	o := &outside{conn: conn, peers: peers, addresses: &addressBook{}, log: logger}
	for _, p := range peers {
		o.addresses.add(p.ID, p.Address)
	}
	keys, err := mesh.NewKeys()
	if err != nil {
		return nil, err
	}
	o.endpoint, err = mesh.Open(mesh.Options{
		Conn: conn, Identity: identity, Keys: keys, Logger: logger,
		Member:  func(tlsid.NodeID) bool { return true },
		Resolve: o.addresses.find,
	})
	if err != nil {
		return nil, fmt.Errorf("open network: %w", err)
	}
	o.streams = newPeerStreams(o.endpoint)
	return o, nil
}

func (o *outside) close(ctx context.Context) {
	o.streams.close()
	if err := o.endpoint.Close(ctx); err != nil {
		o.log.Debug("close network", "error", err)
	}
	_ = o.conn.Close()
}

// observe asks whom it knows, and whom those name.
func (o *outside) observe(ctx context.Context) []Observation {
	seen := map[tlsid.NodeID]*Observation{}
	var order []tlsid.NodeID
	ask := make([]Member, 0, len(o.peers))
	for _, p := range o.peers {
		ask = append(ask, Member{ID: p.ID, Address: p.Address, Voter: true})
	}
	for len(ask) > 0 {
		found := observeAll(ctx, o.streams, ask)
		ask = nil
		for _, one := range found {
			if before := seen[one.ID]; before == nil {
				order = append(order, one.ID)
			} else {
				one.Configured = before.Configured
			}
			seen[one.ID] = one
		}
		for _, one := range found {
			if one.Status == nil {
				continue
			}
			for _, m := range one.Status.Members {
				news := o.addresses.add(m.ID, m.Address)
				known := seen[m.ID]
				if known == nil {
					known = &Observation{Member: m}
					seen[m.ID], order, news = known, append(order, m.ID), true
				}
				known.Member, known.Configured = m, m.Address
				if known.Status == nil && news {
					o.endpoint.Disconnect(m.ID) // a dial to where it was may go on for long
					ask = append(ask, m)
				}
			}
		}
	}
	result := make([]Observation, 0, len(order))
	for _, id := range order {
		if one := seen[id]; one.Status != nil && one.Status.Address != "" {
			one.Address = one.Status.Address // it knows best
		}
		result = append(result, *seen[id])
	}
	return result
}

func observeAll(ctx context.Context, streams *peerStreams, members []Member) []*Observation {
	found := make([]*Observation, len(members))
	var asks sync.WaitGroup
	for i, m := range members {
		asks.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, observeTimeout)
			defer cancel()
			found[i] = &Observation{Member: m}
			status, err := askStatus(ctx, streams, m.ID)
			if err != nil {
				found[i].Err = err
				return
			}
			found[i].Status = &status
		})
	}
	asks.Wait()
	return found
}

// addressBook is where members may be, the latest word first. mu guards addresses.
type addressBook struct {
	mu        sync.Mutex
	addresses map[tlsid.NodeID][]string
}

// add notes an address and reports whether it is news.
func (b *addressBook) add(id tlsid.NodeID, address string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.addresses == nil {
		b.addresses = map[tlsid.NodeID][]string{}
	}
	if slices.Contains(b.addresses[id], address) {
		return false
	}
	b.addresses[id] = append([]string{address}, b.addresses[id]...)
	return true
}

func (b *addressBook) find(id tlsid.NodeID) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.addresses[id])
}
