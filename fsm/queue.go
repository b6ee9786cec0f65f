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
// room in the queue.
func checkEnqueue(st state, r *request) refusal {
	p := &r.enqueue
	if no := checkAddress(p.version, &p.address); no.refused() {
		return no
	}
	if no := checkBody(st, p.payload, p.ttlSecs); no.refused() {
		return no
	}
	return checkRoom(st, &p.queue, uint64(len(p.payload)))
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

func checkBody(st state, payload []byte, ttlSecs uint32) refusal {
	switch {
	case len(payload) == 0:
		return refuse(schemas.Code_payloadEmpty)
	case len(payload) > schemas.MaxBody:
		return refusal{schemas.Code_payloadTooLarge, schemas.MaxBody}
	}
	if limit := st.setting(ttlMaxSecs); uint64(ttlSecs) > limit {
		return refusal{schemas.Code_ttlTooLarge, limit}
	}
	return refusal{}
}

// checkRoom refuses what would bring a queue over its limits. Nothing is
// dropped to make room: the sender is told.
func checkRoom(st state, q *QueueID, size uint64) refusal {
	h := st.queueHead(q)
	if limit := st.setting(queueMaxEnvelopes); h.count >= limit {
		return refusal{schemas.Code_queueFull, limit}
	}
	if limit := st.setting(queueMaxBytes); h.bytes+size > limit {
		return refusal{schemas.Code_queueFull, limit}
	}
	return refusal{}
}

func applyEnqueue(tx *Tx, r *request) Result {
	p := &r.enqueue
	seq := push(tx, &p.queue, &envelopeRow{
		kind: envelopeInline, received: tx.now(), expires: expiry(tx, p.ttlSecs), body: p.payload,
	})
	return tx.numberResult(seq)
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

// checkBatchEnqueue refuses the call as a whole for what its sender can mend:
// version, number of recipients, keys, channel, headers, body, time to live and
// naming a queue twice, in this order. Whether a queue has room is answered for
// each recipient.
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
		if len(p.recipients[i].header) > schemas.MaxHeader {
			return refusal{schemas.Code_payloadTooLarge, schemas.MaxHeader}
		}
	}
	if no := checkBody(st, p.payload, p.ttlSecs); no.refused() {
		return no
	}
	if namesTwice(p.recipients) {
		return refuse(schemas.Code_duplicateRecipient)
	}
	return refusal{}
}

func namesTwice(recipients []recipientRequest) bool {
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
	return false
}

// applyBatchEnqueue first settles who has room, then stores the body once, or
// in the envelope if only one queue takes it.
func applyBatchEnqueue(tx *Tx, r *request) Result {
	p := &r.batchEnqueue
	outcomes := make([]outcome, len(p.recipients))
	taken := uint64(0)
	for i := range p.recipients {
		to := &p.recipients[i]
		outcomes[i].code = checkRoom(tx, &to.queue, uint64(len(p.payload)+len(to.header))).code
		if outcomes[i].code == schemas.Code_ok {
			taken++
		}
	}
	e := envelopeRow{
		kind: envelopeInline, received: tx.now(), expires: expiry(tx, p.ttlSecs), body: p.payload,
	}
	if taken > 1 {
		e.kind, e.body = envelopeShared, nil
		e.bodyID, e.bodyLen = tx.putBody(p.payload, taken), uint32(len(p.payload))
	}
	for i := range p.recipients {
		if outcomes[i].code == schemas.Code_ok {
			e.header = p.recipients[i].header
			outcomes[i].seq = push(tx, &p.recipients[i].queue, &e)
		}
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
	if r.actor.kind == schemas.Actor_Kind_account && r.actor.account != p.queue.Owner {
		return refuse(schemas.Code_identityMismatch)
	}
	if h := st.queueHead(&p.queue); p.seq > h.last {
		return refusal{schemas.Code_ackBeyondEnd, h.last}
	}
	return refusal{}
}

// applyAck removes everything up to seq. The result counts envelopes, not loss
// markers.
func applyAck(tx *Tx, r *request) Result {
	p := &r.ack
	h := tx.queue(&p.queue)
	if p.seq <= h.acked {
		return tx.numberResult(0)
	}
	before := h.count
	if p.seq == h.last && h.shared == 0 {
		// Everything goes and no body is shared: nothing needs to be read.
		h.count, h.bytes = 0, 0
	} else {
		tx.eachEnvelope(h, h.acked+1, p.seq, func(_ uint64, e *envelopeRow) bool {
			forget(tx, &h.head, e)
			return true
		})
	}
	removed := before - h.count
	tx.deleteEnvelopes(h, h.acked+1, p.seq, removed == p.seq-h.acked)
	h.acked = p.seq
	tx.putQueue(h)
	return tx.numberResult(removed)
}

// forget takes an envelope out of its queue's accounts, and out of its body's.
func forget(tx *Tx, h *head, e *envelopeRow) {
	if e.kind == envelopeLoss {
		return
	}
	h.count--
	h.bytes -= e.size()
	if e.kind == envelopeShared {
		h.shared--
		tx.releaseBody(e.bodyID)
	}
}
