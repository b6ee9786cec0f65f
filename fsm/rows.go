package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// errRow means that a row does not have the shape this format version writes.
// The store's files are damaged or were written by something else.
var errRow = errors.New("row has the wrong shape")

// Numbers in values are little endian.
var le = binary.LittleEndian

// metaRow says what the store has applied. It is in every storage batch.
type metaRow struct {
	index    uint64 // raft index of the last command entry
	stamp    uint64 // its log time, milliseconds since 1970; never goes back
	commands uint64 // commands applied since the beginning
	digest   uint64 // see digest.go
}

const metaRowSize = 4 * 8

func (m *metaRow) encode(dst []byte) {
	le.PutUint64(dst[0:], m.index)
	le.PutUint64(dst[8:], m.stamp)
	le.PutUint64(dst[16:], m.commands)
	le.PutUint64(dst[24:], m.digest)
}

func (m *metaRow) decode(row []byte) error {
	if len(row) != metaRowSize {
		return fmt.Errorf("meta: %w: %d bytes", errRow, len(row))
	}
	m.index, m.stamp = le.Uint64(row[0:]), le.Uint64(row[8:])
	m.commands, m.digest = le.Uint64(row[16:]), le.Uint64(row[24:])
	return nil
}

// head is what a queue knows about itself. A queue that was never written to
// has the zero head; a head is never deleted, because sequence numbers are
// never used again.
type head struct {
	last  uint64 // the highest sequence number given; the first one is 1
	acked uint64 // everything up to here was acknowledged; acked ≤ last
	count uint64 // envelopes in the queue, loss markers aside
	bytes uint64 // their bodies and headers
	// shared is how many of them refer to a shared body. While it is 0 an
	// acknowledgement of everything needs to read nothing.
	shared uint64
	// due is the bucket under which the queue stands in the due table, 0 for
	// none. No envelope of the queue expires in an earlier bucket.
	due uint64
	// maxExpires is the latest expiry ever put in since the queue was empty, and
	// mixedTo the last sequence number whose expiry lies before an older one's:
	// above it envelopes expire in order, and a search may stop at the first
	// that stays.
	maxExpires uint64
	mixedTo    uint64

	// timed is how many of the envelopes stand in the table of ends and not in the due
	// table, ephemeral how many of those are, and ephemeralBytes their size.
	timed          uint64
	ephemeral      uint64
	ephemeralBytes uint64

	// guests is how many of the envelopes that are not ephemeral strangers have put in
	// beside the queue's limits, and guestBytes their size.
	guests     uint64
	guestBytes uint64
}

// A head without timed envelopes has the first size, one without guests the second.
const (
	headSize      = 8 * 8
	timedHeadSize = 11 * 8
	guestHeadSize = 13 * 8
)

func (h *head) encodedLen() int {
	switch {
	case h.guests != 0:
		return guestHeadSize
	case h.timed != 0:
		return timedHeadSize
	}
	return headSize
}

func (h *head) encode(dst []byte) {
	le.PutUint64(dst[0:], h.last)
	le.PutUint64(dst[8:], h.acked)
	le.PutUint64(dst[16:], h.count)
	le.PutUint64(dst[24:], h.bytes)
	le.PutUint64(dst[32:], h.shared)
	le.PutUint64(dst[40:], h.due)
	le.PutUint64(dst[48:], h.maxExpires)
	le.PutUint64(dst[56:], h.mixedTo)
	if h.timed != 0 || h.guests != 0 {
		le.PutUint64(dst[64:], h.timed)
		le.PutUint64(dst[72:], h.ephemeral)
		le.PutUint64(dst[80:], h.ephemeralBytes)
	}
	if h.guests != 0 {
		le.PutUint64(dst[88:], h.guests)
		le.PutUint64(dst[96:], h.guestBytes)
	}
}

func (h *head) decode(row []byte) error {
	h.timed, h.ephemeral, h.ephemeralBytes, h.guests, h.guestBytes = 0, 0, 0, 0, 0
	switch len(row) {
	case headSize:
	case guestHeadSize:
		h.guests, h.guestBytes = le.Uint64(row[88:]), le.Uint64(row[96:])
		fallthrough
	case timedHeadSize:
		h.timed, h.ephemeral, h.ephemeralBytes = le.Uint64(row[64:]), le.Uint64(row[72:]), le.Uint64(row[80:])
	default:
		return fmt.Errorf("queue head: %w: %d bytes", errRow, len(row))
	}
	h.last, h.acked = le.Uint64(row[0:]), le.Uint64(row[8:])
	h.count, h.bytes, h.shared = le.Uint64(row[16:]), le.Uint64(row[24:]), le.Uint64(row[32:])
	h.due, h.maxExpires, h.mixedTo = le.Uint64(row[40:]), le.Uint64(row[48:]), le.Uint64(row[56:])
	return nil
}

// valid holds for every head between two commands.
func (h *head) valid() bool {
	return h.acked <= h.last && h.count <= h.last-h.acked && h.shared <= h.count &&
		h.ephemeral <= h.timed && h.timed <= h.count && h.ephemeral+h.guests <= h.count &&
		h.ephemeralBytes+h.guestBytes <= h.bytes &&
		(h.count > 0 || h.bytes == 0) && (h.count == h.timed || h.due != 0)
}

// Kinds of envelope rows.
const (
	envelopeInline byte = iota + 1 // the body is in the row
	envelopeShared                 // the row names a row of bodies
	envelopeLoss                   // a loss marker: everything from first to the row's own seq is gone
	envelopeEnded                  // a loss marker that knows why
)

// Bits beside the kind of an envelope that is not a marker.
const (
	envelopeEphemeral = 0x80 // it ends without a loss
	envelopeTimed     = 0x40 // it stands in the table of ends
	envelopeGuest     = 0x20 // it counts in the strangers' part of its queue
	envelopeKind      = 0x1f
)

// envelopeRow is one place of a queue:
//
//	0   1  kind
//	1   8  received, log time of the entry in milliseconds
//	9   8  expires, log time in milliseconds; for a loss marker first
//	17  2  length of the header
//	19     header, then the body, or for kind shared 8 bytes of body id and 4 of its
//	       length, or for kind ended its runs, each as reason:1 count:8
type envelopeRow struct {
	kind      byte
	timed     bool
	ephemeral bool
	guest     bool
	runs      []run // ended
	received  uint64
	expires   uint64
	first     uint64
	header    []byte
	body      []byte // inline
	bodyID    uint64 // shared
	bodyLen   uint32 // shared
}

const (
	envelopeFixed  = 19
	envelopeShares = 12
)

func (e *envelopeRow) encodedLen() int {
	switch e.kind {
	case envelopeInline:
		return envelopeFixed + len(e.header) + len(e.body)
	case envelopeShared:
		return envelopeFixed + len(e.header) + envelopeShares
	}
	return envelopeFixed + len(e.runs)*runSize
}

func (e *envelopeRow) encode(dst []byte) {
	dst[0] = e.kind
	if e.ephemeral {
		dst[0] |= envelopeEphemeral
	}
	if e.timed {
		dst[0] |= envelopeTimed
	}
	if e.guest {
		dst[0] |= envelopeGuest
	}
	le.PutUint64(dst[1:], e.received)
	le.PutUint64(dst[9:], e.expires+e.first) // one of them is 0
	le.PutUint16(dst[17:], uint16(len(e.header)))
	rest := dst[envelopeFixed:]
	rest = rest[copy(rest, e.header):]
	switch e.kind {
	case envelopeInline:
		copy(rest, e.body)
	case envelopeShared:
		le.PutUint64(rest, e.bodyID)
		le.PutUint32(rest[8:], e.bodyLen)
	case envelopeEnded:
		encodeRuns(rest, e.runs)
	}
}

// decode reads a row; header and body alias it.
func (e *envelopeRow) decode(row []byte) error {
	if len(row) < envelopeFixed {
		return fmt.Errorf("envelope: %w: %d bytes", errRow, len(row))
	}
	*e = envelopeRow{
		kind: row[0] & envelopeKind, received: le.Uint64(row[1:]), expires: le.Uint64(row[9:]),
		ephemeral: row[0]&envelopeEphemeral != 0, timed: row[0]&envelopeTimed != 0, guest: row[0]&envelopeGuest != 0,
	}
	headerLen, rest := int(le.Uint16(row[17:])), row[envelopeFixed:]
	if headerLen > len(rest) {
		return fmt.Errorf("envelope: %w: header of %d bytes in %d", errRow, headerLen, len(rest))
	}
	e.header, rest = rest[:headerLen], rest[headerLen:]
	switch {
	case e.kind == envelopeInline:
		e.body = rest
	case e.kind == envelopeShared && len(rest) == envelopeShares:
		e.bodyID, e.bodyLen = le.Uint64(rest), le.Uint32(rest[8:])
	case e.kind == envelopeLoss && len(row) == envelopeFixed:
		e.first, e.expires = e.expires, 0
	case e.kind == envelopeEnded && headerLen == 0 && len(rest) > 0 && len(rest)%runSize == 0:
		e.first, e.expires = e.expires, 0
		e.runs = decodeRuns(rest)
	default:
		return fmt.Errorf("envelope: %w: kind %d with %d bytes", errRow, e.kind, len(row))
	}
	return nil
}

// size is what the envelope counts against its queue's limit of bytes.
func (e *envelopeRow) size() uint64 {
	switch e.kind {
	case envelopeInline:
		return uint64(len(e.header) + len(e.body))
	case envelopeShared:
		return uint64(len(e.header)) + uint64(e.bodyLen)
	}
	return 0
}

// dueRow remembers where a search for expired envelopes stopped that was too
// long for one entry: the next sequence number to look at, and the earliest
// expiry among those that stay. Both are 0 before the search.
type dueRow struct {
	cursor   uint64
	earliest uint64
}

const dueRowSize = 2 * 8

func (d *dueRow) encode(dst []byte) {
	le.PutUint64(dst, d.cursor)
	le.PutUint64(dst[8:], d.earliest)
}

func (d *dueRow) decode(row []byte) error {
	if len(row) != dueRowSize {
		return fmt.Errorf("due row: %w: %d bytes", errRow, len(row))
	}
	d.cursor, d.earliest = le.Uint64(row), le.Uint64(row[8:])
	return nil
}

func decodeNumber(row []byte) (uint64, error) {
	if len(row) != 8 {
		return 0, fmt.Errorf("number: %w: %d bytes", errRow, len(row))
	}
	return le.Uint64(row), nil
}
