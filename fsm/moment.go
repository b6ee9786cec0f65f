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
	users    atomic.Int64 // readers, and the store while this is its newest
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
