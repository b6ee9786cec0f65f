package raftlog

import (
	"errors"
	"fmt"
	"os"
	"time"

	raftwal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// walStore is a raft-wal whose Close also closes its meta store, which the
// library leaves open and locked: a node could not open the log again before its
// process ends.
type walStore struct {
	*raftwal.WAL
	meta *metadb.BoltMetaDB
}

// Close closes log and meta store.
func (w *walStore) Close() error { return errors.Join(w.WAL.Close(), w.meta.Close()) }

func openWAL(dir string) (*walStore, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	meta := &metadb.BoltMetaDB{}
	wal, err := raftwal.Open(dir, raftwal.WithMetaStore(meta),
		raftwal.WithSegmentFiler(unindexedFiler{segment.NewFiler(dir, fs.New())}))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open log %s: %w; if it is damaged, %s", dir, err, advice), meta.Close())
	}
	return &walStore{wal, meta}, nil
}

// unindexedFiler reads segments that raft-wal 0.4.0 sealed without an index.
//
// When raft takes back entries at the end of the log (a follower whose leader
// died before it could commit them), raft-wal seals the segment that they were
// in but writes no index block; after the next start it can't read one entry of
// that segment any more. The entries themselves are whole: such a segment is
// opened the way that the unsealed last one is, by scanning it. Entries beyond
// the segment's end are not asked for: the log's state says where it ends.
type unindexedFiler struct{ types.SegmentFiler }

// Open opens a sealed segment.
func (f unindexedFiler) Open(info types.SegmentInfo) (types.SegmentReader, error) {
	if info.IndexStart != 0 {
		return f.SegmentFiler.Open(info)
	}
	info.SealTime = time.Time{}
	return f.RecoverTail(info)
}
