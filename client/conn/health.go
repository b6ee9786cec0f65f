package conn

import (
	"context"
	"fmt"
	"time"

	"quicproquo/nodeaddr"
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

// Members asks the node that calls go to now for the addresses of the cluster's nodes,
// HOST:PORT each. It is that node's word: who answers there proves by its certificate
// whether it is a node of the cluster.
func (c *Conn) Members(ctx context.Context) (list []string, err error) {
	err = Call(ctx, c, Request{Method: 5}, schemas.NewHealthParams, nil,
		func(r schemas.HealthResults) error {
			members, err := r.Members()
			if err != nil {
				return err
			}
			if members.Len() > schemas.MaxMembers {
				return fmt.Errorf("read members: %d are more than %d", members.Len(), schemas.MaxMembers)
			}
			for i := range members.Len() {
				address, err := members.At(i)
				if err != nil {
					return err
				}
				if len(address) <= maxEndpointLength && nodeaddr.CheckEndpoint(address) == nil {
					list = append(list, address)
				}
			}
			return nil
		})
	return list, err
}

// learn asks a node for the others, once a connection, so that the client outlives those
// that it was given. It needs a trust that is the cluster's and not a host's: with a pin,
// or the cluster's authority, nobody can be named who is none of its nodes. With public
// certificates anybody could be.
func (c *Conn) learn() {
	if c.options.Learned == nil || c.options.TLS.ServerName == "" {
		return
	}
	ctx, cancel := context.WithTimeout(c.ctx, learnTime)
	defer cancel()
	members, err := c.Members(ctx)
	if err != nil || len(members) == 0 {
		return // an older node, or one that went: the next connection asks again
	}
	if c.endpoints.learn(members) {
		c.options.Learned(members)
	}
}

const (
	// maxEndpointLength bounds a node's address, in bytes: a DNS name and a port.
	maxEndpointLength = 253 + len(":65535")
	// learnTime bounds asking a node for the others.
	learnTime = 15 * time.Second
)
