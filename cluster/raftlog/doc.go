// Package raftlog keeps the raft log and raft's own few values on disk.
//
// Two kinds of log store: boltdb (hashicorp/raft-boltdb, the default) and wal
// (hashicorp/raft-wal, faster and younger). The stable store is in raft-boltdb
// with either. Neither checks what it reads as far as we need, so every entry is
// stored with a checksum over all of it and verified on every read from disk; a
// mismatch stops the node.
//
// It must never write without sync, never read an entry without its checksum,
// and never lose an entry while it moves a log from one kind to the other.
//
// Reading order: stores.go (open, close), checked.go (checksums), bolt.go,
// migrate.go.
package raftlog
