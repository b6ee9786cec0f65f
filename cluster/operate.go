package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"quicproquo/cluster/mesh"
	"quicproquo/crypto/tlsid"
	"quicproquo/fsm"
)

// Operate has the cluster carry out a command of its operator's, from outside a node, with
// the certificate of one: it goes to the leader as an entry that a node forwards, and
// through the log. conn is an unused packet connection; Operate closes it. The entry has a
// request id, so it is repeated until its outcome is known or ctx is over. A result may
// hold a refusal. Errors: ErrUnavailable, ErrUnknownOutcome, ErrFeatureLevel, ErrBadEntry.
func Operate(ctx context.Context, conn net.PacketConn, identity *tlsid.Identity, peers []Peer, logger *slog.Logger, entry []byte) (fsm.Result, error) {
	o, err := openOutside(conn, identity, peers, logger)
	if err != nil {
		return fsm.Result{}, err
	}
	defer o.close(context.WithoutCancel(ctx))
	open := false
	for {
		got := o.operate(ctx, entry)
		open = open || got.state == unknown
		switch {
		case got.state == applied:
			return got.result, nil
		case errors.Is(got.err, ErrFeatureLevel), errors.Is(got.err, ErrBadEntry):
			return fsm.Result{}, got.err
		case !open && errors.Is(got.err, errRefusedByAll):
			return fsm.Result{}, got.err
		}
		select {
		case <-time.After(retryPause):
			continue
		case <-ctx.Done():
		}
		if open {
			return fsm.Result{}, fmt.Errorf("%w: %w", ErrUnknownOutcome, got.err)
		}
		return fsm.Result{}, fmt.Errorf("%w: %w", ErrUnavailable, got.err)
	}
}

// errRefusedByAll tells that nobody who answers lets the certificate in.
var errRefusedByAll = fmt.Errorf("%w: the cluster refuses the certificate in this directory", ErrUnavailable)

// leader asks everybody who leads. Error: errRefusedByAll, which asking again does not help.
func (o *outside) leader(ctx context.Context) (tlsid.NodeID, error) {
	seen := o.observe(ctx)
	if why := refusedByAll(seen); why != nil {
		return "", fmt.Errorf("%w: %w", errRefusedByAll, why)
	}
	leader := leaderOf(seen)
	if leader == "" {
		return "", errors.New("no node that answers knows a leader")
	}
	return leader, nil
}

// operate is one attempt: ask who leads, and send it there.
func (o *outside) operate(ctx context.Context, entry []byte) outcome {
	leader, err := o.leader(ctx)
	if err != nil {
		return outcome{state: refused, err: err}
	}
	frame, err := forwardRequest([][]byte{entry}, 0)
	if err != nil {
		return outcome{state: refused, err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	reply, err := o.streams.call(ctx, leader, frame)
	if err != nil {
		state := unknown
		if errors.Is(err, errNotSent) {
			state = refused
		}
		return outcome{state: state, err: fmt.Errorf("ask leader %s: %w", leader, err)}
	}
	p := newProposal(entry, 0)
	if err := deliverForwarded([]*proposal{p}, reply); err != nil {
		return outcome{state: unknown, err: fmt.Errorf("read answer of leader %s: %w", leader, err)}
	}
	return <-p.done
}

// refusedByAll is why those who answer at all refuse this certificate; nil if one does not.
func refusedByAll(seen []Observation) (why error) {
	for _, s := range seen {
		if s.Status != nil {
			return nil
		}
		why = cmp.Or(why, mesh.Refusal(s.Err))
	}
	return why
}

// leaderOf is whom the most members follow, "" for none.
func leaderOf(seen []Observation) (leader tlsid.NodeID) {
	followed := map[tlsid.NodeID]int{}
	for _, s := range seen {
		if s.Status != nil && s.Status.Leader != "" {
			followed[s.Status.Leader]++
		}
	}
	for id, n := range followed {
		if n > followed[leader] || n == followed[leader] && id < leader {
			leader = id
		}
	}
	return leader
}
