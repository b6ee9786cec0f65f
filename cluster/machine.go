package cluster

import (
	"errors"
	"fmt"
	"io"

	"github.com/hashicorp/raft"

	"quicproquo/cluster/snapshot"
	"quicproquo/fsm"
)

// machine is the store as hashicorp/raft sees it. raft calls all methods but
// Persist from one goroutine.
type machine struct {
	store *fsm.Store
	meter *logMeter
	// fail stops the node; what it is told is what an operator reads.
	fail func(error)
	// committed hears of each batch's last entry, before it is applied.
	committed func(index, term uint64)
}

var (
	_ raft.BatchingFSM = (*machine)(nil)
	_ raft.FSM         = (*machine)(nil)
)

// Apply is ApplyBatch for one log.
func (m *machine) Apply(log *raft.Log) any {
	return m.ApplyBatch([]*raft.Log{log})[0]
}

// ApplyBatch applies the commands among logs in one storage batch. The response
// of a command is its []fsm.Result, nil when the store had it already (replay)
// or has stopped.
func (m *machine) ApplyBatch(logs []*raft.Log) []any {
	last := logs[len(logs)-1]
	m.committed(last.Index, last.Term)
	responses := make([]any, len(logs))
	commands := make([]fsm.Log, 0, len(logs))
	positions := make([]int, 0, len(logs))
	for i, log := range logs {
		if log.Type == raft.LogCommand {
			commands = append(commands, fsm.Log{Index: log.Index, Data: log.Data})
			positions = append(positions, i)
			m.meter.applied(log.Index, len(log.Data))
		}
	}
	if len(commands) == 0 {
		return responses
	}
	results, err := m.store.Apply(commands)
	if err != nil {
		// The store refuses everything from here on, so no replica can drift:
		// the node stops, and starts again from what the store last kept.
		m.fail(fmt.Errorf("apply log entries %d to %d: %w", commands[0].Index, commands[len(commands)-1].Index, err))
		return responses
	}
	for i, position := range positions {
		responses[position] = results[i]
	}
	return responses
}

// Snapshot pins nothing and returns at once: the checkpoint that Persist makes
// may be newer than raft's index, and entries that a checkpoint already holds
// are skipped on replay. A store that stopped gives no snapshot, for raft would
// label it with an index that it never reached.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	if err := m.store.Err(); err != nil {
		return nil, fmt.Errorf("snapshot of a stopped store: %w", err)
	}
	return checkpointer{m.store, m.meter, m.meter.position()}, nil
}

// Restore swaps the store's state for a snapshot that the snapshot store holds
// as a directory.
func (m *machine) Restore(source io.ReadCloser) error {
	var dir string
	for dir == "" {
		if checkpoint, ok := source.(interface{ Dir() string }); ok {
			dir = checkpoint.Dir()
			break
		}
		wrapper, ok := source.(raft.ReadCloserWrapper)
		if !ok {
			return errors.New("restore: the snapshot is not a checkpoint directory")
		}
		source = wrapper.WrappedReadCloser()
	}
	if err := m.store.Restore(dir); err != nil {
		return fmt.Errorf("restore snapshot %s: %w", dir, err)
	}
	return nil
}

// checkpointer makes the checkpoint, concurrently with applies.
type checkpointer struct {
	store    *fsm.Store
	meter    *logMeter
	position int64
}

// Persist places a checkpoint of hard links in the snapshot's directory.
func (c checkpointer) Persist(sink raft.SnapshotSink) error {
	local, ok := sink.(*snapshot.Sink)
	if !ok {
		return errors.Join(errors.New("persist: not our snapshot store"), sink.Cancel())
	}
	if err := local.Checkpoint(c.store); err != nil {
		return errors.Join(fmt.Errorf("persist snapshot: %w", err), sink.Cancel())
	}
	if err := sink.Close(); err != nil {
		return err
	}
	c.meter.snapshotDone(c.position)
	return nil
}

// Release has nothing to release.
func (checkpointer) Release() {}
