// Package client connects a program to a cluster: it keeps a connection to one
// of the cluster's nodes, moves to another when that one fails, and repeats what
// may be repeated.
//
// The rules of repeating come from the code table (package schemas) and hold for
// every call: a read is free to repeat; a write carries a request id, made once
// for the logical call, and is applied once at most however often it is sent.
// What the package reports is never vaguer or surer than what it knows: an error
// with schemas.Code_unknownOutcome means that the write may have been applied,
// any other error that it was not.
//
// A Conn remembers the highest log index it has seen and sends it with every
// call, so a program that moves between nodes reads its own writes and never
// goes back in time.
//
// It must never import a package of the server, and never run the Cap'n Proto
// RPC runtime. docs/protocol.md is what it follows.
//
// Reading order: conn.go (Conn, Dial, Options), call.go (one logical call), retry.go
// (what happens after an attempt), errors.go, attempt.go (one request, one
// response), link.go (a connection and its streams), dial.go and endpoints.go
// (which node, and when), limits.go. Topics have a file each: health.go.
package client
