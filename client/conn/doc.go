// Package conn is the connection of a client to a cluster: the protocol
// (docs/protocol.md), the calls, the session and the failover.
//
// A Conn keeps a connection to one of the cluster's nodes, moves to another when that one
// fails, and repeats what may be repeated. The rules of repeating come from the code
// table (package schemas): a read is free to repeat; a write carries a request id, made
// once for the logical call, and is applied once at most however often it is sent. What
// the package reports is never vaguer or surer than what it knows: an error with
// schemas.Code_unknownOutcome means that the write may have been applied, any other that
// it was not. A Conn remembers the highest log index it has seen and sends it with every
// call, so a program that moves between nodes reads its own writes and never goes back in
// time.
//
// It knows nothing of vaults, groups and conversations (package client), and must never
// import a package of the server nor run the Cap'n Proto RPC runtime.
//
// Reading order: conn.go (Conn, Dial, Options), call.go (one logical call), retry.go
// (what happens after an attempt), errors.go, attempt.go (one request, one response),
// link.go (a connection and its streams), dial.go, endpoints.go (which node), seen.go
// (how fresh answers must be), session.go (who calls), limits.go; topics have a file each,
// named as in schemas, fsm and rpc: health.go, account.go, contact.go, device.go, keys.go,
// queue.go, fetch.go, subscribe.go, channel.go, group.go.
package conn
