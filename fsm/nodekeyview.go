package fsm

import (
	"errors"
	"fmt"
)

// NodeKeys returns what the cluster knows of its nodes' keys.
func (v *View) NodeKeys() (NodeKeys, error) {
	v.err = nil
	k := nodeKeys(v)
	return k, v.readError("node keys")
}

// NodeKeyChanges gets a value when what NodeKeys returns may have become another: by an
// entry or a restored snapshot. One value may stand for many changes. It is for one reader.
func (s *Store) NodeKeyChanges() <-chan struct{} { return s.keyChanges }

func (s *Store) signalNodeKeys() {
	select {
	case s.keyChanges <- struct{}{}:
	default: // a value waits already
	}
}

// Flush keeps what the store has applied so far, whatever happens to the machine.
func (s *Store) Flush() error {
	gen, err := s.acquire()
	if err != nil {
		return err
	}
	if err := errors.Join(gen.flush(), gen.release()); err != nil {
		return fmt.Errorf("flush store: %w", err)
	}
	return nil
}
