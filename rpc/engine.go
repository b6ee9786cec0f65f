package rpc

import "quicproquo/cluster"

// Engine makes a cluster's node the Node of a Server.
func Engine(node *cluster.Node) Node { return engine{node} }

type engine struct{ *cluster.Node }

// catchingUp is how many committed entries a node may be behind before it calls
// itself catching up; less is the normal course of things.
const catchingUp = 1024

// Health looks at what the node knows already; it asks nobody.
func (e engine) Health() Health {
	s := e.Standing()
	h := Health{NodeID: string(e.ID()), State: StateOK, Leader: s.Leads, FeatureLevel: s.FeatureLevel}
	switch {
	case s.Stopped:
		h.State = StateDraining
	case s.Leader == "":
		h.State = StateNoLeader
	case s.AppliedIndex+catchingUp < s.CommitIndex:
		h.State = StateCatchingUp
	case s.ReadOnly:
		h.State = StateReadOnly
	}
	return h
}
