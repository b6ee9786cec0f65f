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
	room      bool
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

// checkRoom refuses what would bring a queue or its account over a limit.
func checkRoom(st state, q *QueueID, size uint64) refusal {
	h := st.queueHead(q)
	if limit := st.setting(queueMaxEnvelopes); h.count >= limit {
		return refusal{schemas.Code_queueFull, limit}
	}
	if limit := st.setting(queueMaxBytes); h.bytes+size > limit {
		return refusal{schemas.Code_queueFull, limit}
	}
	if limit := st.setting(accountMaxBytes); st.usage(q.Owner)*usageStep+size > limit {
		return refusal{schemas.Code_accountQueueFull, limit}
	}
	return refusal{}
}

// settleRoom decides which targets take an envelope of this size, header aside,
// and returns how many. no is why the last one that does not take it does not.
func settleRoom(st state, list []target, size uint64) (taken uint64, no refusal) {
	for i := range list {
		one := checkRoom(st, &list[i].queue, size+uint64(len(list[i].header)))
		if list[i].room = !one.refused(); list[i].room {
			taken++
		} else {
			no = one
		}
	}
	return taken, no
}

// deliver puts an envelope into the targets that have room, and a loss marker
// into the others: a device that nobody empties must not keep its account's other
// devices from getting what is sent. seqs[i] becomes the sequence number in the
// first queue of recipient i that took it.
func deliver(tx *Tx, list []target, payload []byte, ttlSecs uint32, taken uint64, seqs []uint64) {
	e := envelopeRow{kind: envelopeInline, received: tx.now(), expires: expiry(tx, ttlSecs), body: payload}
	if taken > 1 {
		e.kind, e.body = envelopeShared, nil
		e.bodyID, e.bodyLen = tx.putBody(payload, taken), uint32(len(payload))
	}
	for i := range list {
		to := &list[i]
		if !to.room {
			pushLoss(tx, &to.queue)
			continue
		}
		e.header = to.header
		seq := push(tx, &to.queue, &e)
		if seqs[to.recipient] == 0 {
			seqs[to.recipient] = seq
		}
	}
}

// push puts an envelope at the end of a queue and returns its sequence number.
func push(tx *Tx, q *QueueID, e *envelopeRow) uint64 {
	h := tx.queue(q)
	h.last++
	schedule(tx, q, &h.head, e.expires)
	h.count++
	h.bytes += e.size()
	if e.kind == envelopeShared {
		h.shared++
	}
	tx.putEnvelope(h, h.last, e)
	tx.putQueue(h)
	tx.touch(h)
	return h.last
}

// pushLoss says at the end of a queue that it missed an envelope. A marker that
// stands there already grows.
func pushLoss(tx *Tx, q *QueueID) {
	h := tx.queue(q)
	marker := envelopeRow{kind: envelopeLoss, received: tx.now(), first: h.last + 1}
	if end := tx.tailOf(h); end.kind == envelopeLoss {
		marker.first = end.first
		tx.deleteEnvelopes(h, h.last, h.last, false)
	}
	h.last++
	tx.putEnvelope(h, h.last, &marker)
	tx.putQueue(h)
	tx.touch(h)
}

// tailOf returns what the row at h.last is; the zero tail if there is none. That is
// known for a queue that this batch has added to, so a full queue that misses one
// envelope after the other does not make the batch one that must be read.
func (tx *Tx) tailOf(h *queueEntry) tail {
	if h.acked == h.last {
		return tail{}
	}
	if h.tail.kind == 0 {
		tx.eachEnvelope(h, h.last, h.last, func(_ uint64, e *envelopeRow) bool {
			h.tail = tail{e.kind, e.first}
			return false
		})
	}
	return h.tail
}

// usageStep is the grain in which an account's bytes are counted, so that its row
// changes once in many envelopes. What a queue holds above a whole step does not
// count.
const usageStep = 16 << 10
