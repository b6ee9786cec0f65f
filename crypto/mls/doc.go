// Package mls implements the Messaging Layer Security protocol, RFC 9420, with SelfRemove,
// the safe exporter and last-resort key packages of draft-ietf-mls-extensions.
//
// A [Group] is one epoch, an immutable value. Every step returns the next value:
//
//	group, err := mls.Create(cfg, identity, groupID, nil, now)
//	pending, err := group.Commit(mls.CommitOptions{Add: keyPackages}, now)
//	// save pending.Next, publish pending.Commit; if the delivery service accepts it:
//	group = pending.Next // else continue from pending.Current
//	group, message, err := group.Encrypt(plaintext, aad) // save group, then send
//	group, event, err := group.Process(message, now)
//
// There is no merge, clear or rollback: losing a race means dropping a value. A value
// that was dropped should be forgotten soon, since it holds the keys that its successor
// has deleted. A refused message leaves nothing behind. The public part, [PublicGroup],
// follows a group without its secrets.
//
// This package must never do I/O, read a clock (now is an argument), keep storage, or
// send application data unencrypted. Errors that refuse a message carry the
// [rule.Rule] it broke; one that does not decrypt says [message.ErrDecrypt] only.
//
// The layers below are packages of their own: crypto/codec, crypto/suite, then rule,
// treemath, tree, schedule and message. Reading order here: config.go, credential.go,
// client.go, public.go, proposals.go, change.go, among.go and taken.go (what leaves need
// of each other), stage.go, group.go, encrypt.go, commit.go, choose.go (which proposals),
// process.go, echo.go (own messages that come back), join.go, external.go, propose.go,
// reinit.go, history.go (members of past epochs), retire.go (keys that go), safe.go (the
// safe exporter), state.go, events.go, limits.go.
package mls
