package reference

import (
	"encoding/binary"
	"errors"
	"fmt"

	"quicproquo/crypto/tlsid"
	"quicproquo/schemas"
)

// Origin says where an entry of a batch came from. The zero value is an entry that
// nobody keeps.
type Origin struct {
	Node tlsid.NodeID
	// Forward is the number under which Node keeps the entries of one forward.
	Forward uint64
	// Index is the entry's place in that forward.
	Index int
}

// piece is a run of entries of one forward that lie one after another in a log
// entry's data.
type piece struct {
	gap     int // bytes between the piece before, or the beginning, and this one
	size    int // bytes
	node    string
	forward uint64
	first   int // place in the forward
	count   int
}

// Pieces travel and wait in raft's Extensions field, which raft carries and does
// not use:
//
//	1     format version, 1
//	then a piece after the other, to the end, numbers as unsigned varints:
//	gap, size, length of the node id, the node id, first, count, and the forward
//	as 8 bytes, little endian
const piecesVersion = 1

// maxNode is the longest node id that is read, in bytes (tlsid allows less).
const maxNode = 255

// ErrMalformed means that bytes are not pieces.
var ErrMalformed = errors.New("not a list of references")

func appendPiece(to []byte, p piece) []byte {
	to = binary.AppendUvarint(to, uint64(p.gap))
	to = binary.AppendUvarint(to, uint64(p.size))
	to = binary.AppendUvarint(to, uint64(len(p.node)))
	to = append(to, p.node...)
	to = binary.AppendUvarint(to, uint64(p.first))
	to = binary.AppendUvarint(to, uint64(p.count))
	return binary.LittleEndian.AppendUint64(to, p.forward)
}

// parsePieces reads pieces. None is larger than a log entry may be, and together
// they are not either.
func parsePieces(from []byte) ([]piece, error) {
	if len(from) == 0 || from[0] != piecesVersion {
		return nil, fmt.Errorf("%w: version", ErrMalformed)
	}
	r := reader{rest: from[1:]}
	var pieces []piece
	total := 0
	for len(r.rest) > 0 {
		p := piece{gap: r.number(schemas.MaxEnvelope), size: r.number(schemas.MaxEnvelope)}
		p.node = string(r.bytes(r.number(maxNode)))
		p.first = r.number(schemas.MaxBatchEntries)
		p.count = r.number(schemas.MaxBatchEntries)
		if number := r.bytes(8); len(number) == 8 {
			p.forward = binary.LittleEndian.Uint64(number)
		}
		if r.failed {
			return nil, fmt.Errorf("%w: piece %d", ErrMalformed, len(pieces))
		}
		if total += p.gap + p.size; total > schemas.MaxEnvelope {
			return nil, fmt.Errorf("%w: pieces of more than %d bytes", ErrMalformed, schemas.MaxEnvelope)
		}
		pieces = append(pieces, p)
	}
	return pieces, nil
}

// reader takes fields from the front. After the first that isn't there everything
// is zero.
type reader struct {
	rest   []byte
	failed bool
}

func (r *reader) number(most int) int {
	value, n := binary.Uvarint(r.rest)
	if r.failed || n <= 0 || value > uint64(most) {
		r.failed = true
		return 0
	}
	r.rest = r.rest[n:]
	return int(value)
}

func (r *reader) bytes(n int) []byte {
	if r.failed || n > len(r.rest) {
		r.failed = true
		return nil
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}
