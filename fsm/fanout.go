package fsm

import (
	"quicproquo/schemas"
)

// Fan-out: what is sent to an account goes to the queue of each of its devices,
// or to the account's own queue while it has none (docs/decisions/0061). One body
// is stored once, however many queues hold it.

// maxFanOut bounds the queues that one entry puts an envelope into, so that it
// holds up the entries behind it for milliseconds only.
const maxFanOut = 16 << 10

// target is a queue that an envelope is to go into.
type target struct {
	queue     QueueID
	recipient int // whose it is, in the order of the call
	header    []byte
	seat      seat
}

// findTargets appends the queues that a recipient's address stands for.
func findTargets(st state, list []target, by *actor, to *recipientRequest, recipient int) ([]target, schemas.Code) {
	a := st.account(to.queue.Owner)
	code := checkRecipient(a, by, &to.queue)
	switch {
	case code != schemas.Code_ok:
	case to.queue.Device != (DeviceID{}) || len(a.devices) == 0:
		list = append(list, target{queue: to.queue, recipient: recipient, header: to.header})
	default:
		for i := range a.devices {
			q := to.queue
			q.Device = a.devices[i].id
			list = append(list, target{queue: q, recipient: recipient, header: to.header})
		}
	}
	return list, code
}

// checkRecipient tells whether envelopes are kept for an address. Nodes may put
// them into any queue; whoever calls a node names accounts and devices that exist.
func checkRecipient(a *accountRow, by *actor, q *QueueID) schemas.Code {
	switch {
	case !a.live() && by.kind != schemas.Actor_Kind_node:
		return schemas.Code_accountNotFound
	case a.live() && q.Device != DeviceID{} && a.device(q.Device) == nil:
		return schemas.Code_deviceNotFound
	}
	return schemas.Code_ok
}

// Ephemeral envelopes have a quota of their own: this part of a queue's limits,
// beside what they leave for others, and this part of what an account may hold.
const (
	ephemeralOfQueue   = 8
	ephemeralOfAccount = 2
)

// checkRoom refuses what would bring a queue or its account over a limit.
func checkRoom(st state, q *QueueID, size uint64, ephemeral bool) refusal {
	h := st.queueHead(q)
	if ephemeral {
		return checkEphemeralRoom(st, q, &h, size)
	}
	if limit := st.setting(queueMaxEnvelopes); h.count-h.ephemeral-h.guests >= limit {
		return refusal{schemas.Code_queueFull, limit}
	}
	if limit := st.setting(queueMaxBytes); h.bytes-h.ephemeralBytes-h.guestBytes+size > limit {
		return refusal{schemas.Code_queueFull, limit}
	}
	if limit := st.setting(accountMaxBytes); st.usage(q.Owner)*usageStep+size > limit {
		return refusal{schemas.Code_accountQueueFull, limit}
	}
	return refusal{}
}

// checkEphemeralRoom is checkRoom for what must not take room from others.
func checkEphemeralRoom(st state, q *QueueID, h *head, size uint64) refusal {
	if limit := max(st.setting(queueMaxEnvelopes)/ephemeralOfQueue, 1); h.ephemeral >= limit {
		return refusal{schemas.Code_queueFull, limit}
	}
	if limit := st.setting(queueMaxBytes) / ephemeralOfQueue; h.ephemeralBytes+size > limit {
		return refusal{schemas.Code_queueFull, limit}
	}
	if limit := st.setting(accountMaxBytes) / ephemeralOfAccount; st.usage(q.Owner)*usageStep+size > limit {
		return refusal{schemas.Code_accountQueueFull, limit}
	}
	return refusal{}
}

// settleRoom decides which targets take a delivery, and returns how many will hold it.
// no is why none takes it.
func settleRoom(st state, list []target, d *delivery) (holding uint64, no refusal) {
	taken := false
	for i := range list {
		to := &list[i]
		to.seat = findSeat(st, &to.queue, d, d.size+uint64(len(to.header)))
		switch {
		case to.seat.no.refused():
			no = to.seat.no
			continue
		case !to.seat.dropped:
			holding++
		}
		taken = true
	}
	if taken {
		return holding, refusal{}
	}
	return 0, no
}

// deliver puts an envelope into the targets that have room, and a loss marker
// into the others: a device that nobody empties must not keep its account's other
// devices from getting what is sent. What is ephemeral leaves no marker: nobody waits
// for it. seqs[i] becomes the sequence number in the
// first queue of recipient i that took it.
func deliver(tx *Tx, list []target, e *envelopeRow, d *delivery, holding uint64, seqs []uint64) {
	if holding > 1 {
		payload := e.body
		e.kind, e.body = envelopeShared, nil
		e.bodyID, e.bodyLen = tx.putBody(payload, holding), uint32(len(payload))
	}
	for i := range list {
		to := &list[i]
		if to.seat.no.refused() {
			if !e.ephemeral {
				to.seat.lose(tx, &to.queue)
			}
			continue
		}
		e.header = to.header
		seq := put(tx, &to.queue, e, d, &to.seat)
		if seqs[to.recipient] == 0 {
			seqs[to.recipient] = seq
		}
	}
}

// put does with an envelope what its seat in the queue says, and returns its sequence
// number.
func put(tx *Tx, q *QueueID, e *envelopeRow, d *delivery, at *seat) uint64 {
	if at.dropped {
		return pushLoss(tx, q, runEphemeral) // there is nothing to tell anybody about
	}
	e.guest = at.guest
	seq := push(tx, q, e)
	if at.counted {
		tx.charge(tx.queue(q), d, e.size(), e.expires)
	}
	return seq
}

// lose says in a queue that it missed a delivery.
func (p *seat) lose(tx *Tx, q *QueueID) {
	reason := runDropped
	if p.overflow {
		reason = runOverflow
	}
	pushLoss(tx, q, reason)
	tx.touch(tx.queue(q))
}

// push puts an envelope at the end of a queue and returns its sequence number.
func push(tx *Tx, q *QueueID, e *envelopeRow) uint64 {
	h := tx.queue(q)
	h.last++
	if e.timed {
		tx.putEnd(e.expires, q, h.last)
		h.timed++
	} else {
		schedule(tx, q, &h.head, e.expires)
	}
	h.count++
	h.bytes += e.size()
	if e.ephemeral {
		h.ephemeral++
		h.ephemeralBytes += e.size()
	}
	if e.guest {
		h.guests++
		h.guestBytes += e.size()
	}
	if e.kind == envelopeShared {
		h.shared++
	}
	tx.putEnvelope(h, h.last, e)
	tx.putQueue(h)
	tx.touch(h)
	return h.last
}

// pushLoss says at the end of a queue that it missed an envelope, and returns the number
// that it would have had. A marker that stands there already grows.
func pushLoss(tx *Tx, q *QueueID, reason byte) uint64 {
	h := tx.queue(q)
	s := ended(h.last+1, reason)
	if end := tx.tailOf(h); end.isMarker() {
		s = stretchOf(h.last, &end)
		s.append(ended(h.last+1, reason))
		tx.deleteEnvelopes(h, h.last, h.last, false)
	}
	h.last++
	marker := s.marker(tx.now())
	tx.putEnvelope(h, h.last, &marker)
	tx.putQueue(h)
	return h.last
}

// tailOf returns what the row at h.last is: its kind, and what a marker stands for; the
// zero row if there is none. That is
// known for a queue that this batch has added to, so a full queue that misses one
// envelope after the other does not make the batch one that must be read.
func (tx *Tx) tailOf(h *queueEntry) envelopeRow {
	if h.acked == h.last {
		return envelopeRow{}
	}
	if h.tail.kind == 0 {
		tx.eachEnvelope(h, h.last, h.last, func(_ uint64, e *envelopeRow) bool {
			h.tail = tailFrom(e)
			return false
		})
	}
	return h.tail
}

// tailFrom keeps of a row what tailOf tells.
func tailFrom(e *envelopeRow) envelopeRow {
	return envelopeRow{kind: e.kind, first: e.first, runs: e.runs}
}

// usageStep is the grain in which an account's bytes are counted, so that its row
// changes once in many envelopes. What a queue holds above a whole step does not
// count.
const usageStep = 16 << 10
