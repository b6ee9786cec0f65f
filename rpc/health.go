package rpc

import "quicproquo/schemas"

// health tells how this node is. A client uses it to choose a node, people to
// see that one lives; it says nothing that a stranger must not know.
func health(c *call, _ schemas.HealthParams, results schemas.HealthResults) error {
	h := c.conn.server.health()
	results.SetLeader(h.Leader)
	results.SetFeatureLevel(h.FeatureLevel)
	if err := results.SetNodeId(h.NodeID); err != nil {
		return err
	}
	members := h.Members[:min(len(h.Members), schemas.MaxMembers)]
	list, err := results.NewMembers(int32(len(members)))
	if err != nil {
		return err
	}
	for i, address := range members {
		if err := list.Set(i, address); err != nil {
			return err
		}
	}
	return results.SetStatus(string(h.State))
}

// health is the node's, unless the door is closing.
func (s *Server) health() Health {
	h := s.node.Health()
	if s.draining.Load() {
		h.State = StateDraining
	}
	return h
}
