package cluster

import (
	"context"
	"sync"

	"quicproquo/cluster/reference"
	"quicproquo/fsm"
)

// outcome is how one attempt to write an entry ended.
type outcome struct {
	state  outcomeState
	index  uint64
	result fsm.Result
	// err says why when the entry was not applied or its fate is unknown.
	err error
}

type outcomeState uint8

const (
	// refused: certainly not applied.
	refused outcomeState = iota
	// unknown: may have been applied or may yet be.
	unknown
	// applied: index and result stand.
	applied
)

// proposal is one entry on its way. done has room for its one outcome.
type proposal struct {
	entry []byte
	// weight is what the entry counts in a batch, in bytes: its own size, or that
	// of its result if that may be larger, because results travel back together.
	weight int
	// origin is who forwarded the entry, if it keeps it.
	origin reference.Origin
	done   chan outcome
}

func newProposal(entry []byte, maxResult int) *proposal {
	return &proposal{entry: entry, weight: max(len(entry), maxResult), done: make(chan outcome, 1)}
}

// entriesOf returns the entries of a batch.
func entriesOf(batch []*proposal) [][]byte {
	entries := make([][]byte, len(batch))
	for i, p := range batch {
		entries[i] = p.entry
	}
	return entries
}

// batcher gathers proposals while earlier ones are on their way: natural
// batching, without a timer. An idle batcher sends a lone entry at once. While
// others are on their way a batch goes along once it is worth what it costs
// whatever is in it (for a raft entry three syncs, a dozen messages): see worth.
//
// lanes goroutines, started by run, own the sending. mu guards the rest.
type batcher struct {
	maxEntries int
	maxBytes   int
	// share is which part of those on their way a batch must hold to go along with
	// them: one third is 3. Zero asks for minAlong only.
	share int

	mu     sync.Mutex
	queue  []*proposal
	bytes  int
	sent   int // batches on their way
	away   int // entries in those
	closed bool
	wake   chan struct{} // capacity: one token a lane
}

func newBatcher(maxEntries, maxBytes, lanes, share int) *batcher {
	return &batcher{maxEntries: maxEntries, maxBytes: maxBytes, share: share, wake: make(chan struct{}, lanes)}
}

// submit queues proposals as a whole or refuses them as a whole.
func (b *batcher) submit(proposals ...*proposal) error {
	bytes := 0
	for _, p := range proposals {
		bytes += p.weight
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return ErrClosed
	}
	if len(b.queue)+len(proposals) > maxQueuedEntries || b.bytes+bytes > maxQueuedBytes {
		return ErrUnavailable
	}
	b.queue = append(b.queue, proposals...)
	b.bytes += bytes
	b.signal()
	return nil
}

// ready tells whether a batch is to go now. Callers hold mu.
func (b *batcher) ready() bool {
	return len(b.queue) > 0 && (b.sent == 0 || len(b.queue) >= b.worth() || b.bytes >= b.maxBytes)
}

// worth is how many entries make a batch that goes along with others. Callers hold
// mu.
func (b *batcher) worth() int {
	worth := minAlong
	if b.share > 0 {
		worth = max(b.away/b.share, worth)
	}
	return min(worth, b.maxEntries)
}

const (
	// logShare is the share of a raft entry: a third of those on their way, so that
	// writers who wait for their answers end up in four batches of about the same
	// size. One of them is then on the leader's disk, one with the followers, one in
	// the stores and one fills. Smaller ones cost more than they gain, and so do more
	// of them (docs/performance.md).
	logShare = 3
	// forwardShare is that of a batch for the leader: it costs no sync, and the
	// leader gathers again, so few entries are worth going.
	forwardShare = 0
)

// minAlong is the fewest entries of a batch that goes along with others.
const minAlong = 16

// signal wakes a lane if one sleeps and there is something to send. Callers hold
// mu.
func (b *batcher) signal() {
	if !b.ready() {
		return
	}
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// take removes the next batch, which counts as on its way until arrived; it is
// empty when none is to go now.
func (b *batcher) take() []*proposal {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ready() {
		return nil
	}
	n, bytes := 0, 0
	for n < len(b.queue) && n < b.maxEntries {
		size := b.queue[n].weight
		if n > 0 && bytes+size > b.maxBytes {
			break
		}
		bytes += size
		n++
	}
	batch := append([]*proposal(nil), b.queue[:n]...)
	rest := copy(b.queue, b.queue[n:])
	clear(b.queue[rest:])
	b.queue = b.queue[:rest]
	b.bytes -= bytes
	b.sent++
	b.away += n
	b.signal()
	return batch
}

// arrived says that a batch of so many entries has its outcomes.
func (b *batcher) arrived(entries int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sent--
	b.away -= entries
	b.signal()
}

// run is one lane: it sends batches until ctx ends. send must give every
// proposal its outcome.
func (b *batcher) run(ctx context.Context, send func(context.Context, []*proposal)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.wake:
		}
		for ctx.Err() == nil {
			batch := b.take()
			if len(batch) == 0 {
				break
			}
			send(ctx, batch)
			b.arrived(len(batch))
		}
	}
}

// close refuses what waits and what may still come. The lanes' context ends
// the lanes.
func (b *batcher) close() {
	b.mu.Lock()
	b.closed = true
	queue := b.queue
	b.queue, b.bytes = nil, 0
	b.mu.Unlock()
	finish(queue, outcome{state: refused, err: ErrClosed})
}

// finish gives every proposal the same outcome.
func finish(batch []*proposal, o outcome) {
	for _, p := range batch {
		p.done <- o
	}
}
