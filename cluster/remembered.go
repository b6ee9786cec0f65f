package cluster

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"quicproquo/cluster/datadir"
	"quicproquo/crypto/tlsid"
)

// remembered is how far each voter's store had come when this node last heard of it:
// what a node has applied is committed, and in its log for good. A voter that comes back
// with a log that ends before it has lost its disk, or got an older copy of it: with a
// node that lags it could elect a leader without what the cluster has acknowledged. It
// asks the others before it takes part (admission), and so learns that. Decision 0148.
//
// What is remembered outlives this process. A crash may take the last seconds of it:
// it is the less for that, never wrong.
type remembered struct {
	dir *datadir.Dir
	log *slog.Logger

	mu      sync.Mutex // guards the rest
	applied map[tlsid.NodeID]uint64
	changed bool
	saved   time.Time
}

// rememberInterval is how often it is written while it changes.
const rememberInterval = 10 * time.Second

func newRemembered(dir *datadir.Dir, log *slog.Logger) (*remembered, error) {
	r := &remembered{dir: dir, log: log, applied: map[tlsid.NodeID]uint64{}}
	data, err := dir.Peers()
	if err != nil {
		return nil, fmt.Errorf("read what is remembered of the other nodes: %w", err)
	}
	if len(data) == 0 {
		return r, nil
	}
	if err := json.Unmarshal(data, &r.applied); err != nil {
		// It guards against a loss elsewhere, so its own loss stops nobody.
		log.Warn("what was remembered of the other nodes can't be read, and begins anew", "error", err)
		r.applied = map[tlsid.NodeID]uint64{}
	}
	return r, nil
}

// of returns what is remembered of a voter; nothing of others, who lost their disk and
// say so (admission), or are new.
func (r *remembered) of(id tlsid.NodeID, members []Member) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keep(members)
	return r.applied[id]
}

// keep forgets those who do not vote.
func (r *remembered) keep(members []Member) {
	votes := map[tlsid.NodeID]bool{}
	for _, m := range members {
		votes[m.ID] = m.Voter
	}
	for id := range r.applied {
		if !votes[id] {
			delete(r.applied, id)
			r.changed = true
		}
	}
}

// note takes what the members said.
func (r *remembered) note(statuses map[tlsid.NodeID]Status, members []Member, self tlsid.NodeID, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, s := range statuses {
		if id != self && s.AppliedIndex > r.applied[id] {
			r.applied[id], r.changed = s.AppliedIndex, true
		}
	}
	r.keep(members)
	if !r.changed || now.Sub(r.saved) < rememberInterval {
		return
	}
	data, err := json.Marshal(r.applied)
	if err == nil {
		err = r.dir.WritePeers(data)
	}
	if err != nil {
		r.log.Warn("keep what is remembered of the other nodes", "error", err)
		return
	}
	r.changed, r.saved = false, now
}
