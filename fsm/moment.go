package fsm

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// moment is the state at one index, shared by all who read it: a snapshot of the
// storage costs several times what a small read costs, and calls come far more
// often than batches. The store keeps the newest one until a batch is committed,
// so it pins no deleted rows longer than its readers do.
type moment struct {
	gen      *generation
	snapshot *pebble.Snapshot
	meta     metaRow
	// settings are the cluster's at meta.index; nil: they have to be read.
	settings *[settingCount]uint64
	users    atomic.Int64 // readers, and the store while this is its newest
}

// effective are the cluster settings of a database from an index on, until others are
// published: every check reads several, which was an eighth of what a write costs a leader.
type effective struct {
	db     *pebble.DB
	from   uint64
	values [settingCount]uint64
}

// publishSettings is called before the batch is committed that changes them: whoever reads
// from a snapshot with that change finds them published, whoever reads from an older one
// sees that they are not of its time, and reads rows.
func (s *Store) publishSettings(tx *Tx) {
	s.effective.Store(&effective{db: tx.db, from: tx.meta.index, values: tx.settings})
	tx.settingsChanged = false
}

// settingsAt are the settings of a snapshot that shows the database at an index; nil: they
// have to be read. It must be called after the snapshot was taken.
func (s *Store) settingsAt(db *pebble.DB, index uint64) *[settingCount]uint64 {
	if e := s.effective.Load(); e != nil && e.db == db && e.from <= index {
		return &e.values
	}
	return nil
}

// moment returns the newest state, for use until release.
func (s *Store) moment() (*moment, error) {
	s.mu.Lock()
	if s.err != nil {
		defer s.mu.Unlock()
		return nil, s.err
	}
	if m := s.newestMoment; m != nil {
		m.users.Add(1)
		s.mu.Unlock()
		return m, nil
	}
	s.live.acquire()
	m := &moment{gen: s.live}
	s.mu.Unlock()

	m.snapshot = m.gen.db.NewSnapshot()
	m.users.Store(1)
	var err error
	if m.meta, err = readMeta(m.snapshot); err != nil {
		return nil, errors.Join(fmt.Errorf("open view: %w", err), m.release())
	}
	m.settings = s.settingsAt(m.gen.db, m.meta.index)
	s.keep(m)
	return m, nil
}

// acquire returns the live generation for use until release.
func (s *Store) acquire() (*generation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, s.err
	}
	s.live.acquire()
	return s.live, nil
}

// keep makes a moment the newest one unless the store has gone on meanwhile.
func (s *Store) keep(m *moment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.newestMoment == nil && s.err == nil && s.live == m.gen && m.meta.index >= s.index.Load() {
		m.users.Add(1)
		s.newestMoment = m
	}
}

// passed takes the newest moment from the store if it is older than index, for the
// caller to end. Callers hold mu, and hold it while the index moves: whoever sees an
// index must not be given a state before it.
func (s *Store) passed(index uint64) *moment {
	m := s.newestMoment
	if m == nil || m.meta.index >= index {
		return nil
	}
	s.newestMoment = nil
	return m
}

// end gives up the store's use of a moment. Not under mu: closing a snapshot may
// bring Pebble to tell the store something.
func (s *Store) end(m *moment) {
	if err := m.release(); err != nil {
		s.log.Error("close a snapshot", errAttr(err))
	}
}

// release gives a use up; the last one ends the snapshot.
func (m *moment) release() error {
	if m == nil || m.users.Add(-1) != 0 {
		return nil
	}
	return errors.Join(m.snapshot.Close(), m.gen.release())
}
