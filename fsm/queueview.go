package fsm

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"quicproquo/schemas"
)

// Page is a run of a queue's envelopes that was measured and is yet to be read,
// so that its reader can make room for exactly that.
type Page struct {
	Queue QueueID
	// After is where the page begins: behind the reader's cursor, or behind what
	// was acknowledged if that is more.
	After uint64
	// Upto is the sequence number of its last envelope; After for an empty page.
	Upto uint64
	// Count is the number of its envelopes, loss markers included.
	Count int
	// Bytes is the size of their bodies and headers, or a little more.
	Bytes int
	// Last is the highest sequence number that the queue has given out. While it
	// is above Upto there is more to read.
	Last uint64
}

// Page measures the envelopes of a queue with sequence numbers above after: at
// most limit (schemas.MaxFetch at most), and no further one once their bodies and
// headers have reached maxBytes (schemas.MaxFetchBytes at most); at least one if
// there is any. A queue that does not exist is empty.
func (v *View) Page(q QueueID, after uint64, limit, maxBytes int) (Page, error) {
	h, err := v.head(&q)
	if err != nil {
		return Page{}, fmt.Errorf("measure page: %w", err)
	}
	return v.page(&h, q, after, limit, maxBytes)
}

func (v *View) page(h *head, q QueueID, after uint64, limit, maxBytes int) (p Page, err error) {
	limit, maxBytes = min(limit, schemas.MaxFetch), min(maxBytes, schemas.MaxFetchBytes)
	p = Page{Queue: q, After: max(after, h.acked), Last: h.last}
	p.Upto = p.After
	if limit <= 0 || p.After >= h.last {
		return p, nil
	}
	if rows := h.last - p.After; h.count == h.last-h.acked && h.bytes <= uint64(maxBytes) && rows <= uint64(limit) {
		// No loss marker stands for several numbers, and all of it fits.
		p.Upto, p.Count, p.Bytes = h.last, int(rows), int(h.bytes)
		return p, nil
	}
	err = eachEnvelope(v.snapshot, &q, p.After+1, h.last, func(seq uint64, e *envelopeRow) bool {
		if p.Count > 0 && p.Bytes+int(e.size()) > maxBytes {
			return false
		}
		p.Upto, p.Count, p.Bytes = seq, p.Count+1, p.Bytes+int(e.size())
		return p.Count < limit
	})
	if err != nil {
		return p, fmt.Errorf("measure page: %w", err)
	}
	return p, nil
}

// Fill writes a page that this View has measured into a message's list, from a
// place on. The bytes go straight from the storage's blocks into the message.
func (v *View) Fill(p *Page, to schemas.Envelope_List, at int) error {
	switch p.Count {
	case 0:
		return nil
	case 1:
		return v.fillOne(p, to.At(at))
	}
	next, end := at, at+p.Count
	var fillErr error
	err := eachEnvelope(v.snapshot, &p.Queue, p.After+1, p.Upto, func(seq uint64, e *envelopeRow) bool {
		if next == end {
			fillErr = brokenf("queue has more envelopes up to %d than the %d that were measured", p.Upto, p.Count)
			return false
		}
		fillErr = v.fill(p.After, seq, e, to.At(next), p.Queue.Channel)
		next++
		return fillErr == nil
	})
	if err = errors.Join(err, fillErr); err == nil && next != end {
		err = brokenf("queue has %d envelopes fewer up to %d than were measured", end-next, p.Upto)
	}
	if err != nil {
		return fmt.Errorf("read page: %w", err)
	}
	return nil
}

// fillOne writes a page of one envelope, without an iterator: that costs three
// times as much.
func (v *View) fillOne(p *Page, to schemas.Envelope) error {
	var key [maxKey]byte
	value, closer, err := v.snapshot.Get(appendEnvelopeKey(key[:0], &p.Queue, p.Upto))
	if errors.Is(err, pebble.ErrNotFound) {
		return brokenf("envelope %d was measured and is missing", p.Upto)
	}
	if err != nil {
		return fmt.Errorf("read page: %w", err)
	}
	var e envelopeRow
	if err = e.decode(value); err == nil {
		err = v.fill(p.After, p.Upto, &e, to, p.Queue.Channel)
	}
	if err = errors.Join(err, closer.Close()); err != nil {
		return fmt.Errorf("read page: %w", err)
	}
	return nil
}

// fill writes one envelope. A shared body is used before its block is given back.
func (v *View) fill(after, seq uint64, e *envelopeRow, to schemas.Envelope, channel ChannelID) error {
	one := Envelope{Seq: seq, ReceivedAtMs: e.received, Header: e.header, Body: e.body}
	switch e.kind {
	case envelopeLoss, envelopeEnded:
		// A marker may have grown since the reader was here: what is below its
		// cursor it has been told.
		one.Loss = e.loss(seq, after)
	case envelopeShared:
		var key [maxKey]byte
		body, closer, err := v.snapshot.Get(appendBodyKey(key[:0], tableBodies, e.bodyID))
		if errors.Is(err, pebble.ErrNotFound) {
			return brokenf("body %d of envelope %d is missing", e.bodyID, seq)
		}
		if err != nil {
			return fmt.Errorf("read body: %w", err)
		}
		one.Body = body
		return errors.Join(one.Fill(to, channel), closer.Close())
	}
	return one.Fill(to, channel)
}

// Queues visits the queues of a device, the zero device's being the account's own:
// the inbox, then those of channels in the order of their ids, from from on, until
// visit returns false. A queue that was once written to stays, empty or not.
func (v *View) Queues(from QueueID, visit func(ChannelID, QueueStats) bool) error {
	prefix := rowKey(tableHeads, from.Owner[:], from.Device[:])
	var h head
	err := eachRow(v.snapshot, &pebble.IterOptions{
		LowerBound: appendHeadKey(nil, &from), UpperBound: prefixEnd(prefix),
	}, func(key, value []byte) (bool, error) {
		q, rest, ok := readQueue(key[1:])
		if !ok || len(rest) != 0 {
			return false, fmt.Errorf("queue head: %w: key of %d bytes", errRow, len(key))
		}
		if err := h.decode(value); err != nil {
			return false, err
		}
		return visit(q.Channel, QueueStats{First: h.acked + 1, Last: h.last, Envelopes: h.count, Bytes: h.bytes}), nil
	})
	if err != nil {
		return fmt.Errorf("read queues: %w", err)
	}
	return nil
}
