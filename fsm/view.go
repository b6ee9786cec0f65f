package fsm

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"quicproquo/schemas"
)

// View reads the store as it was at one index. It must be closed, soon: it
// keeps deleted rows on the disk. A View is for one goroutine.
type View struct {
	store    *Store
	moment   *moment
	snapshot *pebble.Snapshot // the moment's, and so is meta
	meta     metaRow
	clock    uint64 // see JudgeAt
	err      error  // the first failed read of a check
	decoder  *decoder
	value    []byte
}

// View opens a consistent read. The error is why the store has stopped, or of
// the storage.
func (s *Store) View() (*View, error) {
	m, err := s.moment()
	if err != nil {
		return nil, err
	}
	return &View{store: s, moment: m, snapshot: m.snapshot, meta: m.meta}, nil
}

// Close ends the read.
func (v *View) Close() error { return v.moment.release() }

// Index is the last log entry that the view shows.
func (v *View) Index() uint64 { return v.meta.index }

// Stamp is the log time of that entry, in milliseconds since 1970.
func (v *View) Stamp() uint64 { return v.meta.stamp }

// JudgeAt has the view's checks judge at the cluster's present time, milliseconds since
// 1970, if the log's is behind it: on a quiet cluster the log's time stands still. The
// log decides by its own.
func (v *View) JudgeAt(ms uint64) { v.clock = ms }

// Now is the time at which the view judges, in milliseconds since 1970.
func (v *View) Now() uint64 { return max(v.meta.stamp, v.clock) }

// Envelope is one place of a queue. Its slices belong to the caller.
type Envelope struct {
	Seq          uint64
	ReceivedAtMs uint64 // log time
	Header       []byte
	Body         []byte
	// Loss is set instead of header and body where envelopes were dropped.
	Loss Loss

	shared uint64 // id of a body that is yet to be read
}

// Loss says which envelopes are gone: Count of them, from First to Last.
type Loss struct {
	Count, First, Last uint64
	// Expired of them reached the end of the time that their senders gave them,
	// Ephemeral of them were of use at their time only.
	Expired, Ephemeral uint64
	// Overflow of them were refused for their senders' shares of the queue.
	Overflow uint64
}

// Peek returns the envelopes of a queue with sequence numbers above after, in
// order: at most limit (schemas.MaxFetch at most), and no further one once their
// bodies and headers have reached maxBytes (schemas.MaxFetchBytes at most); at
// least one if there is any. A queue that does not exist is empty.
func (v *View) Peek(q QueueID, after uint64, limit, maxBytes int) ([]Envelope, error) {
	h, err := v.head(&q)
	if err != nil {
		return nil, fmt.Errorf("peek: %w", err)
	}
	limit, maxBytes = min(limit, schemas.MaxFetch), min(maxBytes, schemas.MaxFetchBytes)
	after = max(after, h.acked)
	if limit <= 0 || after >= h.last {
		return nil, nil
	}
	var list []Envelope
	size := 0
	var bodyErr error
	err = eachEnvelope(v.snapshot, &q, after+1, h.last, func(seq uint64, e *envelopeRow) bool {
		if len(list) > 0 && size+int(e.size()) > maxBytes {
			return false
		}
		var one Envelope
		if one, bodyErr = v.envelope(&h, seq, e); bodyErr != nil {
			return false
		}
		list = append(list, one)
		size += int(e.size())
		return len(list) < limit
	})
	if err = errors.Join(err, bodyErr); err != nil {
		return nil, fmt.Errorf("peek: %w", err)
	}
	return list, nil
}

func (v *View) envelope(h *head, seq uint64, e *envelopeRow) (Envelope, error) {
	one := Envelope{Seq: seq, ReceivedAtMs: e.received}
	switch e.kind {
	case envelopeLoss, envelopeEnded:
		one.Loss = e.loss(seq, h.acked)
	case envelopeInline:
		one.Header, one.Body = clone(e.header), clone(e.body)
	case envelopeShared:
		one.Header = clone(e.header)
		body, ok, err := getRow(v.snapshot, appendBodyKey(nil, tableBodies, e.bodyID), nil)
		if err != nil {
			return one, err
		}
		if !ok {
			return one, brokenf("body %d of envelope %d is missing", e.bodyID, seq)
		}
		one.Body = body
	}
	return one, nil
}

// clone copies bytes; nothing stays nil.
func clone(b []byte) []byte { return append([]byte(nil), b...) }

// QueueStats is what a queue knows about itself. First is the lowest sequence
// number that was not acknowledged; when it is above Last, the queue is empty.
type QueueStats struct {
	First, Last      uint64
	Envelopes, Bytes uint64 // loss markers count as nothing
}

// Queue returns a queue's numbers; those of a queue that does not exist are
// First 1 and otherwise 0.
func (v *View) Queue(q QueueID) (QueueStats, error) {
	h, err := v.head(&q)
	if err != nil {
		return QueueStats{}, fmt.Errorf("read queue: %w", err)
	}
	return QueueStats{First: h.acked + 1, Last: h.last, Envelopes: h.count, Bytes: h.bytes}, nil
}

// Setting returns the value of a cluster setting; false: there is none of this
// name.
func (v *View) Setting(name string) (uint64, bool, error) {
	id, ok := settingByName(name)
	if !ok {
		return 0, false, nil
	}
	value, err := readSetting(v.snapshot, id)
	return value, true, err
}

// FeatureLevel is the level by whose rules the log is judged.
func (v *View) FeatureLevel() (uint64, error) { return readSetting(v.snapshot, featureLevel) }

// ExpiryDue tells whether an expire entry stamped with this time would find
// something to look at.
func (v *View) ExpiryDue(nowMs uint64) (bool, error) {
	due := false
	bucket := max(nowMs, v.meta.stamp) / bucketMs
	err := eachDue(v.snapshot, bucket, func(*dueQueue) bool {
		due = true
		return false
	})
	if err == nil && !due {
		err = eachEnd(v.snapshot, max(nowMs, v.meta.stamp)/1000, func([]byte) bool {
			due = true
			return false
		})
	}
	if due || err != nil {
		return due, err
	}
	return timerDue(v.snapshot, bucket)
}

// Check tells what the store would answer to an entry, by the same rules as
// Apply and without writing: code ok means that it is worth proposing. Entries
// that can't be decoded are refused as malformed.
//
// A refusal is the node's early answer, not the log's: whoever may have proposed
// the same request id before and does not know its outcome must propose again
// and not ask here, because that outcome may differ. An id whose outcome this
// view knows is answered with code ok for that reason.
func (v *View) Check(entry []byte) Result {
	if v.decoder == nil {
		v.decoder = &decoder{}
	}
	r, err := v.decoder.decode(entry)
	if err != nil {
		return Result{Code: schemas.Code_malformed}
	}
	v.err = nil
	no := v.check(r)
	if v.err != nil {
		v.store.log.Error("check entry", errAttr(v.err))
		return Result{Code: schemas.Code_storage}
	}
	return Result{Code: no.code, Value: no.value}
}

func (v *View) check(r *request) refusal {
	c := commandOf(r.tag)
	if no := c.admit(r); no.refused() {
		return no
	}
	if r.idLen != 0 && v.decided(r) {
		return refusal{}
	}
	if no := c.permit(r); no.refused() {
		return no
	}
	return c.check(v, r)
}

// Decided tells whether the outcome of an entry's request id is known here, so
// that proposing the entry again gives that outcome and changes nothing.
func (v *View) Decided(entry []byte) (bool, error) {
	if v.decoder == nil {
		v.decoder = &decoder{}
	}
	r, err := v.decoder.decode(entry)
	if err != nil {
		return false, err
	}
	v.err = nil
	known := r.idLen != 0 && v.decided(r)
	return known, v.readError("outcome")
}

// decided tells whether an outcome of the request's id is known.
func (v *View) decided(r *request) bool {
	_, known := v.outcome(r)
	return known
}

// outcome reads the row of the outcome of the request's id, valid until the next read.
func (v *View) outcome(r *request) (row []byte, known bool) {
	if r.idLen == 0 {
		return nil, false
	}
	newest := v.meta.stamp / generationMs
	for g := oldest(newest); g <= newest; g++ {
		key := appendRequestKey(appendDedupePrefix(nil, g), r)
		if row, known := v.row(tableDedupe, key); known {
			return row, true
		}
	}
	return nil, false
}

func (v *View) fail(err error) {
	if v.err == nil {
		v.err = err
	}
}

func (v *View) head(q *QueueID) (h head, err error) {
	var key [maxKey]byte
	row, ok, err := getRow(v.snapshot, appendHeadKey(key[:0], q), v.value[:0])
	v.value = row
	if ok && err == nil {
		err = h.decode(row)
	}
	return h, err
}

// The methods below make a View the state of checks.
func (v *View) now() uint64 { return v.Now() }

func (v *View) queueHead(q *QueueID) head {
	h, err := v.head(q)
	v.fail(err)
	return h
}

func (v *View) setting(id settingID) uint64 {
	if v.moment.settings != nil {
		return v.moment.settings[id]
	}
	value, err := readSetting(v.snapshot, id)
	v.fail(err)
	return value
}

func (v *View) account(key AccountKey) *accountRow {
	var row accountRow
	value, ok := v.row(tableAccounts, rowKey(tableAccounts, key[:]))
	if ok {
		v.fail(row.decode(value))
	}
	return &row
}

func (v *View) usage(key AccountKey) uint64 {
	row, ok := v.row(tableUsages, rowKey(tableUsages, key[:]))
	if !ok {
		return 0
	}
	steps, err := decodeNumber(row)
	v.fail(err)
	return steps
}

func (v *View) row(_ table, key []byte) ([]byte, bool) {
	value, ok, err := getRow(v.snapshot, key, v.value[:0])
	v.value = value
	v.fail(err)
	return value, ok
}

func (v *View) each(_ table, prefix []byte, visit func(key, value []byte) bool) {
	v.fail(eachPrefix(v.snapshot, prefix, visit))
}
