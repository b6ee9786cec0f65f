// Package snapshot is raft's snapshot store: a snapshot is a directory with a
// checkpoint of the store (hard links), and becomes a stream only when a
// follower needs it.
//
// It must never show a snapshot that is not whole on disk, and never trust a
// stream: sizes and names are checked against its header, bytes against
// checksums.
//
// A snapshot's stream is its header file (a framed schemas.SnapshotHeader), then
// for each file of the header, in order, its bytes and their xxhash64 (8 bytes,
// little endian).
//
// Reading order: store.go (create, list, open), sink.go (writing), stream.go.
package snapshot
