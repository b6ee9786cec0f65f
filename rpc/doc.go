// Package rpc is the front door of a node: it takes the QUIC connections of
// clients (ALPN qpq/1), reads their calls, and answers.
//
// A bidirectional stream carries calls in turn, each a schemas.Request answered
// by a schemas.Response in Cap'n Proto's standard stream framing, until FIN
// (docs/protocol.md). What a stranger sends is size-checked before it is read,
// read with traversal and depth limits, and paid for by the sender alone: a
// stalled or broken stream costs its own connection, nobody else.
//
// It must never run the Cap'n Proto RPC runtime (docs/decisions/0002), never
// import raft or gossip, never keep bytes of a request beyond its call without
// copying them, and never tell a client more of a fault than its code.
//
// Reading order: methods.go (the two tables), call.go (one call from request to
// response), session.go, bind.go and renew.go (who calls), seen.go (how fresh the answer
// is), propose.go (a write), node.go and engine.go (the node behind), stream.go (calls in
// turn), conn.go and server.go (streams, connections, draining), then errors.go (the
// only place where errors become codes) and limits.go; rates.go (who may call how
// often), limiter.go (its buckets), strangers.go (what those without a session may
// hold), pool.go and transfer.go (memory and pace of what is carried); stats.go (what
// operators see). Topics have a file each: health.go; account.go with register.go,
// login.go and opaque.go; device.go with instance.go; keys.go with keypackage.go and
// hybrid.go; queue.go with fetch.go and subscribe.go; channel.go, group.go. planted.go
// and notplanted.go are faults of a build.
package rpc
