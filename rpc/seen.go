package rpc

import (
	"context"
	"errors"

	"quicproquo/fsm"
	"quicproquo/schemas"
)

// freshen brings the node's state to where the caller wants it: past the index
// that the caller has seen and, if asked, past everything acknowledged.
func (c *call) freshen() error {
	if err := c.waitSeen(c.request.Seen()); err != nil {
		return err
	}
	if !c.request.Linearizable() {
		return nil
	}
	return c.conn.server.node.Linearize(c.context())
}

// lookUp finds something that others made. That there is none is said only of a state that
// has everything that was acknowledged before: whoever has just registered is found on
// every node, also on one that is behind.
func (c *call) lookUp(missing schemas.Code, find func(*fsm.View) (known bool, err error)) error {
	for confirmed := c.request.Linearizable(); ; confirmed = true {
		view, err := c.state()
		if err != nil {
			return err
		}
		known, err := find(view)
		switch {
		case err != nil:
			return storageFault(err)
		case known:
			return nil
		case confirmed:
			return refuse(missing)
		}
		c.dropState()
		if err := c.conn.server.node.Linearize(c.context()); err != nil {
			return err
		}
	}
}

// waitSeen waits for the index as long as the call has time. An index that the
// cluster never reached is told from one that this node has not reached yet by
// asking the leader: after a confirmed read the node has everything that was
// acknowledged before, so what is still missing was never written here. The
// patience covers entries that are committed and that the leader is applying.
func (c *call) waitSeen(seen uint64) error {
	node := c.conn.server.node
	have := node.Index()
	if have >= seen || c.plantedStale() {
		return nil
	}
	if seen-have <= seenStride {
		done, err := c.waitAWhile(seen)
		if done || err != nil {
			return err
		}
	}
	if node.Linearize(c.context()) == nil && node.Index() < seen {
		return &refusal{code: schemas.Code_seenTooFarAhead, value: node.Index()}
	}
	if err := node.WaitSeen(c.context(), seen); err != nil {
		return c.lagging(err)
	}
	return nil
}

// waitAWhile waits for seen no longer than seenPatience, and reports whether it
// was reached.
func (c *call) waitAWhile(seen uint64) (bool, error) {
	ctx, cancel := context.WithTimeout(c.context(), seenPatience)
	defer cancel()
	err := c.conn.server.node.WaitSeen(ctx, seen)
	switch {
	case err == nil:
		return true, nil
	case c.context().Err() != nil:
		return false, c.lagging(err)
	case errors.Is(err, context.DeadlineExceeded):
		return false, nil
	}
	return false, err
}

// lagging tells a wait that ran out of time from one that failed otherwise.
func (c *call) lagging(err error) error {
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &refusal{
		code: schemas.Code_lagging, value: c.conn.server.node.Index(),
		retryAfter: retryLagging, cause: err,
	}
}

// context is the call's: it ends with the caller's time, with a reset of the
// stream, and with the connection. Calls that never wait never make one.
func (c *call) context() context.Context {
	if c.ctx == nil {
		c.ctx, c.cancel = context.WithDeadline(c.stream.Context(), c.deadline)
	}
	return c.ctx
}
