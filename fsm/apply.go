package fsm

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"quicproquo/internal/planted"
	"quicproquo/schemas"
)

// Log is one entry of the raft log.
type Log struct {
	Index uint64
	// Data is a sealed batch (schemas.SealBatch).
	Data []byte
}

// Apply applies log entries in order, in one storage batch, and returns the
// results of each entry's commands. Entries at or below Index were applied
// before: they are skipped and their results are nil. Data is not kept.
//
// An error means that this node must stop: an entry is corrupt or not known to
// this build, the storage failed, or an invariant is broken. Of the entry that
// failed nothing is applied; of those before it in the call, whole ones or none.
// The error stays: every later call returns it.
//
// Calls are serialized. Views see a batch whole or not at all.
func (s *Store) Apply(logs []Log) ([][]Result, error) {
	s.applying.Lock()
	defer s.applying.Unlock()
	if err := s.Err(); err != nil {
		return nil, err
	}
	results, err := s.tx.applyLogs(s, logs)
	if err != nil {
		return nil, s.fail(err)
	}
	return results, nil
}

// maxBatchBytes is how large a storage batch may become before it is committed
// between two log entries, so that a long run of large entries does not have to
// fit in memory twice.
const maxBatchBytes = 2 << 20

// maxStamp bounds log time, so that sums and generations of it stay in range: the
// year 10889. A leader whose clock is beyond it is wrong.
const maxStamp = 1 << 48

func (tx *Tx) applyLogs(s *Store, logs []Log) (results [][]Result, err error) {
	defer rescue(&err)
	results = make([][]Result, len(logs))
	tx.begin()
	defer tx.abandon()
	for i := range logs {
		if logs[i].Index <= tx.meta.index {
			continue
		}
		if results[i], err = tx.applyLog(s, &logs[i]); err != nil {
			return nil, fmt.Errorf("apply log entry %d: %w", logs[i].Index, err)
		}
		if tx.batch.Len()+len(tx.stage.data) > maxBatchBytes && i+1 < len(logs) {
			if err := tx.commit(s); err != nil {
				return nil, err
			}
			tx.begin()
		}
	}
	return results, tx.commit(s)
}

// applyLog applies the batch of one log entry.
func (tx *Tx) applyLog(s *Store, entry *Log) ([]Result, error) {
	batch, err := s.opener.OpenBatch(entry.Data)
	if err != nil {
		return nil, err
	}
	entries, err := batch.Entries()
	if err != nil {
		return nil, fmt.Errorf("read batch: %w", err)
	}
	if n := entries.Len(); n > schemas.MaxBatchEntries {
		return nil, fmt.Errorf("read batch: %d entries, at most %d are written", n, schemas.MaxBatchEntries)
	}
	results := make([]Result, entries.Len())
	before := tx.meta.commands
	tx.meta.index, tx.meta.stamp = entry.Index, max(tx.meta.stamp, min(batch.StampMs(), maxStamp))
	tx.meta.stamp += planted.Noise()
	tx.digest.begin(tx.meta.digest, tx.meta.index, tx.meta.stamp)
	tx.advanceDedupe()
	for i := range results {
		frame, err := entries.At(i)
		if err != nil {
			return nil, fmt.Errorf("read command %d: %w", i, err)
		}
		r, err := tx.decoder.decode(frame)
		if err != nil {
			return nil, fmt.Errorf("command %d: %w", i, err)
		}
		tx.meta.commands++
		results[i] = tx.run(r)
		tx.digest.result(&results[i])
		if tx.err != nil {
			return nil, fmt.Errorf("command %d: %w", i, tx.err)
		}
	}
	tx.meta.digest = tx.digest.end()
	if tx.meta.commands/markEvery != before/markEvery {
		tx.newMarks = append(tx.newMarks, Mark{tx.meta.index, tx.meta.digest})
	}
	return results, nil
}

// run walks one command through its gates: size and request id, an earlier
// outcome, the kind of actor, the command's own check, the command.
func (tx *Tx) run(r *request) Result {
	c := commandOf(r.tag)
	if no := c.admit(r); no.refused() {
		return Result{Code: no.code, Value: no.value}
	}
	if r.idLen == 0 {
		return tx.decide(c, r)
	}
	if result, ok := tx.recorded(r); ok && !planted.On(planted.DedupeOff) {
		return result
	}
	result := tx.decide(c, r)
	if planted.On(planted.RequestIDAlone) {
		tx.dedupe.anyCommand()
	}
	tx.record(result)
	return result
}

func (tx *Tx) decide(c *command, r *request) Result {
	no := c.permit(r)
	if !no.refused() {
		no = c.check(tx, r)
	}
	if planted.On(planted.EpochCheckOff) && no.code == schemas.Code_epochConflict {
		no = refusal{}
	}
	if no.refused() {
		return Result{Code: no.code, Value: no.value}
	}
	tx.bodiesGiven = 0
	return c.apply(tx, r)
}

func (tx *Tx) begin() {
	tx.batch = tx.db.NewBatch(pebble.WithMaxRetainedSizeBytes(2 * maxBatchBytes))
	tx.indexed, tx.dirty, tx.lastQueue, tx.lastAccount = false, 0, nil, nil
}

// abandon gives up what was not committed. The caches are of no use then, but
// neither is the store: the error that led here stays.
func (tx *Tx) abandon() {
	if tx.batch != nil {
		_ = tx.batch.Close()
		tx.batch = nil
	}
}

// commit writes the batch, with the heads and counts that it changed and with
// the applied index, and then lets readers know.
func (tx *Tx) commit(s *Store) error {
	if tx.meta == tx.committedMeta {
		return nil
	}
	for _, e := range tx.dirtyQueues {
		tx.key = appendHeadKey(tx.key[:0], &e.id)
		_, row := tx.stage.set(tx.key, e.encodedLen())
		e.encode(row)
	}
	for _, e := range tx.dirtyBodies {
		tx.writeBodyRefs(e)
	}
	_, row := tx.stage.set(metaKey(), metaRowSize)
	tx.meta.encode(row)
	tx.flushStage()
	if tx.err != nil {
		return tx.err
	}
	if tx.settingsChanged {
		s.publishSettings(tx)
	}
	if err := tx.batch.Commit(pebble.NoSync); err != nil {
		return fmt.Errorf("commit up to log entry %d: %w", tx.meta.index, err)
	}
	tx.abandon()
	tx.committedMeta = tx.meta
	s.published(tx)
	tx.settle(s)
	return nil
}

// writeBodyRefs writes a count as it is at the end of the batch. The digest has
// seen every step of it.
func (tx *Tx) writeBodyRefs(e *bodyEntry) {
	tx.key = appendBodyKey(tx.key[:0], tableBodyRefs, e.id)
	if e.refs == 0 {
		tx.stage.add(opDelete, tx.key, 0)
		return
	}
	_, row := tx.stage.set(tx.key, 8)
	le.PutUint64(row, e.refs)
}

// settle wakes the watchers of touched queues and makes the caches mirror the
// committed store.
func (tx *Tx) settle(s *Store) {
	for _, e := range tx.dirtyQueues {
		if e.touched {
			s.watches.wake(&e.id)
		}
		e.dirty, e.touched, e.changedFrom = false, false, 0
	}
	for _, e := range tx.dirtyBodies {
		e.dirty = false
	}
	for i := range tx.touched {
		s.watches.wakeAccount(tx.touched[i])
	}
	if tx.newNodeKeys {
		tx.newNodeKeys = false
		s.signalNodeKeys()
	}
	tx.touched = tx.touched[:0]
	tx.dirtyQueues, tx.dirtyBodies = tx.dirtyQueues[:0], tx.dirtyBodies[:0]
	tx.newMarks = tx.newMarks[:0]
	clear(tx.dedupe.pending)
	tx.queues.turn()
	tx.bodies.turn()
	tx.accounts.turn()
	tx.channels.turn()
}
