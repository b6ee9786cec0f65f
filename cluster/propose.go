package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/raft"

	"quicproquo/cluster/reference"
	"quicproquo/fsm"
	"quicproquo/schemas"
)

// Propose writes one framed schemas.Entry through the log and returns the raft
// index and the result of applying it. Any node takes proposals: a follower
// forwards to the leader, at most one hop. entry must not be changed afterwards: it
// may still be on its way, and a follower keeps it for a while.
//
// While the outcome of an attempt is open the node repeats the entry with the
// same request id until ctx ends, so that at most one of the attempts is
// applied. Errors: ErrUnavailable (certainly not applied), ErrUnknownOutcome
// (repeat only with the same request id), ErrBadEntry, ErrFeatureLevel,
// ErrDiskFull, ErrClosed (all not applied). A refusal by the store's rules is a
// result, not an error.
func (n *Node) Propose(ctx context.Context, entry []byte) (uint64, fsm.Result, error) {
	info, err := n.admit(entry)
	if err != nil {
		return 0, fsm.Result{}, err
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, defaultProposeTimeout)
		defer cancel()
	}
	return n.repeat(ctx, entry, info.MaxResult)
}

// admit refuses what must not reach the log.
func (n *Node) admit(entry []byte) (fsm.CommandInfo, error) {
	if err := n.Err(); err != nil {
		return fsm.CommandInfo{}, fmt.Errorf("%w: %w", ErrClosed, err)
	}
	info, err := fsm.Command(entry)
	if err != nil {
		return info, fmt.Errorf("%w: %w", ErrBadEntry, err)
	}
	if info.Since > n.featureLevel() && !n.inForce(info.Since) {
		return info, fmt.Errorf("%w: %s needs level %d, the cluster is at %d",
			ErrFeatureLevel, info.Name, info.Since, n.featureLevel())
	}
	return info, nil
}

// inForce reports whether the log is judged by a level, or a later one. Then every
// member knows it, heard or not: one that does not can't open the store.
func (n *Node) inForce(level uint32) bool {
	have, err := n.levelInForce()
	return err == nil && have >= uint64(level)
}

// repeat tries until the outcome is known or ctx ends. Every entry that the
// store takes is safe to repeat: it has a request id, or its command is harmless
// to repeat.
func (n *Node) repeat(ctx context.Context, entry []byte, maxResult int) (uint64, fsm.Result, error) {
	open := false // an earlier attempt may have been applied
	pause := retryPause
	var last error
	for {
		o := n.attempt(ctx, entry, maxResult)
		switch o.state {
		case applied:
			return o.index, o.result, nil
		case unknown:
			open = true
		case refused:
			if !open && permanent(o.err) {
				return 0, fsm.Result{}, o.err
			}
		}
		last = o.err
		if !n.pause(ctx, pause) {
			return 0, fsm.Result{}, n.gaveUp(open, last)
		}
		pause = min(2*pause, maxRetryPause)
	}
}

// permanent tells a refusal that waiting for another leader does not mend.
func permanent(err error) bool {
	return errors.Is(err, ErrDiskFull) || errors.Is(err, ErrBadEntry) || errors.Is(err, ErrFeatureLevel)
}

func (n *Node) gaveUp(open bool, last error) error {
	kind := ErrUnavailable
	if open {
		kind = ErrUnknownOutcome
	}
	if last == nil || errors.Is(last, kind) {
		return kind
	}
	return fmt.Errorf("%w: %w", kind, last)
}

// pause waits a jittered while, or until the leader changes. It returns false
// when ctx has ended or the node is closing.
func (n *Node) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d/2 + rand.N(d))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-n.ctx.Done():
		return false
	case <-n.leaderChanged():
	case <-timer.C:
	}
	return ctx.Err() == nil && n.ctx.Err() == nil
}

// attempt sends the entry to the leader once: to the local batcher if this node
// leads, else through the forwarding one.
func (n *Node) attempt(ctx context.Context, entry []byte, maxResult int) outcome {
	_, leader := n.raft.LeaderWithID()
	if leader == "" {
		return outcome{state: refused, err: ErrUnavailable}
	}
	b := n.forwards
	if string(leader) == string(n.cfg.ID) {
		if n.guard.ReadOnly() {
			return outcome{state: refused, err: ErrDiskFull}
		}
		b = n.proposals
	}
	p := newProposal(entry, maxResult)
	if err := b.submit(p); err != nil {
		return outcome{state: refused, err: err}
	}
	select {
	case o := <-p.done:
		return o
	case <-ctx.Done():
		// It is queued or on its way: nobody can call it back.
		return outcome{state: unknown, err: ctx.Err()}
	}
}

// applyBatch is a lane of the leader's batcher: one batch, one raft entry.
func (n *Node) applyBatch(_ context.Context, batch []*proposal) {
	now := n.clock.Read()
	if !now.Known {
		finish(batch, outcome{state: refused, err: fmt.Errorf("%w: the clocks of a majority are not known yet", ErrUnavailable)})
		return
	}
	entries := entriesOf(batch)
	origins := make([]reference.Origin, len(batch))
	for i, p := range batch {
		origins[i] = p.origin
	}
	sealed, err := schemas.SealBatch(uint64(now.Time.UnixMilli()), entries)
	if err != nil {
		finish(batch, outcome{state: refused, err: fmt.Errorf("seal batch: %w", err)})
		return
	}
	n.plantedPause()
	future := n.raft.ApplyLog(raft.Log{Data: sealed, Extensions: reference.Describe(sealed, entries, origins)}, enqueueTimeout)
	if err := n.answer(future); err != nil {
		state := unknown
		if notApplied(err) {
			state = refused
		}
		finish(batch, outcome{state: state, err: err})
		return
	}
	n.deliver(batch, future)
}

// answer waits for raft's answer, or until raft is gone: an entry that is on its
// way to the store when raft shuts down may never get one (its queue to the store
// is left as it is), and whoever closes the node would wait for it for ever.
func (n *Node) answer(future raft.ApplyFuture) error {
	answered := make(chan error, 1)
	go func() { answered <- future.Error() }()
	select {
	case err := <-answered:
		return err
	case <-n.raftGone:
	}
	select {
	case err := <-answered:
		return err
	case <-time.After(lastAnswer):
		return raft.ErrRaftShutdown
	}
}

// lastAnswer is how long an answer that raft gave on its way out may take to get
// through to whoever waits for it.
const lastAnswer = 100 * time.Millisecond

// deliver hands the results of an applied batch to their proposals. A store
// that stopped gives none: then the entry is in the log and its outcome open.
func (n *Node) deliver(batch []*proposal, future raft.ApplyFuture) {
	results, ok := future.Response().([]fsm.Result)
	if !ok || len(results) != len(batch) {
		finish(batch, outcome{state: unknown, err: errors.New("the store stopped before it applied the entry")})
		return
	}
	for i, p := range batch {
		p.done <- outcome{state: applied, index: future.Index(), result: results[i]}
	}
}
