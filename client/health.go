package client

import (
	"context"

	"quicproquo/schemas"
)

// Health is what a node says of itself.
type Health struct {
	// Status is one word: ok, read-only, catching-up, no-leader or draining.
	Status       string
	NodeID       string
	Leader       bool
	FeatureLevel uint32
}

// Health asks the node that calls go to now how it is.
func (c *Conn) Health(ctx context.Context) (Health, error) {
	var h Health
	err := Call(ctx, c, Request{Method: 5}, schemas.NewHealthParams, nil,
		func(r schemas.HealthResults) (err error) {
			h.Leader, h.FeatureLevel = r.Leader(), r.FeatureLevel()
			if h.NodeID, err = r.NodeId(); err != nil {
				return err
			}
			h.Status, err = r.Status()
			return err
		})
	return h, err
}
