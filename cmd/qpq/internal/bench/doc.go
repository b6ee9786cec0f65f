// Package bench measures a cluster as its clients meet it: real connections, real
// accounts, and for e2e whole clients with their vaults, against a cluster that runs or
// one that is started for it, a process a node.
//
// Two kinds of load. In the closed loop so many calls are in flight, each worker's next
// begins when its last is done: it finds the highest throughput. In the open loop calls
// are due at a rate, whatever became of those before, and what is measured is the time
// from when a call was due: a server that stands still for a second is seen by all whose
// calls were due in it (no coordinated omission).
//
// Reading order: options.go (what is asked), run.go (Run), world.go (accounts and
// connections), work.go (the workloads), drain.go (their queues stay short), fanout.go (many recipients, and those who wait for what comes), e2e.go (whole
// clients), load.go (the loops), record.go (what they saw), nodes.go (a cluster of its own),
// cpu_linux.go and cpu_other.go, report.go, page.go (HTML).
package bench
