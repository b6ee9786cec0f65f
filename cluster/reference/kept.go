package reference

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/hashicorp/raft"

	"quicproquo/crypto/tlsid"
	"quicproquo/schemas"
)

// Kept holds the newest entries that a node has forwarded, bounded by bytes. Safe
// for concurrent use. mu guards the rest.
type Kept struct {
	node  tlsid.NodeID
	limit int // bytes

	mu     sync.Mutex
	oldest uint64 // number of forwards[0]
	// forwards are consecutively numbered.
	forwards [][][]byte
	bytes    int
}

// NewKept returns an empty one of the node that keeps, for at most limit bytes of
// entries. Numbers begin anywhere, so that those of a node's earlier life mean
// nothing in this one.
func NewKept(node tlsid.NodeID, limit int) *Kept {
	return &Kept{node: node, limit: limit, oldest: rand.Uint64()>>1 + 1}
}

// Keep takes the entries of one forward, which must not change any more, and
// returns their number; 0 when they are too large to be kept.
func (k *Kept) Keep(entries [][]byte) uint64 {
	bytes := size(entries)
	if bytes > k.limit {
		return 0
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.forwards = append(k.forwards, entries)
	k.bytes += bytes
	number := k.oldest + uint64(len(k.forwards)) - 1
	for k.bytes > k.limit {
		k.bytes -= size(k.forwards[0])
		k.forwards[0] = nil
		k.forwards = k.forwards[1:]
		k.oldest++
	}
	return number
}

func size(entries [][]byte) int {
	n := 0
	for _, entry := range entries {
		n += len(entry)
	}
	return n
}

// ErrGone means that what a log entry refers to is not kept any more, or is not
// what the leader means.
var ErrGone = errors.New("the log entry refers to forwarded entries that this node does not keep")

// Restore puts a log entry's Data together again and empties Extensions. Errors:
// ErrGone, ErrMalformed; log is as it was then.
func (k *Kept) Restore(log *raft.Log) error {
	if len(log.Extensions) == 0 {
		return nil
	}
	pieces, err := parsePieces(log.Extensions)
	if err != nil {
		return fmt.Errorf("log entry %d: %w", log.Index, err)
	}
	total := len(log.Data)
	runs := make([][][]byte, len(pieces))
	for i, p := range pieces {
		if runs[i], err = k.run(p); err != nil {
			return fmt.Errorf("log entry %d: %w", log.Index, err)
		}
		if total += p.size; total > schemas.MaxEnvelope {
			return fmt.Errorf("log entry %d: %w: it has more than %d bytes", log.Index, ErrMalformed, schemas.MaxEnvelope)
		}
	}
	data, rest := make([]byte, 0, total), log.Data
	for i, p := range pieces {
		if p.gap > len(rest) {
			return fmt.Errorf("log entry %d: %w: piece %d begins after the end", log.Index, ErrMalformed, i)
		}
		data = append(data, rest[:p.gap]...)
		rest = rest[p.gap:]
		for _, entry := range runs[i] {
			data = append(data, entry...)
		}
	}
	data = append(data, rest...)
	if err := schemas.CheckEnvelope(data); err != nil {
		return fmt.Errorf("log entry %d: %w: %w", log.Index, ErrGone, err)
	}
	log.Data, log.Extensions = data, nil
	return nil
}

// run returns the entries that a piece stands for.
func (k *Kept) run(p piece) ([][]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p.node != string(k.node) || p.forward < k.oldest || p.forward-k.oldest >= uint64(len(k.forwards)) {
		return nil, ErrGone
	}
	entries := k.forwards[p.forward-k.oldest]
	if p.first+p.count > len(entries) {
		return nil, ErrGone
	}
	entries = entries[p.first : p.first+p.count]
	if size(entries) != p.size {
		return nil, ErrGone
	}
	return entries, nil
}
