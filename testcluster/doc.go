// Package testcluster runs whole clusters: real nodes with real logs, stores,
// certificates and QUIC, in this process, on loopback or on a network in memory,
// or in processes of their own. Tests, benchmarks, chaos runs use it; no program that
// people run contains it (`qpqd dev` and qpqdemo have cmd/internal/localcluster).
//
// It must never stand in for a part that can run for real: only the network may
// be in memory, and only faults are invented.
//
// Reading order: cluster.go (start and stop), node.go (what can be done to one
// node), mixed.go and move.go (mistakes and moves of operators), network.go, links.go and
// memoryconn.go (links and their faults), relay.go (in front of a process), damage.go,
// copytree.go, loopdisk_linux.go and loopdisk_other.go (disks and their faults),
// process.go (nodes as processes), entries.go (what tests write), await.go (waiting for
// a state).
package testcluster
