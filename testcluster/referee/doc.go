// Package referee is a server for clients under test: a real node, reached through three
// addresses, that plays to a client what it must cope with (a late answer, an outcome
// that is unknown, a node that lags, stops or dies, a cluster that was restored), writes
// down what the client does, and judges it by docs/protocol.md.
//
// It never serves people: its addresses are those of package liar.
//
// Reading order: referee.go (the server), acts.go (what is played), record.go (what is
// written down), judge.go (the rules).
package referee
