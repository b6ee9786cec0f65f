package fsm

import (
	"quicproquo/schemas"
)

// The queue topic: envelopes go in at the end, in order, and leave when their
// owner acknowledges them. Reading is View.Peek's; removal by age expire.go's.

func enqueueKey(r *request) []byte { return r.enqueue.routingKey() }
func ackKey(r *request) []byte     { return r.ack.routingKey() }

// batchEnqueueKey is the first recipient's: the fan-out of one entry is the one
// write that touches more than one account.
func batchEnqueueKey(r *request) []byte {
	if len(r.batchEnqueue.recipients) == 0 {
		return nil
	}
	return r.batchEnqueue.recipients[0].routingKey()
}

// routingKey is the account that owns the queue.
func (a *address) routingKey() []byte { return append([]byte(nil), a.queue.Owner[:]...) }

// checkEnqueue refuses in this order: version, key, channel, body, time to live,
// recipient, room in the queue: in that of one device at least.
func checkEnqueue(st state, r *request) refusal {
	p := &r.enqueue
	if no := checkAddress(p.version, &p.address); no.refused() {
		return no
	}
	if no := checkSend(st, &r.actor, &p.queue); no.refused() {
		return no
	}
	ephemeral := p.ephemeral && since(st, levelStatements)
	if no := checkBody(st, p.payload, p.ttlSecs, ephemeral); no.refused() {
		return no
	}
	a := st.account(p.queue.Owner)
	if code := checkRecipient(a, &r.actor, &p.queue); code != schemas.Code_ok {
		return refuse(code)
	}
	d := delivery{by: &r.actor, size: uint64(len(p.payload)), ephemeral: ephemeral}
	if len(a.devices) == 0 {
		return findSeat(st, &p.queue, &d, d.size).no
	}
	_, no := settleRoom(st, enqueueTargets(a, &p.queue), &d)
	return no
}

// enqueueTargets are the queues of an account's devices.
func enqueueTargets(a *accountRow, q *QueueID) []target {
	list := make([]target, len(a.devices))
	for i := range a.devices {
		list[i].queue = *q
		list[i].queue.Device = a.devices[i].id
	}
	return list
}

func checkAddress(version uint16, a *address) refusal {
	switch {
	case version != schemas.WireVersion:
		return refusal{schemas.Code_wireVersionUnsupported, schemas.WireVersion}
	case !a.keyOK:
		return refuse(schemas.Code_keyLength)
	case !a.channelOK:
		return refuse(schemas.Code_channelIdLength)
	}
	return refusal{}
}

func checkBody(st state, payload []byte, ttlSecs uint32, ephemeral bool) refusal {
	switch {
	case len(payload) == 0:
		return refuse(schemas.Code_payloadEmpty)
	case len(payload) > schemas.MaxBody:
		return refusal{schemas.Code_payloadTooLarge, schemas.MaxBody}
	case ephemeral && len(payload) > schemas.MaxEphemeralBody:
		return refusal{schemas.Code_payloadTooLarge, schemas.MaxEphemeralBody}
	}
	if limit := st.setting(ttlMaxSecs); uint64(ttlSecs) > limit {
		return refusal{schemas.Code_ttlTooLarge, limit}
	}
	return refusal{}
}

func applyEnqueue(tx *Tx, r *request) Result {
	p := &r.enqueue
	e := newEnvelope(tx, p.payload, p.ttlSecs, p.ephemeral)
	d := delivery{by: &r.actor, size: uint64(len(p.payload)), ephemeral: e.ephemeral}
	tx.use(p.queue.Channel, &r.actor)
	if a := tx.account(p.queue.Owner); len(a.devices) > 0 {
		list := enqueueTargets(a, &p.queue)
		taken, _ := settleRoom(tx, list, &d)
		var seqs [1]uint64
		deliver(tx, list, &e, &d, taken, seqs[:])
		return tx.numberResult(seqs[0])
	}
	at := findSeat(tx, &p.queue, &d, d.size)
	return tx.numberResult(put(tx, &p.queue, &e, &d, &at))
}

// newEnvelope is an envelope that is stored now. One that ends within minutes, or is
// ephemeral, ends at its second.
func newEnvelope(tx *Tx, payload []byte, ttlSecs uint32, ephemeral bool) envelopeRow {
	e := envelopeRow{kind: envelopeInline, received: tx.now(), expires: expiry(tx, ttlSecs), body: payload}
	if since(tx, levelStatements) {
		e.ephemeral = ephemeral
		e.timed = ephemeral || e.expires-e.received <= timedMs
	}
	return e
}

// checkBatchEnqueue refuses the call as a whole for what its sender can mend:
// version, number of recipients, keys, channel, headers, body, time to live and
// naming a queue twice, in this order. Whether a recipient exists and has room is
// answered for each.
func checkBatchEnqueue(st state, r *request) refusal {
	p := &r.batchEnqueue
	switch {
	case p.version != schemas.WireVersion:
		return refusal{schemas.Code_wireVersionUnsupported, schemas.WireVersion}
	case p.named == 0:
		return refuse(schemas.Code_recipientsEmpty)
	case p.named > schemas.MaxRecipients:
		return refusal{schemas.Code_tooManyRecipients, schemas.MaxRecipients}
	}
	for i := range p.recipients {
		if no := checkAddress(p.version, &p.recipients[i].address); no.refused() {
			return no
		}
	}
	for i := range p.recipients {
		if no := checkSend(st, &r.actor, &p.recipients[i].queue); no.refused() {
			return no
		}
	}
	for i := range p.recipients {
		if len(p.recipients[i].header) > schemas.MaxHeader {
			return refusal{schemas.Code_payloadTooLarge, schemas.MaxHeader}
		}
	}
	if no := checkBody(st, p.payload, p.ttlSecs, p.ephemeral && since(st, levelStatements)); no.refused() {
		return no
	}
	if namesTwice(st, p.recipients) {
		return refuse(schemas.Code_duplicateRecipient)
	}
	if fanOut(st, p.recipients) > maxFanOut {
		return refusal{schemas.Code_tooManyRecipients, maxFanOut}
	}
	return refusal{}
}

// fanOut is how many queues the recipients stand for.
func fanOut(st state, recipients []recipientRequest) (queues int) {
	for i := range recipients {
		queues++
		if to := &recipients[i].queue; to.Device == (DeviceID{}) {
			queues += max(len(st.account(to.Owner).devices)-1, 0)
		}
	}
	return queues
}

// namesTwice tells whether two recipients stand for one queue: by the same address,
// or by an account and one of its devices.
func namesTwice(st state, recipients []recipientRequest) bool {
	if len(recipients) < 2 {
		return false
	}
	seen := make(map[QueueID]struct{}, len(recipients))
	for i := range recipients {
		if _, twice := seen[recipients[i].queue]; twice {
			return true
		}
		seen[recipients[i].queue] = struct{}{}
	}
	for i := range recipients {
		all := recipients[i].queue
		if all.Device == (DeviceID{}) {
			continue
		}
		all.Device = DeviceID{}
		if _, twice := seen[all]; twice && st.account(all.Owner).device(recipients[i].queue.Device) != nil {
			return true
		}
	}
	return false
}

// applyBatchEnqueue first settles who has room, then stores the body once, or
// in the envelope if only one queue takes it. A recipient of whom no queue has room
// misses it without a marker: its sender is told.
func applyBatchEnqueue(tx *Tx, r *request) Result {
	p := &r.batchEnqueue
	outcomes := make([]outcome, len(p.recipients))
	seqs := make([]uint64, len(p.recipients))
	list, taken := tx.targets[:0], uint64(0)
	e := newEnvelope(tx, p.payload, p.ttlSecs, p.ephemeral)
	d := delivery{by: &r.actor, size: uint64(len(p.payload)), ephemeral: e.ephemeral}
	for i := range p.recipients {
		from := len(list)
		list, outcomes[i].code = findTargets(tx, list, &r.actor, &p.recipients[i], i)
		tx.use(p.recipients[i].queue.Channel, &r.actor)
		n, no := settleRoom(tx, list[from:], &d)
		if no.refused() {
			list, outcomes[i].code = list[:from], no.code
		}
		taken += n
	}
	tx.targets = list[:0]
	deliver(tx, list, &e, &d, taken, seqs)
	for i := range outcomes {
		outcomes[i].seq = seqs[i]
	}
	return tx.outcomesResult(outcomes)
}

// outcome is what batchEnqueue answers for one recipient.
type outcome struct {
	code schemas.Code
	seq  uint64
}

// checkAck refuses in this order: version, key, channel, owner, sequence number.
func checkAck(st state, r *request) refusal {
	p := &r.ack
	if no := checkAddress(p.version, &p.address); no.refused() {
		return no
	}
	if no := checkOwner(st, &r.actor, &p.queue); no.refused() {
		return no
	}
	if h := st.queueHead(&p.queue); p.seq > h.last {
		return refusal{schemas.Code_ackBeyondEnd, h.last}
	}
	return refusal{}
}

// checkOwner tells whether a queue is the actor's own to empty.
func checkOwner(st state, by *actor, q *QueueID) refusal {
	if no := checkMember(st, by, q.Channel); no.refused() {
		return no
	}
	if by.kind != schemas.Actor_Kind_node && by.account != q.Owner {
		return refuse(schemas.Code_identityMismatch)
	}
	return refusal{}
}

// applyAck removes everything up to seq. The result counts envelopes, not loss
// markers.
func applyAck(tx *Tx, r *request) Result {
	return tx.numberResult(ackTo(tx, tx.queue(&r.ack.queue), r.ack.seq))
}

// ackTo removes everything up to seq from a queue and returns how many envelopes
// that were.
func ackTo(tx *Tx, h *queueEntry, seq uint64) (removed uint64) {
	if seq <= h.acked {
		return 0
	}
	before := h.count
	if seq == h.last && h.shared == 0 && h.ephemeral == 0 {
		// Everything goes and no body is shared: nothing needs to be read. The rows of
		// ends that name timed envelopes go when their second comes.
		h.count, h.bytes, h.timed, h.guests, h.guestBytes = 0, 0, 0, 0, 0
	} else {
		tx.eachEnvelope(h, h.acked+1, seq, func(at uint64, e *envelopeRow) bool {
			forget(tx, h, at, e)
			return true
		})
	}
	removed = before - h.count
	tx.deleteEnvelopes(h, h.acked+1, seq, removed == seq-h.acked)
	h.acked = seq
	tx.putQueue(h)
	return removed
}

// forget takes the envelope at seq out of its queue's accounts, out of its body's and
// out of the table of ends.
func forget(tx *Tx, h *queueEntry, seq uint64, e *envelopeRow) {
	if e.isMarker() {
		return
	}
	if e.timed {
		tx.deleteEnd(e.expires, &h.id, seq)
	}
	uncount(tx, &h.head, e)
}

// uncount takes an envelope out of its queue's accounts, and out of its body's.
func uncount(tx *Tx, h *head, e *envelopeRow) {
	h.count--
	h.bytes -= e.size()
	if e.timed {
		h.timed--
	}
	if e.ephemeral {
		h.ephemeral--
		h.ephemeralBytes -= e.size()
	}
	if e.guest {
		h.guests--
		h.guestBytes -= e.size()
	}
	if e.kind == envelopeShared {
		h.shared--
		tx.releaseBody(e.bodyID)
	}
}
