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
	addresses := &addressBook{}
	for _, p := range peers {
		addresses.add(p.ID, p.Address)
	}
	keys, err := mesh.NewKeys()
	if err != nil {
		return nil, err
	}
	endpoint, err := mesh.Open(mesh.Options{
		Conn: conn, Identity: identity, Keys: keys, Logger: logger,
		Member:  func(tlsid.NodeID) bool { return true },
		Resolve: addresses.find,
	})
	if err != nil {
		return nil, fmt.Errorf("open network: %w", err)
	}
	streams := newPeerStreams(endpoint)
	seen := map[tlsid.NodeID]*Observation{}
	var order []tlsid.NodeID
	ask := make([]Member, 0, len(peers))
	for _, p := range peers {
		ask = append(ask, Member{ID: p.ID, Address: p.Address, Voter: true})
	}
	for len(ask) > 0 {
		found := observeAll(ctx, streams, ask)
		ask = nil
		for _, o := range found {
			if before := seen[o.ID]; before == nil {
				order = append(order, o.ID)
			} else {
				o.Configured = before.Configured
			}
			seen[o.ID] = o
		}
		for _, o := range found {
			if o.Status == nil {
				continue
			}
			for _, m := range o.Status.Members {
				news := addresses.add(m.ID, m.Address)
				known := seen[m.ID]
				if known == nil {
					known = &Observation{Member: m}
					seen[m.ID], order, news = known, append(order, m.ID), true
				}
				known.Member, known.Configured = m, m.Address
				if known.Status == nil && news {
					endpoint.Disconnect(m.ID) // a dial to where it was may go on for long
					ask = append(ask, m)
				}
			}
		}
	}
	streams.close()
	if err := endpoint.Close(ctx); err != nil {
		logger.Debug("close network", "error", err)
	}
	_ = conn.Close()
	result := make([]Observation, 0, len(order))
	for _, id := range order {
		if o := seen[id]; o.Status != nil && o.Status.Address != "" {
			o.Address = o.Status.Address // it knows best
		}
		result = append(result, *seen[id])
	}
	return result, nil
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
