package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"quicproquo/crypto/tlsid"
	"quicproquo/schemas"
)

// Member is one row of the raft configuration.
type Member struct {
	ID      tlsid.NodeID
	Address string
	Voter   bool
}

// Members returns this node's latest raft configuration.
func (n *Node) Members() []Member {
	r := n.configuration.Load()
	if r == nil {
		return nil
	}
	servers := r.GetConfiguration()
	if servers.Error() != nil {
		return nil
	}
	var members []Member
	for _, s := range servers.Configuration().Servers {
		members = append(members, Member{
			ID: tlsid.NodeID(s.ID), Address: string(s.Address), Voter: s.Suffrage == raft.Voter,
		})
	}
	return members
}

func (n *Node) voters() []tlsid.NodeID {
	var ids []tlsid.NodeID
	for _, m := range n.Members() {
		if m.Voter {
			ids = append(ids, m.ID)
		}
	}
	return ids
}

// AddMember adds a node as a non-voter; the leader makes it a voter once it has
// caught up. Any node takes the call. Adding a member again at its own address
// changes nothing; at another address it is a move. ErrMemberExists means that the
// address is another member's.
func (n *Node) AddMember(ctx context.Context, id tlsid.NodeID, address string) error {
	return n.change(ctx, memberChange{kind: schemas.MemberChange_Kind_add, id: id, address: address})
}

// RemoveMember takes a node out of the cluster for ever: its id is not used
// again and its connections are closed.
func (n *Node) RemoveMember(ctx context.Context, id tlsid.NodeID) error {
	return n.change(ctx, memberChange{kind: schemas.MemberChange_Kind_remove, id: id})
}

// TransferLeadership hands leadership to a voter, or to the best one when id is
// empty.
func (n *Node) TransferLeadership(ctx context.Context, id tlsid.NodeID) error {
	return n.change(ctx, memberChange{kind: schemas.MemberChange_Kind_transfer, id: id})
}

type memberChange struct {
	kind    schemas.MemberChange_Kind
	id      tlsid.NodeID
	address string
}

// change runs a member change on the leader, wherever that is, and follows it
// when it moves meanwhile.
func (n *Node) change(ctx context.Context, c memberChange) error {
	ctx, cancel := context.WithTimeout(ctx, memberChangeTimeout)
	defer cancel()
	for first := true; ; first = false {
		err := n.changeOnce(ctx, c)
		if !first && c.kind == schemas.MemberChange_Kind_remove && errors.Is(err, ErrMemberUnknown) {
			return nil // an attempt whose answer was lost has removed it
		}
		if err == nil || !retryChange(err) {
			return err
		}
		if !n.pause(ctx, maxRetryPause) {
			return err
		}
	}
}

// retryChange: member changes are safe to repeat, for each names the state it wants.
func retryChange(err error) bool {
	return errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnknownOutcome)
}

func (n *Node) changeOnce(ctx context.Context, c memberChange) error {
	leader := n.Leader()
	switch leader {
	case "":
		return ErrUnavailable
	case n.cfg.ID:
		return n.changeHere(c)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := n.cancelWhenDeposed(leader, cancel) // a dead leader does not answer, its successor does
	defer stop()
	return n.askChange(ctx, leader, c)
}

// askChange has another node, the leader, change a member.
func (n *Node) askChange(ctx context.Context, leader tlsid.NodeID, c memberChange) error {
	frame, err := peerRequest(memberChangeTimeout, func(r schemas.PeerRequest) error {
		change, err := r.NewChange()
		if err != nil {
			return err
		}
		change.SetKind(c.kind)
		return errors.Join(change.SetId(string(c.id)), change.SetAddress(c.address))
	})
	if err != nil {
		return err
	}
	reply, err := n.peers.call(ctx, leader, frame)
	if err != nil {
		return fmt.Errorf("%w: ask leader %s: %w", ErrUnavailable, leader, err)
	}
	return peerError(reply)
}

// changeHere runs a change on the leader.
func (n *Node) changeHere(c memberChange) error {
	var err error
	switch c.kind {
	case schemas.MemberChange_Kind_add:
		err = n.addHere(c)
	case schemas.MemberChange_Kind_remove:
		err = n.removeHere(c.id)
	case schemas.MemberChange_Kind_transfer:
		err = n.transferHere(c.id)
	case schemas.MemberChange_Kind_demote:
		err = n.demoteHere(c.id)
	default:
		return fmt.Errorf("%w: member change %d is unknown to this version", ErrBadEntry, c.kind)
	}
	if err != nil && notApplied(err) {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if errors.Is(err, raft.ErrLeadershipLost) {
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	return err
}

func (n *Node) member(id tlsid.NodeID) (Member, bool) {
	for _, m := range n.Members() {
		if m.ID == id {
			return m, true
		}
	}
	return Member{}, false
}

func (n *Node) addHere(c memberChange) error {
	if err := c.id.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrBadEntry, err)
	}
	if _, _, err := net.SplitHostPort(c.address); err != nil {
		return fmt.Errorf("%w: address %q is not HOST:PORT: %w", ErrBadEntry, c.address, err)
	}
	for _, m := range n.Members() {
		switch {
		case m.ID == c.id && m.Address == c.address:
			return nil
		case m.ID != c.id && m.Address == c.address:
			return fmt.Errorf("%w: %s is at %s", ErrMemberExists, m.ID, m.Address)
		}
	}
	return n.setAddress(c.id, c.address)
}

func (n *Node) removeHere(id tlsid.NodeID) error {
	if _, ok := n.member(id); !ok {
		return fmt.Errorf("%w: %s", ErrMemberUnknown, id)
	}
	if err := n.canSpare(id); err != nil {
		return err
	}
	if id == n.cfg.ID {
		// A leader that removes itself would leave its last answer open: let
		// the next leader do it.
		if err := n.transferHere(""); err != nil {
			return err
		}
		return raft.ErrNotLeader
	}
	return n.raft.RemoveServer(raft.ServerID(id), 0, memberChangeTimeout).Error()
}

func (n *Node) transferHere(id tlsid.NodeID) error {
	if id == "" {
		return n.raft.LeadershipTransfer().Error()
	}
	m, ok := n.member(id)
	if !ok || !m.Voter {
		return fmt.Errorf("%w: %s is no voter", ErrMemberUnknown, id)
	}
	if id == n.cfg.ID {
		return nil
	}
	return n.raft.LeadershipTransferToServer(raft.ServerID(id), raft.ServerAddress(m.Address)).Error()
}

func (n *Node) serveChange(ctx context.Context, change schemas.MemberChange, resp schemas.PeerResponse) error {
	if !n.isLeader() {
		return fmt.Errorf("%w: this node does not lead", ErrUnavailable)
	}
	id, err := change.Id()
	if err != nil {
		return err
	}
	address, err := change.Address()
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return ErrUnavailable
	}
	if err := n.changeHere(memberChange{kind: change.Kind(), id: tlsid.NodeID(id), address: address}); err != nil {
		return err
	}
	_, err = resp.NewChanged()
	return err
}

// promote makes voters of the non-voters that have kept up for promoteRounds.
// caughtUp is the leader's memory of one term.
func (n *Node) promote(ctx context.Context, caughtUp map[tlsid.NodeID]int) {
	for _, m := range n.Members() {
		if m.Voter {
			delete(caughtUp, m.ID)
			continue
		}
		status, err := n.askStatus(ctx, m.ID)
		if err == nil {
			err = n.keyKnown(m.ID)
		}
		if err != nil || status.CommandIndex+promoteLag < n.store.Index() {
			n.log.Debug("member is not caught up", "member", m.ID, "at", status.CommandIndex, "error", err)
			caughtUp[m.ID] = 0
			continue
		}
		if caughtUp[m.ID]++; caughtUp[m.ID] < promoteRounds {
			continue
		}
		err = n.raft.AddVoter(raft.ServerID(m.ID), raft.ServerAddress(m.Address), 0, memberChangeTimeout).Error()
		n.log.Info("member caught up", "node", m.ID, "promoted", err == nil, "error", err)
	}
}

// mayConnect tells the mesh whether a certificate's node is one of us. The raft
// configuration decides. A node that has none yet (it waits to be added) knows
// its peers from its configuration file. A node that was away may not know
// members that were added meanwhile: it asks the ones that it knows.
func (n *Node) mayConnect(id tlsid.NodeID) bool {
	members := n.Members()
	if len(members) == 0 {
		return n.configured(id)
	}
	for _, m := range members {
		if m.ID == id {
			return true
		}
	}
	return n.vouched(vouch{id: id})
}

func (n *Node) configured(id tlsid.NodeID) bool {
	if len(n.cfg.Peers) == 0 {
		return true
	}
	for _, p := range n.cfg.Peers {
		if p.ID == id {
			return true
		}
	}
	return false
}

// vouch is what a member may say with a newer state than ours: that id belongs to the
// cluster, or, where key is not zero, that this is its key.
type vouch struct {
	id  tlsid.NodeID
	key [schemas.NodeKeySize]byte
}

// vouched tells whether a member said so, with a state that is no older than ours. A first
// stranger is refused while we ask; it comes again.
func (n *Node) vouched(v vouch) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if until, ok := n.vouches[v]; ok && time.Now().Before(until) {
		return true
	}
	if n.asking {
		return false
	}
	n.asking = true
	n.tasks.Go(func() {
		ok := n.askVouch(v)
		n.mu.Lock()
		defer n.mu.Unlock()
		n.asking = false
		if ok {
			n.vouches[v] = time.Now().Add(vouchLifetime)
		}
	})
	return false
}

func (n *Node) askVouch(v vouch) bool {
	own := n.raft.AppliedIndex()
	for _, m := range n.Members() {
		if m.ID == n.cfg.ID || m.ID == v.id {
			continue
		}
		status, err := n.askStatus(n.ctx, m.ID)
		if err == nil && status.AppliedIndex >= own && v.saidIn(&status) {
			return true
		}
	}
	return false
}

func (v vouch) saidIn(s *Status) bool {
	if v.key != [schemas.NodeKeySize]byte{} {
		key, known := s.NodeKeys.KeyOf(string(v.id))
		return known && key == v.key && !s.NodeKeys.Denies(key)
	}
	return slices.ContainsFunc(s.Members, func(m Member) bool { return m.ID == v.id })
}
