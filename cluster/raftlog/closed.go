package raftlog

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/hashicorp/raft"
)

// closedFile is written when a log is closed and removed when it is opened. With
// it a log that lost its end while nobody used it is told from one that a crash
// cut off within a write: raft-wal takes both for the second and goes on without
// the entries.
const closedFile = "closed"

// closedState is what a log was when it was closed.
type closedState struct {
	Kind        Kind   `json:"kind"`
	First       uint64 `json:"first"`
	Last        uint64 `json:"last"`
	LastEntry   uint64 `json:"lastEntry"` // checksum, 0 without entries
	TermAndVote uint64 `json:"termAndVote"`
}

func (s *Stores) state() (closedState, error) {
	state := closedState{Kind: s.kind, TermAndVote: s.stable.sum()}
	var err error
	if state.First, state.Last, err = s.log.bounds(); err != nil || state.Last == 0 {
		return state, err
	}
	var last raft.Log
	if err := s.log.GetLog(state.Last, &last); err != nil {
		return state, err
	}
	state.LastEntry = checksum(&last)
	return state, nil
}

// checkClosed compares an opened log with what it was when it was closed, if it
// was, and removes that note before anything is written.
func (s *Stores) checkClosed() error {
	file := filepath.Join(s.dir, closedFile)
	content, err := readSealed(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var was closedState
	if err := json.Unmarshal(content, &was); err != nil {
		return fmt.Errorf("%w: read %s: %w; %s", ErrDamaged, file, err, advice)
	}
	is, err := s.state()
	if err != nil {
		return err
	}
	if is != was {
		return fmt.Errorf("%w: %s has entries %d to %d in its %s store, but was closed with %d to %d in %s; %s",
			ErrDamaged, s.dir, is.First, is.Last, is.Kind, was.First, was.Last, was.Kind, advice)
	}
	return removeFile(file)
}

// noteClosed writes the note. A log that had a fault gets none.
func (s *Stores) noteClosed() error {
	if s.log.failed.Load() != nil {
		return nil
	}
	state, err := s.state()
	if err != nil {
		return err
	}
	content, err := json.Marshal(state)
	if err != nil {
		return err
	}
	return writeSealed(filepath.Join(s.dir, closedFile), content)
}
