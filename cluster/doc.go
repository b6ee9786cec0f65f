// Package cluster is one node of the replicated server: it proposes entries,
// replicates them through Raft, applies them to the node's store, and tells
// readers when what they read is fresh enough.
//
// It must never look inside an entry beyond what fsm.Describe tells, never act
// on gossip where safety is at stake (authority is the raft configuration), and
// never call a write failed that may have been applied.
//
// Sources: Ongaro's Raft dissertation (§3 log, §4 membership, §6.4 read index);
// hashicorp/raft 1.7.3, whose heartbeat fast path is switched off (decision
// 0003) and whose VerifyLeader is not used for reads (decision 0004).
//
// Reading order: config.go, node.go (what a node is made of), propose.go (the
// way of a write), batcher.go, forward.go, machine.go (raft to store),
// leadership.go, read.go and confirm.go (the way of a read), peer.go (the node
// to node protocol), members.go, digest.go, status.go, gossip.go; then the
// sub-packages mesh (QUIC), raftlog, snapshot, datadir and diskguard.
package cluster
