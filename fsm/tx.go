package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"capnproto.org/go/capnp/v3"
	"github.com/cockroachdb/pebble/v2"

	"quicproquo/schemas"
)

// Tx is all that a rule may touch while the log is applied: typed tables, log
// time, and the queues whose readers are to be woken. Rules see their own
// writes and those of earlier entries, committed or not.
//
// A read that fails and a row that can't be right are remembered in err and give
// zero values; nothing of the batch is then committed, so rules need no error
// paths of their own.
//
// Owned by Apply, under Store.applying.
type Tx struct {
	db    *pebble.DB
	batch *pebble.Batch
	stage stage // what has not reached the batch yet
	// indexed is set once the batch can be read: see readable.
	indexed bool
	// dirty has a bit for each table with uncommitted rows that no cache mirrors.
	dirty   uint64
	err     error
	decoder decoder
	// meta is what the batch has applied, committedMeta what the store has.
	meta, committedMeta metaRow
	digest              digester
	newMarks            []Mark
	results             resultSlab
	dedupe              dedupe

	settings        [settingCount]uint64
	settingsChanged bool // by this batch: see Store.publishSettings

	// queues and bodies mirror the rows of heads and bodyRefs. Changed entries
	// are in the lists and reach the batch when it is committed.
	queues twoGen[QueueID, queueEntry]
	bodies twoGen[uint64, bodyEntry]
	// accounts and channels mirror rows of accounts, usages and channels, those
	// that are not there included. Changes go to the batch at once.
	accounts    twoGen[AccountKey, accountEntry]
	channels    twoGen[ChannelID, channelRow]
	targets     []target      // scratch
	lastQueue   *queueEntry   // of this batch
	lastAccount *accountEntry // of this batch
	dirtyQueues []*queueEntry
	dirtyBodies []*bodyEntry
	touched     []AccountKey // accounts whose watchers are to be woken
	newNodeKeys bool         // nodes' keys have changed
	bodiesGiven uint64       // shared bodies stored by the command that runs
	purged      uint64       // rows that timers of this command have purged

	key, key2, value []byte // scratch
}

// queueEntry is a queue's head in memory.
type queueEntry struct {
	id QueueID
	head
	dirty   bool
	touched bool
	// steps is what the queue counts in its account's usage.
	steps uint64
	// tail is what the row at last is, as far as it is known: see tailOf.
	tail envelopeRow
	// changedFrom is the lowest sequence number whose row the uncommitted batch
	// has written, 0 for none: rows below it may be read as committed.
	changedFrom uint64
}

// bodyEntry is the number of queues that hold a shared body.
type bodyEntry struct {
	id    uint64
	refs  uint64
	dirty bool
}

const (
	// cachedQueues is how many heads each generation of the cache holds: about
	// 250 bytes each.
	cachedQueues = 1 << 16
	// cachedBodies is the same for reference counts: about 80 bytes each.
	cachedBodies = 1 << 14
	// cachedAccounts is the same for accounts: about 500 bytes each.
	cachedAccounts = 1 << 15
)

var errBroken = errors.New("an invariant of the store is broken")

// brokenf describes a condition that correct code and undamaged files exclude.
func brokenf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errBroken, fmt.Sprintf(format, args...))
}

// fail keeps the first error of the batch.
func (tx *Tx) fail(err error) {
	if tx.err == nil {
		tx.err = err
	}
}

// now is the log time in milliseconds since 1970. It never goes back.
func (tx *Tx) now() uint64 { return tx.meta.stamp }

func (tx *Tx) setting(id settingID) uint64 { return tx.settings[id] }

func (tx *Tx) putSetting(id settingID, value uint64) {
	tx.settings[id], tx.settingsChanged = value, true
	tx.set(tableSettings, settingKey(settingTable[id].Name), le.AppendUint64(nil, value))
}

// queue returns a queue's head for reading and changing; putQueue makes the
// change count.
func (tx *Tx) queue(q *QueueID) *queueEntry {
	// A check and then its command ask for the same queue.
	if tx.lastQueue != nil && tx.lastQueue.id == *q {
		return tx.lastQueue
	}
	e := tx.queues.get(*q)
	if e == nil {
		e = tx.loadQueue(q)
	}
	tx.lastQueue = e
	return e
}

func (tx *Tx) loadQueue(q *QueueID) *queueEntry {
	e := &queueEntry{id: *q}
	tx.key = appendHeadKey(tx.key[:0], q)
	if row, ok := tx.committed(tx.key); ok {
		if err := e.decode(row); err != nil {
			tx.fail(err)
		}
		e.steps = e.bytes / usageStep
	}
	tx.queues.put(*q, e)
	return e
}

func (tx *Tx) queueHead(q *QueueID) head { return tx.queue(q).head }

func (tx *Tx) putQueue(e *queueEntry) {
	if !e.valid() {
		tx.fail(brokenf("a queue has the head %+v", e.head))
	}
	tx.mark(e)
	if steps := e.bytes / usageStep; steps != e.steps {
		tx.putUsage(e.id.Owner, tx.usage(e.id.Owner)+steps-e.steps)
		e.steps = steps
	}
	var row [guestHeadSize]byte
	e.encode(row[:])
	tx.key = appendHeadKey(tx.key[:0], &e.id)
	tx.digest.row(opSet, tx.key, row[:e.encodedLen()])
}

// headsOf returns the queues whose heads' keys begin with prefix, those of the
// uncommitted batch included, in the order of their keys.
func (tx *Tx) headsOf(prefix []byte) (queues []QueueID) {
	err := eachPrefix(tx.db, prefix, func(key, _ []byte) bool {
		q, rest, ok := readQueue(key[1:])
		if !ok || len(rest) != 0 {
			tx.fail(fmt.Errorf("queue head: %w: key of %d bytes", errRow, len(key)))
			return false
		}
		queues = append(queues, q)
		return true
	})
	if err != nil {
		tx.fail(err)
	}
	var key [maxKey]byte
	for _, e := range tx.dirtyQueues {
		if bytes.HasPrefix(appendHeadKey(key[:0], &e.id), prefix) {
			queues = append(queues, e.id)
		}
	}
	slices.SortFunc(queues, func(a, b QueueID) int {
		return bytes.Compare(appendHeadKey(nil, &a), appendHeadKey(nil, &b))
	})
	return slices.Compact(queues)
}

// mark puts a queue on the list of those that the batch changes.
func (tx *Tx) mark(e *queueEntry) {
	if !e.dirty {
		e.dirty = true
		tx.dirtyQueues = append(tx.dirtyQueues, e)
	}
}

// markRow is mark for a change of the queue's row at seq or of rows behind it.
func (tx *Tx) markRow(e *queueEntry, seq uint64) {
	tx.mark(e)
	if e.changedFrom == 0 || seq < e.changedFrom {
		e.changedFrom = seq
	}
}

// touch wakes those who watch the queue, once the batch is committed.
func (tx *Tx) touch(e *queueEntry) {
	tx.mark(e)
	e.touched = true
}

// touchAccount wakes those who watch an account, once the batch is committed: its
// sessions or devices have changed.
func (tx *Tx) touchAccount(key AccountKey) { tx.touched = append(tx.touched, key) }

func (tx *Tx) putEnvelope(h *queueEntry, seq uint64, e *envelopeRow) {
	tx.key = appendEnvelopeKey(tx.key[:0], &h.id, seq)
	key, value := tx.stage.set(tx.key, e.encodedLen())
	e.encode(value)
	tx.digest.row(opSet, key, value)
	tx.markRow(h, seq)
	if seq == h.last {
		h.tail = tailFrom(e)
	}
}

// deleteEnvelopes removes the rows of [from, to]. A few are deleted one by one:
// range tombstones are dear while they lie in the memtable (docs/decisions/0023).
// once says that every row there was written exactly once: no loss marker has
// taken the place of an envelope.
func (tx *Tx) deleteEnvelopes(h *queueEntry, from, to uint64, once bool) {
	tx.markRow(h, from)
	if to-from >= maxPointDeletes {
		tx.key = appendEnvelopeKey(tx.key[:0], &h.id, from)
		tx.key2 = appendEnvelopeKey(tx.key2[:0], &h.id, to+1)
		tx.deleteRange(tableEnvelopes, tx.key, tx.key2)
		return
	}
	for seq := from; seq <= to; seq++ {
		tx.key = appendEnvelopeKey(tx.key[:0], &h.id, seq)
		if once {
			tx.deleteOnce(tableEnvelopes, tx.key)
		} else {
			tx.delete(tableEnvelopes, tx.key)
		}
	}
}

const maxPointDeletes = 64

// eachEnvelope visits the rows of [from, to] in order until visit returns false.
// The row is valid during the call only.
func (tx *Tx) eachEnvelope(h *queueEntry, from, to uint64, visit func(uint64, *envelopeRow) bool) {
	if from > to {
		return
	}
	reader := pebble.Reader(tx.db)
	if h.changedFrom != 0 && to >= h.changedFrom {
		reader = tx.readable()
	}
	if err := eachEnvelope(reader, &h.id, from, to, visit); err != nil {
		tx.fail(err)
	}
}

// putBody stores a body that refs queues share and returns its id.
func (tx *Tx) putBody(body []byte, refs uint64) uint64 {
	// The number of the command is unique; a command stores a few bodies at most.
	id := tx.meta.commands*schemas.MaxDeliveries + tx.bodiesGiven
	if tx.bodiesGiven++; tx.bodiesGiven > schemas.MaxDeliveries {
		tx.fail(brokenf("command %d stores more than %d shared bodies", tx.meta.commands, schemas.MaxDeliveries))
	}
	tx.key = appendBodyKey(tx.key[:0], tableBodies, id)
	tx.set(tableBodies, tx.key, body)
	e := &bodyEntry{id: id, refs: refs}
	tx.bodies.put(id, e)
	tx.putBodyRefs(e)
	return id
}

func (tx *Tx) putBodyRefs(e *bodyEntry) {
	if !e.dirty {
		e.dirty = true
		tx.dirtyBodies = append(tx.dirtyBodies, e)
	}
	var row [8]byte
	le.PutUint64(row[:], e.refs)
	tx.key = appendBodyKey(tx.key[:0], tableBodyRefs, e.id)
	tx.digest.row(opSet, tx.key, row[:])
}

// releaseBody gives up one reference; with the last one the body goes.
func (tx *Tx) releaseBody(id uint64) {
	e := tx.bodies.get(id)
	if e == nil {
		e = &bodyEntry{id: id}
		tx.key = appendBodyKey(tx.key[:0], tableBodyRefs, id)
		if row, ok := tx.committed(tx.key); ok {
			refs, err := decodeNumber(row)
			if err != nil {
				tx.fail(err)
			}
			e.refs = refs
		}
		tx.bodies.put(id, e)
	}
	if e.refs == 0 {
		tx.fail(brokenf("body %d is released more often than it was shared", id))
		return
	}
	e.refs--
	tx.putBodyRefs(e)
	if e.refs == 0 {
		tx.key = appendBodyKey(tx.key[:0], tableBodies, id)
		tx.deleteOnce(tableBodies, tx.key)
	}
}

func (tx *Tx) putDue(bucket uint64, q *QueueID, d *dueRow) {
	var row [dueRowSize]byte
	d.encode(row[:])
	tx.key = appendDueKey(tx.key[:0], bucket, q)
	tx.set(tableDue, tx.key, row[:])
}

func (tx *Tx) deleteDue(bucket uint64, q *QueueID) {
	tx.key = appendDueKey(tx.key[:0], bucket, q)
	tx.delete(tableDue, tx.key)
}

func (tx *Tx) putEnd(expires uint64, q *QueueID, seq uint64) {
	tx.key = appendEndKey(tx.key[:0], endsAt(expires), q, seq)
	tx.set(tableEnds, tx.key, nil)
}

func (tx *Tx) deleteEnd(expires uint64, q *QueueID, seq uint64) {
	tx.key = appendEndKey(tx.key[:0], endsAt(expires), q, seq)
	tx.delete(tableEnds, tx.key)
}

// dueEnds returns keys of the first rows of ends whose second has come.
func (tx *Tx) dueEnds(limit uint64) (due [][]byte) {
	if limit == 0 {
		return nil
	}
	err := eachEnd(tx.reader(tableEnds), tx.now()/1000, func(key []byte) bool {
		due = append(due, clone(key))
		return uint64(len(due)) < limit
	})
	if err != nil {
		tx.fail(err)
	}
	return due
}

// dueQueue is a row of the due table.
type dueQueue struct {
	bucket uint64
	queue  QueueID
	row    dueRow
}

// dueQueues returns the first rows of the due table up to a bucket, limit at most.
func (tx *Tx) dueQueues(bucket, limit uint64) []dueQueue {
	var list []dueQueue
	err := eachDue(tx.reader(tableDue), bucket, func(d *dueQueue) bool {
		list = append(list, *d)
		return uint64(len(list)) < limit
	})
	if err != nil {
		tx.fail(err)
	}
	return list
}

func (tx *Tx) anyDue(bucket uint64) bool {
	return len(tx.dueQueues(bucket, 1)) > 0
}

// row reads a row of a topic's table as the rules must see it. The value is
// valid until the next read.
func (tx *Tx) row(t table, key []byte) ([]byte, bool) { return tx.get(tx.reader(t), key) }

// each visits the rows of a topic's table whose keys begin with prefix, in
// order, until visit returns false. visit must not read or write rows.
func (tx *Tx) each(t table, prefix []byte, visit func(key, value []byte) bool) {
	if err := eachPrefix(tx.reader(t), prefix, visit); err != nil {
		tx.fail(err)
	}
}

// The lines below are what the typed tables are made of.

func (tx *Tx) set(t table, key, value []byte) {
	_, room := tx.stage.set(key, len(value))
	copy(room, value)
	tx.digest.row(opSet, key, value)
	tx.dirty |= 1 << t
}

func (tx *Tx) delete(t table, key []byte) {
	tx.stage.add(opDelete, key, 0)
	tx.digest.row(opDelete, key, nil)
	tx.dirty |= 1 << t
}

func (tx *Tx) deleteOnce(t table, key []byte) {
	tx.stage.add(opDeleteOnce, key, 0)
	tx.digest.row(opDelete, key, nil)
	tx.dirty |= 1 << t
}

// deleteRange removes the rows from a key to before another. What was written
// before must reach the batch before it, what is written later after it.
func (tx *Tx) deleteRange(t table, from, to []byte) {
	tx.flushStage()
	if err := tx.batch.DeleteRange(from, to, nil); err != nil {
		tx.fail(fmt.Errorf("write to batch: %w", err))
	}
	tx.digest.row(opDeleteRange, from, to)
	tx.dirty |= 1 << t
}

func (tx *Tx) flushStage() {
	if err := tx.stage.flush(tx.batch); err != nil {
		tx.fail(err)
	}
}

// committed reads a row that the uncommitted batch can't have changed. The
// value is valid until the next read.
func (tx *Tx) committed(key []byte) ([]byte, bool) { return tx.get(tx.db, key) }

func (tx *Tx) get(reader pebble.Reader, key []byte) ([]byte, bool) {
	value, ok, err := getRow(reader, key, tx.value[:0])
	if err != nil {
		tx.fail(err)
	}
	tx.value = value
	return value, ok
}

// reader returns what shows a table as the rules must see it.
func (tx *Tx) reader(t table) pebble.Reader {
	if tx.dirty&(1<<t) == 0 {
		return tx.db
	}
	return tx.readable()
}

// readable makes the batch one that can be read through to the store. That
// costs every later write an insertion into an index, so only the rare rule
// that may read what this very batch has written asks for it.
func (tx *Tx) readable() pebble.Reader {
	tx.flushStage()
	if !tx.indexed {
		indexed := tx.db.NewIndexedBatch()
		if err := indexed.Apply(tx.batch, nil); err != nil {
			tx.fail(fmt.Errorf("index batch: %w", err))
		}
		if err := tx.batch.Close(); err != nil {
			tx.fail(fmt.Errorf("close batch: %w", err))
		}
		tx.batch, tx.indexed = indexed, true
	}
	return tx.batch
}

// numberResult is the result of a command whose results struct is one number.
func (tx *Tx) numberResult(n uint64) Result { return Result{Data: tx.results.numbers(n)} }

// flagResult is the result of a command whose results struct is one truth value.
func (tx *Tx) flagResult(yes bool) Result {
	if yes {
		return tx.numberResult(1)
	}
	return tx.numberResult(0)
}

// emptyResult is the result of a command whose results struct is empty.
func (tx *Tx) emptyResult() Result { return Result{Data: tx.results.numbers()} }

// expireResult is ExpireResults.
func (tx *Tx) expireResult(removed uint64, more bool) Result {
	flag := uint64(0)
	if more {
		flag = 1
	}
	return Result{Data: tx.results.numbers(removed, flag)}
}

// messageResult frames a results struct that a rule has built.
func (tx *Tx) messageResult(msg *capnp.Message, err error) Result {
	var data []byte
	if err == nil {
		data, err = msg.Marshal()
	}
	if err != nil {
		tx.fail(fmt.Errorf("encode results: %w", err))
	}
	return Result{Data: data}
}

func (tx *Tx) outcomesResult(outcomes []outcome) Result {
	data, err := encodeOutcomes(outcomes)
	if err != nil {
		tx.fail(fmt.Errorf("encode outcomes: %w", err))
	}
	return Result{Code: schemas.Code_ok, Data: data}
}
