package fsm

import (
	"capnproto.org/go/capnp/v3"

	"quicproquo/schemas"
)

// Drain is fetch with removal, as one write: what it answers is exactly what it
// removes. The answer stands in the table of outcomes like any other, so it can be
// had again with the same request id.

type drainRequest struct {
	address
	limit   uint32
	version uint16
}

func (r *request) decodeDrain(cmd schemas.Entry_command) error {
	msg, err := cmd.Drain()
	if err != nil {
		return err
	}
	var g reading
	r.drain.set(g.bytes(msg.RecipientKey()), g.bytes(msg.DeviceId()), g.bytes(msg.ChannelId()))
	r.drain.limit, r.drain.version = msg.Limit(), msg.Version()
	return g.err
}

func drainKey(r *request) []byte { return r.drain.routingKey() }

// checkDrain refuses in this order: version, key, channel, owner.
func checkDrain(st state, r *request) refusal {
	p := &r.drain
	if no := checkAddress(p.version, &p.address); no.refused() {
		return no
	}
	return checkOwner(st, &r.actor, &p.queue)
}

// applyDrain answers FetchResults: as many envelopes as asked for and as fit into
// MaxDrainBytes, one at least if there is any.
func applyDrain(tx *Tx, r *request) Result {
	p := &r.drain
	limit := min(int(p.limit), schemas.MaxFetch)
	if limit == 0 {
		limit = schemas.DefaultFetch
	}
	h := tx.queue(&p.queue)
	list := tx.take(h, limit)
	msg, seg := schemas.NewMessage()
	results, err := schemas.NewRootFetchResults(seg)
	if err == nil {
		err = fillEnvelopes(results.NewPayloads, list, p.queue.Channel)
	}
	result := tx.messageResult(msg, err)
	if len(list) > 0 {
		ackTo(tx, h, list[len(list)-1].Seq)
	}
	return result
}

// take reads the first envelopes of a queue.
func (tx *Tx) take(h *queueEntry, limit int) (list []Envelope) {
	size := 0
	tx.eachEnvelope(h, h.acked+1, h.last, func(seq uint64, e *envelopeRow) bool {
		if len(list) > 0 && size+int(e.size()) > schemas.MaxDrainBytes {
			return false
		}
		one := Envelope{Seq: seq, ReceivedAtMs: e.received, Header: clone(e.header), Body: clone(e.body)}
		if e.isMarker() {
			one.Loss = e.loss(seq, h.acked)
		}
		one.shared = e.bodyID
		list = append(list, one)
		size += int(e.size())
		return len(list) < limit
	})
	for i := range list {
		if list[i].shared != 0 {
			list[i].Body = tx.sharedBody(list[i].shared)
		}
	}
	return list
}

// sharedBody copies a body that queues share.
func (tx *Tx) sharedBody(id uint64) []byte {
	body, ok := tx.row(tableBodies, appendBodyKey(nil, tableBodies, id))
	if !ok {
		tx.fail(brokenf("body %d is missing", id))
	}
	return clone(body)
}

// fillEnvelopes writes envelopes of one queue into a list of a message.
func fillEnvelopes(newList func(int32) (schemas.Envelope_List, error), list []Envelope, channel ChannelID) error {
	to, err := newList(int32(len(list)))
	if err != nil {
		return err
	}
	for i := range list {
		if err := list[i].Fill(to.At(i), channel); err != nil {
			return err
		}
	}
	return nil
}

// Fill writes the envelope into a message; channel is its queue's.
func (e *Envelope) Fill(to schemas.Envelope, channel ChannelID) error {
	to.SetSeq(e.Seq)
	to.SetReceivedAtMs(e.ReceivedAtMs)
	if err := to.SetChannelId(channel.Bytes()); err != nil {
		return err
	}
	if e.Loss.Count != 0 {
		return e.Loss.fill(to)
	}
	if err := to.SetHeader(e.Header); err != nil {
		return err
	}
	return to.SetData(e.Body)
}

// The sizes of schemas.Loss before it knew reasons, with the first two of them, and with
// overflow: drain's answer is part of the log's history, so a loss is written as it was
// when there was no more to say.
const (
	firstLossSize  = 3 * 8
	secondLossSize = 5 * 8
	thirdLossSize  = 6 * 8
)

func (l *Loss) fill(to schemas.Envelope) error {
	size := capnp.Size(firstLossSize)
	switch {
	case l.Overflow != 0:
		size = thirdLossSize
	case l.Expired != 0 || l.Ephemeral != 0:
		size = secondLossSize
	}
	own, err := capnp.NewStruct(to.Segment(), capnp.ObjectSize{DataSize: size})
	if err != nil {
		return err
	}
	loss := schemas.Loss(own)
	if err := to.SetLoss(loss); err != nil {
		return err
	}
	loss.SetCount(l.Count)
	loss.SetFirstSeq(l.First)
	loss.SetLastSeq(l.Last)
	if size >= secondLossSize {
		loss.SetExpired(l.Expired)
		loss.SetEphemeral(l.Ephemeral)
	}
	if size >= thirdLossSize {
		loss.SetOverflow(l.Overflow)
	}
	return nil
}
