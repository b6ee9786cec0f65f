package client

import (
	"context"
	"errors"
	"fmt"

	"quicproquo/client/conn"
	"quicproquo/client/vault"
)

// recount goes back in the queues that have given out less than was received: a node
// has lied about an envelope's number, or the cluster was restored from a backup. They
// are read once more from what was acknowledged on; what was processed is known by its
// digest.
func (c *Client) recount(ctx context.Context) {
	var list []vault.Cursor
	if err := c.look(func(t *turn) (err error) { list, err = t.Cursors(); return err }); err != nil {
		c.log.Error("read cursors", "error", err)
		return
	}
	for _, q := range list {
		_, last, err := c.conn.Peek(ctx, conn.Read{Queue: conn.Queue{Channel: q.Channel}, Limit: 1, Linearizable: true})
		var e *Error
		if errors.As(err, &e) && hopeless(e.Code) {
			last, err = 0, nil // there is no such queue any more
		}
		if err == nil && last < q.Seq {
			err = c.turn(func(t *turn) error { return t.SetCursor(q.Channel, 0) })
			c.log.Warn("a queue is read again", "channel", fmt.Sprintf("%x", q.Channel), "read", q.Seq, "given", last)
		}
		if err != nil && ctx.Err() == nil {
			c.log.Warn("look how far a queue goes", "error", err)
		}
	}
}
