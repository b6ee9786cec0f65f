package fsm

// Purging: what a device leaves behind when its account gives it up goes at once as
// far as anybody can see. Rows whose shared bodies have to be let go one by one may
// be too many for one entry; those are removed by timers, some at a time.

const (
	// maxRemovedRows bounds the rows that revoking a device visits at once.
	maxRemovedRows = 4096
	// purgeRows is how many rows of a queue one timer visits.
	purgeRows = 1024
)

// removeQueues empties the queues of a device whose account gives it up: it is
// acknowledging everything. The heads stay, because sequence numbers are never
// used again.
func removeQueues(tx *Tx, key AccountKey, id DeviceID) {
	queues := tx.headsOf(rowKey(tableHeads, key[:], id[:]))
	budget := uint64(maxRemovedRows)
	for i := range queues {
		h := tx.queue(&queues[i])
		if h.shared > 0 {
			rows := h.last - h.acked
			if rows > budget {
				abandonQueue(tx, h)
				continue
			}
			budget -= rows
		}
		ackTo(tx, h, h.last)
	}
}

// abandonQueue acknowledges everything and leaves the rows to a timer.
func abandonQueue(tx *Tx, h *queueEntry) {
	tx.setTimer(timerPurge, purgeKey(&h.id, h.acked+1, h.last), tx.now())
	h.acked, h.count, h.bytes, h.shared = h.last, 0, 0, 0
	h.timed, h.ephemeral, h.ephemeralBytes, h.guests, h.guestBytes = 0, 0, 0, 0, 0
	tx.putQueue(h)
}

// purgeKey names the rows of a queue from one number to another.
func purgeKey(q *QueueID, from, to uint64) []byte {
	return le.AppendUint64(le.AppendUint64(appendQueue(nil, q), from), to)
}

func readPurgeKey(key []byte) (q QueueID, from, to uint64, ok bool) {
	q, rest, ok := readQueue(key)
	if !ok || len(rest) != 16 {
		return q, 0, 0, false
	}
	return q, le.Uint64(rest), le.Uint64(rest[8:]), true
}

// purge is the timer of abandoned rows.
func purge(tx *Tx, key []byte) {
	q, from, to, ok := readPurgeKey(key)
	if !ok {
		tx.fail(brokenf("a timer names %d bytes as rows to purge", len(key)))
		return
	}
	h := tx.queue(&q)
	end := min(to, from+purgeRows-1)
	tx.eachEnvelope(h, from, end, func(_ uint64, e *envelopeRow) bool {
		if e.kind == envelopeShared {
			tx.releaseBody(e.bodyID)
		}
		return true
	})
	tx.deleteEnvelopes(h, from, end, false)
	tx.purged += end - from + 1
	if end < to {
		tx.setTimer(timerPurge, purgeKey(&q, end+1, to), tx.now())
	}
}
