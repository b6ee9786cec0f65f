// Package fsm is the deterministic store of a node: log entries in, results
// out. Every node that applied the same log up to the same index holds the same
// rows and the same digest, whatever its clock, its crashes and the way in which
// the log was cut into calls.
//
// The store lies in Pebble, without Pebble's own log: the raft log is the
// durable copy. The applied index is part of every storage batch, so after a
// crash the store is an older but whole state, and applying the log again from
// there is harmless: entries at or below the index are skipped.
//
// What it must never do: read a clock, draw a random number, start a goroutine,
// let the iteration order of a map or a per-node option influence state, or
// decrypt anything. TestPurity holds it to that. A refusal is a Result, part of
// the replicated state; a Go error from Apply means that this node must stop.
//
// Reading order, from the rules to the machinery:
//
//	ids.go        accounts, devices, channels, queues
//	commands.go   the one table of commands; decode.go and fastdecode.go read entries,
//	              accountdecode.go, keysdecode.go and groupdecode.go those of a topic
//	refuse.go     what a node may refuse by itself
//	nodekey.go    which key each node has; nodekeyview.go for readers
//	queue.go      enqueue and acknowledge; fanout.go: to an account's devices;
//	              share.go: how much of a queue is whose; runs.go: loss markers;
//	              drain.go: fetch with removal; expire.go removes by age;
//	              purge.go: what revoked devices leave behind
//	account.go    accounts; username.go, registration.go (who may register),
//	              statement.go (what the account itself must sign), contact.go,
//	              session.go, login.go, device.go, instance.go, secret.go
//	keys.go       key packages and hybrid keys; claim.go hands packages out
//	channel.go    who may send to whom where
//	group.go      one commit for each epoch; groupquota.go: how much is kept
//	timers.go     what ends by itself
//	settings.go   the cluster settings
//	dedupe.go     one outcome per request id; fingerprint.go: of the same command
//	tx.go         what a rule may touch; keyspace.go, rows.go,
//	              fields.go, stage.go, read.go: the bytes of rows
//	apply.go      the path of a batch; digest.go, result.go, cache.go
//	store.go      opening and closing; wait.go; pebble.go configures the engine;
//	              blocks.go (checksums), chunks.go and blobfault.go (files)
//	view.go       consistent reads; moment.go: those of one index share a
//	              snapshot; watch.go wakes readers; by topic: accountview.go,
//	              loginview.go, keysview.go, queueview.go, channelview.go,
//	              groupview.go
//	snapshot.go   checkpoints; restore.go brings them back
//
// Decisions: docs/decisions/0020 (layout and formats), 0021 (request ids),
// 0022 (expiry and loss markers), 0023 (Pebble's settings), 0061 (fan-out).
package fsm
