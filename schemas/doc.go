// Package schemas is the contract: every byte that crosses a wire or lies in
// the log has its shape, its limit and its error code here.
//
// The .capnp files hold one topic each (queue, keys, settings, …); the Go code
// beside them is generated with `make gen` and committed. Cap'n Proto is used
// as an encoding only; its RPC runtime must never be imported
// (docs/decisions/0002).
//
// Reading order: node.capnp (the calls), queue.capnp, entry.capnp (the log),
// peer.capnp (node to node), snapshot.capnp, codes.capnp; then limits.go,
// framing.go (messages on a stream), message.go (messages in memory),
// envelope.go (the log entry's outer shell) and codes.go.
//
// It imports nothing of ours and knows no network, no storage and no policy.
package schemas
