// Package interop tests package mls against other MLS implementations: it pairs cmd/mlspeer
// with peers over foreign stacks, as child processes that speak the same JSON lines, and
// checks that they agree on every epoch (RFC 9420). It holds tests only and must never be
// imported.
//
// The foreign peers live in node/ and need Node.js with npm; README.md describes their
// protocol and how to add another stack.
//
// Reading order: stacks_test.go (who is tested and with which suites), peer_test.go (one
// child process), harness_test.go (building, installing and reusing them), room_test.go (a
// group of peers and what must hold in it), scenarios_test.go (the table), random_test.go,
// defects_test.go (what the foreign stacks do wrong and ours must refuse), interop_test.go
// (the tests).
package interop
