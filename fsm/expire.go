package fsm

import (
	"encoding/binary"
	"fmt"
)

// Removal by age, on log time. The leader proposes expire when View.ExpiryDue
// says so; every node then removes the same envelopes.
//
// A queue stands in the due table at most once, under a bucket of log time in
// which its first envelope may expire, and stays there when that envelope is
// acknowledged first: a busy queue costs one row per time to live, not one per
// envelope. When the bucket comes, the queue is searched and put under its next
// bucket.
//
// What is ephemeral, and what lives for minutes only, stands in the table of ends
// instead, under its second: one row for each, visited once. So it ends within
// seconds, and a long queue is not searched each time that somebody has typed.
//
// What is dropped leaves a loss marker in its place: a row at the last lost
// sequence number that names the first. Markers that touch become one, so a
// queue never has more markers than envelopes, plus one.

const (
	// bucketMs is the length of a bucket of log time: an envelope is removed at
	// most this long after its time, plus the leader's rhythm.
	bucketMs = 60_000
	// maxExpireRows bounds the rows that one expire entry visits, so that it
	// holds up the entries behind it for milliseconds only.
	maxExpireRows = 4096
	// timedMs is the longest time to live of an envelope that ends at its second
	// though it is not ephemeral.
	timedMs = 10 * 60 * 1000
)

// endsAt is the first second of log time at which the expiry has passed; never 0.
func endsAt(expires uint64) uint64 { return (expires-1)/1000 + 1 }

// bucketOf is the first bucket at whose time the expiry has passed; never 0.
func bucketOf(expires uint64) uint64 { return (expires-1)/bucketMs + 1 }

// expiry is the log time at which an envelope that is stored now is over.
func expiry(tx *Tx, ttlSecs uint32) uint64 {
	ttl := uint64(ttlSecs)
	if ttl == 0 {
		ttl = min(tx.setting(ttlDefaultSecs), tx.setting(ttlMaxSecs))
	}
	return tx.now() + ttl*1000
}

// schedule makes room in the due table for an envelope that is about to take
// the place h.last.
func schedule(tx *Tx, q *QueueID, h *head, expires uint64) {
	if h.count == h.timed {
		h.maxExpires, h.mixedTo = 0, 0
	}
	if expires < h.maxExpires {
		h.mixedTo = h.last
	}
	h.maxExpires = max(h.maxExpires, expires)

	bucket := bucketOf(expires)
	if h.due != 0 && h.due <= bucket {
		return
	}
	if h.due != 0 {
		tx.deleteDue(h.due, q)
	}
	h.due = bucket
	tx.putDue(bucket, q, &dueRow{})
}

func checkExpire(state, *request) refusal { return refusal{} }

// applyExpire visits the queues whose bucket has come, oldest bucket first.
func applyExpire(tx *Tx, r *request) Result {
	budget := uint64(maxExpireRows)
	if n := uint64(r.expire.maxRows); n != 0 {
		budget = min(n, budget)
	}
	removed := endTimed(tx, &budget)
	for _, d := range tx.dueQueues(tx.now()/bucketMs, budget) {
		if budget == 0 {
			return tx.expireResult(removed, true)
		}
		budget--
		s := sweep{tx: tx, h: tx.queue(&d.queue), budget: budget}
		removed += s.queue(d.bucket, &d.row)
		budget = s.budget
	}
	removed += tx.runTimers(budget)
	return tx.expireResult(removed, tx.anyDue(tx.now()/bucketMs) || tx.anyTimer() || len(tx.dueEnds(1)) > 0)
}

// endTimed ends the envelopes whose second has come, oldest first, while the budget
// of rows lasts.
func endTimed(tx *Tx, budget *uint64) (removed uint64) {
	for _, key := range tx.dueEnds(*budget) {
		*budget--
		tx.delete(tableEnds, key)
		q, rest, ok := readQueue(key[1+8:])
		if !ok || len(rest) != 8 {
			tx.fail(fmt.Errorf("end: %w: key of %d bytes", errRow, len(key)))
			return removed
		}
		if endOne(tx, tx.queue(&q), binary.BigEndian.Uint64(rest)) {
			removed++
		}
	}
	return removed
}

// endOne ends an envelope, if it is still there: it becomes a marker, one with its
// neighbours that are markers.
func endOne(tx *Tx, h *queueEntry, seq uint64) bool {
	if seq <= h.acked {
		return false
	}
	s := ended(seq, runExpired)
	found := false
	tx.eachEnvelope(h, max(seq-1, h.acked+1), h.last, func(at uint64, e *envelopeRow) bool {
		switch {
		case at == seq && e.timed:
			found = true
			own := ended(seq, runExpired)
			if e.ephemeral {
				own = ended(seq, runEphemeral)
			}
			if s.first == seq {
				s = own
			} else {
				s.append(own)
			}
			uncount(tx, &h.head, e)
			return true
		case at < seq && e.isMarker():
			s = stretchOf(at, e)
			return true
		case at > seq && e.isMarker() && e.first == seq+1:
			s.append(stretchOf(at, e))
		}
		return at < seq
	})
	if !found {
		tx.fail(brokenf("envelope %d is to end and is not there", seq))
		return false
	}
	if s.first < seq {
		tx.deleteEnvelopes(h, seq-1, seq-1, false)
	}
	if s.last > seq {
		tx.deleteEnvelopes(h, seq, seq, false)
	}
	marker := s.marker(tx.now())
	tx.putEnvelope(h, s.last, &marker)
	tx.putQueue(h)
	tx.touch(h)
	return true
}

// sweep is the search of one queue.
type sweep struct {
	tx     *Tx
	h      *queueEntry
	budget uint64 // rows that may still be visited
	reason byte   // of what ends

	removed  uint64
	earliest uint64 // expiry among the envelopes that stay; 0: none stays
	// lost is the stretch of losses that the search is in, if open.
	lost  stretch
	open  bool
	grown bool // the stretch has more in it than the marker at its last says
}

// queue removes what has expired and puts the queue under its next bucket, or
// leaves a cursor if the budget ends first.
func (s *sweep) queue(bucket uint64, row *dueRow) uint64 {
	h := s.h
	if h.due != bucket {
		s.tx.fail(brokenf("a queue is due in bucket %d and stands under %d", h.due, bucket))
		return 0
	}
	s.reason = runDropped // as it was before reasons were told apart
	if since(s.tx, levelStatements) {
		s.reason = runExpired
	}
	from := max(row.cursor, h.acked+1)
	s.earliest = row.earliest
	s.resume(from)
	next, finished := s.visit(from)
	s.closeStretch()
	if finished {
		s.tx.deleteDue(bucket, &h.id)
		h.due = 0
		if s.earliest != 0 {
			h.due = bucketOf(s.earliest)
			s.tx.putDue(h.due, &h.id, &dueRow{})
		}
	} else {
		s.tx.putDue(bucket, &h.id, &dueRow{cursor: next, earliest: s.earliest})
	}
	if s.removed > 0 {
		s.tx.touch(h)
	}
	s.tx.putQueue(h)
	return s.removed
}

// resume opens the stretch that ends just before the search begins, so that a
// loss at its first place joins it.
func (s *sweep) resume(from uint64) {
	s.tx.eachEnvelope(s.h, max(from-1, s.h.acked+1), from-1, func(seq uint64, e *envelopeRow) bool {
		if e.isMarker() {
			s.lost, s.open = stretchOf(seq, e), true
		}
		return false
	})
}

// visit looks at the rows from a place on, and tells where it stopped and
// whether the rest can hold nothing that has expired.
func (s *sweep) visit(from uint64) (next uint64, finished bool) {
	next, finished = from, true
	s.tx.eachEnvelope(s.h, from, s.h.last, func(seq uint64, e *envelopeRow) bool {
		if s.budget == 0 {
			finished = false
			return false
		}
		s.budget--
		next = seq + 1
		switch {
		case e.isMarker():
			s.join(stretchOf(seq, e))
		case e.timed:
			s.closeStretch() // the table of ends has it
		case e.expires <= s.tx.now():
			s.removed++
			forget(s.tx, s.h, seq, e)
			s.join(ended(seq, s.reason))
			s.grown = true
		default:
			s.closeStretch()
			if s.earliest == 0 || e.expires < s.earliest {
				s.earliest = e.expires
			}
			// Above mixedTo the rest expires later than this one.
			return seq <= s.h.mixedTo
		}
		return true
	})
	return next, finished
}

// join adds a loss to the stretch. The row that ended the stretch so far goes:
// the marker moves to the new end.
func (s *sweep) join(next stretch) {
	if !s.open {
		s.lost, s.open = next, true
		return
	}
	s.tx.deleteEnvelopes(s.h, s.lost.last, s.lost.last, false)
	s.lost.append(next)
	s.grown = true
}

func (s *sweep) closeStretch() {
	if s.open && s.grown {
		marker := s.lost.marker(s.tx.now())
		s.tx.putEnvelope(s.h, s.lost.last, &marker)
	}
	s.open, s.grown = false, false
}
