package cluster

import (
	"context"
	"errors"
	"fmt"

	"quicproquo/cluster/reference"
	"quicproquo/crypto/tlsid"
	"quicproquo/fsm"
	"quicproquo/schemas"
)

// forwardBatch is a lane of a follower's batcher: one batch, one call to the
// leader. What never left this node is refused, what did is unknown.
func (n *Node) forwardBatch(ctx context.Context, batch []*proposal) {
	_, leader := n.raft.LeaderWithID()
	if leader == "" || string(leader) == string(n.cfg.ID) {
		finish(batch, outcome{state: refused, err: ErrUnavailable})
		return
	}
	entries := entriesOf(batch)
	frame, err := forwardRequest(entries, n.kept.Keep(entries))
	if err != nil {
		finish(batch, outcome{state: refused, err: err})
		return
	}
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	stop := n.cancelWhenDeposed(tlsid.NodeID(leader), cancel)
	defer stop()
	reply, err := n.peers.call(ctx, tlsid.NodeID(leader), frame)
	if err != nil {
		state := unknown
		if errors.Is(err, errNotSent) {
			state = refused
		}
		finish(batch, outcome{state: state, err: fmt.Errorf("forward to leader %s: %w", leader, err)})
		return
	}
	if err := deliverForwarded(batch, reply); err != nil {
		finish(batch, outcome{state: unknown, err: fmt.Errorf("read answer of leader %s: %w", leader, err)})
	}
}

// cancelWhenDeposed ends a call to a leader when another node leads: the old one
// may be dead, and its answer would come after the call's time-out only. stop
// must be called.
func (n *Node) cancelWhenDeposed(leader tlsid.NodeID, cancel context.CancelFunc) (stop func()) {
	done := make(chan struct{})
	go func() {
		for {
			changed := n.leaderChanged()
			if now := n.Leader(); now != "" && now != leader {
				cancel()
				return
			}
			select {
			case <-changed:
			case <-done:
				return
			}
		}
	}()
	return func() { close(done) }
}

// forwardRequest frames entries, and the number under which they are kept here.
func forwardRequest(entries [][]byte, kept uint64) ([]byte, error) {
	size := 0
	for _, entry := range entries {
		size += len(entry) + 16
	}
	msg, seg := schemas.NewSizedMessage(size)
	req, err := schemas.NewRootPeerRequest(seg)
	if err != nil {
		return nil, fmt.Errorf("build forward: %w", err)
	}
	req.SetTimeoutMs(uint32(peerTimeout.Milliseconds()))
	forward, err := req.NewForward()
	if err != nil {
		return nil, fmt.Errorf("build forward: %w", err)
	}
	forward.SetKept(kept)
	list, err := forward.NewEntries(int32(len(entries)))
	if err != nil {
		return nil, fmt.Errorf("build forward: %w", err)
	}
	for i, entry := range entries {
		if err := list.Set(i, entry); err != nil {
			return nil, fmt.Errorf("build forward: %w", err)
		}
	}
	return msg.Marshal()
}

// deliverForwarded hands out the leader's outcomes. On error none was handed out.
func deliverForwarded(batch []*proposal, reply schemas.PeerResponse) error {
	if reply.Which() != schemas.PeerResponse_Which_forwarded {
		return fmt.Errorf("unexpected answer %s", reply.Which())
	}
	forwarded, err := reply.Forwarded()
	if err != nil {
		return err
	}
	list, err := forwarded.Outcomes()
	if err != nil {
		return err
	}
	if list.Len() != len(batch) {
		return fmt.Errorf("%d outcomes for %d entries", list.Len(), len(batch))
	}
	outcomes := make([]outcome, len(batch))
	for i := range outcomes {
		if outcomes[i], err = readOutcome(list.At(i)); err != nil {
			return err
		}
	}
	for i, p := range batch {
		p.done <- outcomes[i]
	}
	return nil
}

// readOutcome translates from the wire.
func readOutcome(o schemas.Outcome) (outcome, error) {
	if !o.Applied() {
		text, err := o.Text()
		if err != nil {
			return outcome{}, err
		}
		state := refused
		if o.Code() == schemas.Code_unknownOutcome {
			state = unknown
		}
		return outcome{state: state, err: codeError(o.Code(), text)}, nil
	}
	frame, err := o.Result()
	if err != nil {
		return outcome{}, err
	}
	result, err := fsm.DecodeResult(frame)
	if err != nil {
		return outcome{}, err
	}
	return outcome{state: applied, index: o.Index(), result: result}, nil
}

// serveForward is the leader's side: it queues the entries as one group and
// answers when each has its outcome.
func (n *Node) serveForward(ctx context.Context, from tlsid.NodeID, forward schemas.Forward, resp schemas.PeerResponse) error {
	list, err := forward.Entries()
	if err != nil {
		return err
	}
	if list.Len() > schemas.MaxBatchEntries {
		return fmt.Errorf("%d entries in one forward, at most %d are taken", list.Len(), schemas.MaxBatchEntries)
	}
	batch := make([]*proposal, list.Len())
	admitted := make([]*proposal, 0, len(batch))
	for i := range batch {
		entry, err := list.At(i)
		if err != nil {
			return err
		}
		batch[i] = newProposal(append([]byte(nil), entry...), 0)
		batch[i].origin = reference.Origin{Node: from, Forward: forward.Kept(), Index: i}
		if _, err := n.admit(entry); err != nil {
			batch[i].done <- outcome{state: refused, err: err}
			continue
		}
		admitted = append(admitted, batch[i])
	}
	forwarded, err := resp.NewForwarded()
	if err != nil {
		return err
	}
	outcomes, err := forwarded.NewOutcomes(int32(len(batch)))
	if err != nil {
		return err
	}
	if err := n.lead(admitted); err != nil {
		finish(admitted, outcome{state: refused, err: err})
	}
	for i, p := range batch {
		if err := writeOutcome(outcomes.At(i), awaitOutcome(ctx, p)); err != nil {
			return err
		}
	}
	return nil
}

// lead queues forwarded proposals, all or none.
func (n *Node) lead(batch []*proposal) error {
	if !n.isLeader() {
		return errors.New("this node does not lead")
	}
	if n.guard.ReadOnly() {
		return ErrDiskFull
	}
	return n.proposals.submit(batch...)
}

func awaitOutcome(ctx context.Context, p *proposal) outcome {
	select {
	case o := <-p.done:
		return o
	case <-ctx.Done():
		return outcome{state: unknown, err: ctx.Err()}
	}
}

// writeOutcome translates to the wire.
func writeOutcome(o schemas.Outcome, from outcome) error {
	if from.state == applied {
		o.SetApplied(true)
		o.SetIndex(from.index)
		return o.SetResult(from.result.Append(nil))
	}
	code := schemas.Code_unknownOutcome
	if from.state == refused {
		code = ErrorCode(from.err)
		if code == schemas.Code_internal || code == schemas.Code_unknownOutcome {
			code = schemas.Code_unavailable
		}
	}
	o.SetCode(code)
	return o.SetText(from.err.Error())
}
