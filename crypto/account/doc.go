// Package account is the cryptographic side of accounts: OPAQUE (RFC 9807)
// over ristretto255-SHA512, the cluster's secrets for it, and user names
// (RFC 8265). A password never leaves the client, not even as a hash, and what
// a node stores about it is useless without the cluster's OPRF seed.
//
// What the package must never do:
//
//   - let an observer tell a known name from an unknown one: [Server.LoginStart]
//     does the same work, gives the same lengths, and evaluates the same name
//     in the same way on every node, before and after it is registered;
//   - keep state between the two steps of a login: it travels sealed with the
//     client, so that any node finishes what another one began;
//   - print, log or encode a secret in the clear: [Setup.Wrap] is the only way
//     out of a [Setup].
//
// It has no storage, no clock and no network. Once-only acceptance of a login
// ([Login].ID), failure counts and the rule that a name has one account belong
// to the replicated log.
//
// Reading order: suite.go (the one configuration), username.go, setup.go and
// wrap.go (the cluster's secrets), oprf.go and ake.go (the server's half of
// RFC 9807, in the RFC's own names), record.go, handshake.go and registration.go
// (what travels sealed), server.go, session.go, client.go, errors.go. docs/decisions/0050 to 0052 and 0060 give the reasons.
package account
