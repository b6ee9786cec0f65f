// Package raftlog keeps the raft log and raft's own few values on disk.
//
// There are two kinds of log store: boltdb (hashicorp/raft-boltdb, the default)
// and wal (hashicorp/raft-wal, faster and younger). The stable store, raft's term
// and vote, is in raft-boltdb with either. Neither library notices bit rot, so
// everything is stored with checksums of ours: every entry, the term and the
// vote, the list of the wal's segments; the structure of a bolt file is walked
// before the library maps it (docs/decisions/0030, 0031).
//
// It must never write without sync, never hand out an entry that is not what was
// written, and never lose an entry while it moves a log from one kind to the
// other. Damage is an error that names the file and says what to do, never a
// panic; found while raft runs it is also told to Options.OnFault.
//
// Files in the directory:
//
//	kind      the kind of store, written last when a directory is made
//	raft.db   the stable store and, with boltdb, the log
//	wal/      with wal: segments, and their list in the file state
//	closed    what the log was when it was closed; absent while it is open
//
// Reading order: stores.go (open, close, verify), checked.go (entries),
// stable.go (term and vote), bolt.go and pages.go, wal.go, closed.go, kind.go,
// migrate.go, files.go.
package raftlog
