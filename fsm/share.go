package fsm

import (
	"fmt"

	"quicproquo/schemas"
)

// Shares of a queue (docs/decisions/0131). Whoever sends has a share of each queue, so
// that nobody fills one alone; strangers together have a part of their own, so that they
// never take the room of contacts; commits and welcomes have a reserve in each. A queue
// that is nearly empty is nobody's concern: below a sixteenth of its limits nothing is
// counted and nothing is looked up.
//
// Who has sent an envelope is not kept with it: acknowledging would have to read each.
// A sender's row counts what it has put in since an envelope of its own that the queue
// still has, so it may count some that are gone, at most as many as are not.

const (
	// uncounted is the part of a queue's limits below which shares do not matter.
	uncounted = 16
	// uncountedOfAccount is the part of an account's limit above which they always matter.
	uncountedOfAccount = 4
	// guestsOfAccount is the part of an account's limit that strangers may fill, and
	// reserveOfAccount the part that is for commits and welcomes.
	guestsOfAccount  = 2
	reserveOfAccount = 8
)

// allowance is a part of a queue's limits, in sixteenths: for messages, and for commits
// and welcomes, which have the difference to themselves.
type allowance struct{ messages, handshakes uint64 }

// allowances are what all that are no strangers have together, or strangers beside them,
// and what one of them has.
func allowances(known bool) (together, one allowance) {
	if known {
		return allowance{14, 16}, allowance{8, 10}
	}
	return allowance{6, 8}, allowance{1, 2}
}

func (a allowance) of(d *delivery) uint64 {
	if d.handshake {
		return a.handshakes
	}
	return a.messages
}

// delivery is what is to go into queues, as far as it decides who has room.
type delivery struct {
	by        *actor
	size      uint64 // of the body, in bytes
	ephemeral bool
	handshake bool // it comes with a commit: that, or a welcome
}

// seat is what a queue does with a delivery.
type seat struct {
	no refusal
	// dropped: the sender is blocked. It is told what others are told, and the queue gets
	// a number that stands for nothing.
	dropped bool
	// guest: it counts in the strangers' part of the queue.
	guest bool
	// counted: it counts in the sender's share.
	counted bool
	// overflow: only the sender, or strangers, have no room.
	overflow bool
}

// limits are what a part of a queue may hold.
type limits struct{ count, bytes uint64 }

// sixteenths is a part of limits. A single envelope of any size has room in a part that
// is empty.
func (l limits) sixteenths(n uint64) limits {
	return limits{max(l.count*n/16, 1), max(l.bytes/16*n, min(l.bytes, schemas.MaxBody+schemas.MaxHeader))}
}

// hold reports whether one more of this size fits beside what is there, and which limit
// does not let it.
func (l limits) hold(count, bytes, size uint64) (limit uint64, ok bool) {
	if count >= l.count {
		return l.count, false
	}
	return l.bytes, bytes+size <= l.bytes
}

func queueLimits(st state, ephemeral bool) limits {
	l := limits{st.setting(queueMaxEnvelopes), st.setting(queueMaxBytes)}
	if ephemeral {
		return limits{max(l.count/ephemeralOfQueue, 1), l.bytes / ephemeralOfQueue}
	}
	return l
}

// findSeat decides whether a queue takes a delivery whose body and header have so many
// bytes. Nodes, and an account's own devices, have the queue's limits and no share.
func findSeat(st state, q *QueueID, d *delivery, size uint64) (p seat) {
	if !since(st, levelShares) || d.by.kind == schemas.Actor_Kind_node || d.by.account == q.Owner {
		p.no = checkRoom(st, q, size, d.ephemeral)
		return p
	}
	said := standingOf(st, q.Owner, d.by.account)
	p.dropped = said == blocked
	h, all := st.queueHead(q), queueLimits(st, d.ephemeral)
	count, bytes := h.count-h.ephemeral, h.bytes-h.ephemeralBytes
	if d.ephemeral {
		count, bytes = h.ephemeral, h.ephemeralBytes
	}
	known := said == contact
	p.counted = count >= all.count/uncounted || bytes+size > all.bytes/uncounted ||
		st.usage(q.Owner)*usageStep >= st.setting(accountMaxBytes)/uncountedOfAccount
	if p.counted {
		known = known || !p.dropped && answeredOn(st, q, d.by.account)
		p.findRoom(st, q, d, &h, all, known, size)
	}
	if !p.no.refused() {
		p.no = checkAccountRoom(st, q, d, size, known || !p.counted)
	}
	return p
}

// answeredOn is answered for the sender of a queue: of a channel's queue that is the
// channel's other member.
func answeredOn(st state, q *QueueID, sender AccountKey) bool {
	if q.Channel.some && st.channel(q.Channel).exists() {
		return st.channel(q.Channel).usedBy(q.Owner)
	}
	return answered(st, q.Owner, sender)
}

// findRoom looks at the part of the queue that the sender is of, and at its share.
func (p *seat) findRoom(st state, q *QueueID, d *delivery, h *head, all limits, known bool, size uint64) {
	together, one := allowances(known)
	part, share := all.sixteenths(together.of(d)), all.sixteenths(one.of(d))
	count, bytes := h.count-h.ephemeral-h.guests, h.bytes-h.ephemeralBytes-h.guestBytes
	if known && guarded(st, d.by, q.Channel) {
		share = all // nobody else sends here
	}
	if !known {
		count, bytes = h.guests, h.guestBytes
		p.guest = !d.ephemeral
	}
	if d.ephemeral { // one part for all: nobody waits for them
		part, count, bytes = all, h.ephemeral, h.ephemeralBytes
	}
	if value, ok := part.hold(count, bytes, size); !ok {
		p.no, p.overflow = refusal{schemas.Code_queueFull, value}, p.guest
		return
	}
	s := readShare(st, q, d)
	s.tidy(h, st.now())
	if value, ok := share.hold(s.older.count+s.newer.count, s.older.bytes+s.newer.bytes, size); !ok {
		p.no, p.overflow = refusal{schemas.Code_senderShareFull, value}, true
	}
}

// checkAccountRoom refuses what would bring the queues of an account together over their
// limit. Strangers have half of it, and the last eighth is for commits and welcomes.
func checkAccountRoom(st state, q *QueueID, d *delivery, size uint64, known bool) refusal {
	limit := st.setting(accountMaxBytes)
	switch {
	case d.ephemeral:
		limit /= ephemeralOfAccount
	case !known:
		limit /= guestsOfAccount
	case !d.handshake:
		limit -= limit / reserveOfAccount
	}
	if st.usage(q.Owner)*usageStep+size > limit {
		return refusal{schemas.Code_accountQueueFull, limit}
	}
	return refusal{}
}

// shareRow is what a sender has in a queue, in two parts: everything in older was put in
// before everything in newer. A part is over when the queue has none of it any more.
type shareRow struct{ older, newer sharePart }

type sharePart struct {
	count, bytes uint64
	last         uint64 // its highest sequence number
	ends         uint64 // log time at which all of it has expired
}

const shareSize = 2 * 4 * 8

func (s *shareRow) encode() []byte {
	row := make([]byte, 0, shareSize)
	for _, p := range []*sharePart{&s.older, &s.newer} {
		for _, n := range []uint64{p.count, p.bytes, p.last, p.ends} {
			row = le.AppendUint64(row, n)
		}
	}
	return row
}

func (s *shareRow) decode(row []byte) error {
	f := fields{rest: row}
	for _, p := range []*sharePart{&s.older, &s.newer} {
		p.count, p.bytes, p.last, p.ends = f.u64(), f.u64(), f.u64(), f.u64()
	}
	return f.done("share")
}

// shareKey names a sender's share of a queue. What is ephemeral has one of its own, and
// whoever has no account is one sender.
func shareKey(q *QueueID, d *delivery) []byte {
	kind := byte(0)
	if d.ephemeral {
		kind = 1
	}
	return append(append(appendQueue(nil, q), d.by.account[:]...), kind)
}

func readShare(st state, q *QueueID, d *delivery) (s shareRow) {
	if row, ok := st.row(tableShares, rowKey(tableShares, shareKey(q, d))); ok {
		if err := s.decode(row); err != nil {
			st.fail(err)
		}
	}
	return s
}

// over reports whether the queue has nothing of the part any more.
func (p *sharePart) over(h *head, now uint64) bool {
	return p.last <= h.acked || p.ends <= now || h.count == 0
}

// tidy forgets the parts that are over. What comes next is newer than what is left.
func (s *shareRow) tidy(h *head, now uint64) {
	if s.older.over(h, now) {
		s.older, s.newer = s.newer, sharePart{}
	}
	if s.older.over(h, now) {
		s.older = sharePart{}
	}
}

// charge counts the envelope that has the queue's last number in its sender's share.
func (tx *Tx) charge(h *queueEntry, d *delivery, size, expires uint64) {
	s := readShare(tx, &h.id, d)
	fresh := s == shareRow{}
	s.tidy(&h.head, tx.now())
	to := &s.newer
	if s.older.count == 0 {
		to = &s.older
	}
	to.count, to.bytes, to.last, to.ends = to.count+1, to.bytes+size, h.last, max(to.ends, expires)
	key := shareKey(&h.id, d)
	tx.set(tableShares, rowKey(tableShares, key), s.encode())
	if fresh {
		tx.setTimer(timerShare, key, expires)
	}
}

// endShare is the timer of shares.
func endShare(tx *Tx, key []byte) {
	row, ok := tx.row(tableShares, rowKey(tableShares, key))
	if !ok {
		return
	}
	var s shareRow
	if err := s.decode(row); err != nil {
		tx.fail(err)
	}
	q, rest, ok := readQueue(key)
	if !ok || len(rest) != schemas.AccountKeySize+1 {
		tx.fail(fmt.Errorf("share: %w: key of %d bytes", errRow, len(key)))
		return
	}
	s.tidy(&tx.queue(&q).head, tx.now())
	if s.older.count == 0 {
		tx.delete(tableShares, rowKey(tableShares, key))
		return
	}
	tx.setTimer(timerShare, key, max(s.older.ends, s.newer.ends))
}
