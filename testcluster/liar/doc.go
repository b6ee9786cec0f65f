// Package liar is a node that lies: a front before a real cluster that has a node's
// certificate, takes clients' connections as that node would, and hands their calls
// on to an honest node, changed as a script says. With it tests see what a client
// believes that it should not.
//
// It can do what a node can that somebody has taken over, and no more. It sees each
// session token that passes, and acts with it: a session is bound to a connection by
// a signature over that connection's TLS exporter (docs/decisions/0060), which the
// front can't make for its own connection to the honest node, so it first has the
// cluster take tokens alone (the setting bearer_tokens: a node writes what it likes
// into the log). It reads and changes every answer, puts envelopes into any queue in
// anybody's name, and remembers everything. It has no key of any account or device,
// and breaks no signature and no encryption.
//
// It must never be linked into a program that serves people.
//
// Reading order: front.go (connections), call.go (one call), methods.go (what the
// calls are about), rules.go (the script language), verbs.go, writes.go,
// answers.go and envelopes.go (the lies), memory.go (what it remembers), patron.go (one
// client), outsider.go (an account that helps it), node.go (what it does by itself).
package liar
