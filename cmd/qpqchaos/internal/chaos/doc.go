// Package chaos talks to a cluster as clients do while faults happen to it, keeps
// what was asked and answered, and judges it afterwards: what was acknowledged is
// there once, in order, on every node; what nobody may read was not read; histories
// of shared things are linearizable.
//
// Reading order: chaos.go (Run, Options, Summary), plan.go (the faults of a seed),
// target.go (what a fault does to processes, and to a cluster in this process),
// world.go (what the workloads share), then a file per workload with its checker:
// queue.go, channel.go, name.go, commit.go, session.go, prober.go.
package chaos
