package client

import "context"

// Take processes envelopes as if the cluster had sent them.
func (c *Client) Take(batch []Envelope) error { return c.take(context.Background(), batch) }
