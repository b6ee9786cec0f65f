// Package groupstate is what this project puts around MLS (RFC 9420) so that accounts
// can talk in a group: who stands behind a leaf (Credential, Authenticator), what
// the members agree on beside their keys (Data), how a message travels (Wrap), and
// the sealed way back into a group for those who lost the thread (Return).
//
// Everything here is a function of its arguments. It must never do I/O, read a
// clock or keep anything.
//
// Reading order: credential.go, data.go, grant.go, payload.go, known.go, lineage.go,
// leaves.go (keys that our leaf had), departure.go (devices that are revoked), return.go,
// link.go.
package groupstate
