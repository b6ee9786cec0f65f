// Package chaos talks to a cluster as clients do while faults happen to it, keeps
// what was asked and answered, and judges it afterwards: what was acknowledged is
// there once, in order, on every node; what nobody may read was not read; histories
// of shared things are linearizable.
//
// Reading order: chaos.go (Run, Options, Summary), plan.go (the faults of a seed),
// nemesis.go (does them), target.go (what is harmed): inprocess.go, processes.go;
// world.go (what the workloads share), history.go, reader.go (what a consumer knows of a
// queue), timeline.go and gap.go (what happened when), then a file per workload with its
// checker: queue.go, channel.go, name.go, commit.go, session.go, prober.go, keys.go,
// settings.go, talk.go, member.go (a member who lies), lies.go (a node that lies),
// stalled.go (who takes nothing).
package chaos
