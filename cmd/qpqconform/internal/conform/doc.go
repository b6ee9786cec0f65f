// Package conform is the list of checks that qpqconform makes of a cluster: what
// docs/protocol.md promises to clients, tried through the public protocol alone.
//
// Reading order: check.go (what a check is, and a run), world.go and person.go (who calls,
// and how), then one file a topic of docs/protocol.md: connecting.go, callers.go,
// errors.go, fresh.go, waits.go, accounts.go, who.go, devices.go, keys.go, queues.go,
// refusals.go, subscriptions.go, channels.go, groups.go. To add a check, add a row to its file's
// list; a method or a section without one fails a test.
package conform
