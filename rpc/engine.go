package rpc

import "quicproquo/cluster"

// Engine makes a cluster's node the Node of a Server.
func Engine(node *cluster.Node) Node { return engine{node} }

type engine struct{ *cluster.Node }

// Health looks at what the node knows already; it asks nobody.
func (e engine) Health() Health {
	h := healthOf(e.Standing(), string(e.ID()))
	for _, m := range e.Members() {
		h.Members = append(h.Members, m.Address)
	}
	return h
}

// healthOf sums a standing up; of several troubles the gravest counts.
func healthOf(s cluster.Standing, id string) Health {
	h := Health{NodeID: id, State: StateOK, Leader: s.Leads, FeatureLevel: s.FeatureLevel}
	switch {
	case s.Stopped:
		h.State = StateDraining
	case s.Leader == "":
		h.State = StateNoLeader
	case s.AppliedIndex+catchingUpLag < s.CommitIndex:
		h.State = StateCatchingUp
	case s.ReadOnly:
		h.State = StateReadOnly
	}
	return h
}
