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
// Reading order: config.go and limits.go, node.go (what a node is made of), open.go,
// close.go; the path of a write: propose.go, batcher.go, forward.go, machine.go (raft
// to store), errors.go; of a read: read.go, confirm.go; between nodes: peer.go and
// peerwire.go (the protocol), transport.go, pipeline.go, announce.go and references.go (raft's
// messages); leadership.go, time.go (the cluster's clock); membership: members.go,
// addresses.go, gossip.go, admission.go (joining without data), acquaintance.go and
// remembered.go (what peers remember of a node), certificate.go, nodekeys.go (which key
// each node has, and which are denied); watch.go, digest.go
// and status.go (what nodes know of each other); rotation.go (a new cluster key); the log: logcache.go, logsize.go,
// logger.go (raft's texts); from outside a node: provision.go (directories), observe.go,
// operate.go, settings.go,
// rotate.go; planted.go and notplanted.go (faults of a build). Then the sub-packages
// mesh (QUIC), raftlog, snapshot, datadir, diskguard and keyring.
package cluster
