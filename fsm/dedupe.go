package fsm

import (
	"fmt"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2"

	"quicproquo/schemas"
)

// One outcome per request id: the first entry with an (actor, request id)
// decides, refused or not, and every later one gets the same answer and changes
// nothing. So a proposer that does not know what became of an entry may propose
// it again, and a late copy of an entry whose refusal was reported does no harm.
// Who wants a new attempt takes a new id (docs/decisions/0021). An entry that asks for
// something else under a known id is refused: it must not hear of another's success.
//
// Outcomes are kept by generations of log time: an id is looked for in the
// newest keptGenerations, and a whole generation is dropped at once. So an
// outcome is remembered for 30 to 45 minutes of log time.
const (
	generationMs    = 15 * 60 * 1000
	keptGenerations = 3
)

// dedupe is the table of outcomes as a Tx sees it.
type dedupe struct {
	newest uint64 // generation of log time
	// filters say for the kept generations which ids are certainly not there.
	// filters[i] belongs to generation g with g % keptGenerations == i. It is nil
	// when the generation was already there when the store was opened: then every
	// lookup asks the store.
	filters     [keptGenerations]*idFilter
	filterWords int
	// pending holds the hashes of the keys that the uncommitted batch has written.
	pending map[uint64]struct{}
	// key and its hash, and what is asked for, belong to the request that runs.
	key    []byte
	hash   uint64
	print  uint64 // see fingerprint
	hasher fingerprint
}

// start sets up for the generation of a store's log time. A store that has never
// applied anything knows that every generation is empty.
func (d *dedupe) start(meta *metaRow, filterWords int) {
	*d = dedupe{newest: meta.stamp / generationMs, filterWords: filterWords, pending: make(map[uint64]struct{})}
	if meta.commands == 0 {
		*d.filter(d.newest) = newIDFilter(filterWords)
	}
}

// forget makes every lookup find nothing: see planted.SnapshotWithoutDedupe.
func (d *dedupe) forget() {
	for i := range d.filters {
		d.filters[i] = newIDFilter(d.filterWords)
	}
}

func (d *dedupe) filter(generation uint64) **idFilter {
	return &d.filters[generation%keptGenerations]
}

// oldest is the first generation that is kept while newest is the newest.
func oldest(newest uint64) uint64 {
	return newest - min(newest, keptGenerations-1)
}

// advance moves log time on and drops the generations that have become too old.
func (tx *Tx) advanceDedupe() {
	d := &tx.dedupe
	generation := tx.meta.stamp / generationMs
	if generation == d.newest {
		return
	}
	for g := max(d.newest+1, oldest(generation)); g <= generation; g++ {
		*d.filter(g) = newIDFilter(d.filterWords)
	}
	if keep := oldest(generation); keep > oldest(d.newest) {
		tx.key = appendDedupePrefix(tx.key[:0], oldest(d.newest))
		tx.key2 = appendDedupePrefix(tx.key2[:0], keep)
		tx.deleteRange(tableDedupe, tx.key, tx.key2)
	}
	d.newest = generation
}

// recorded returns the outcome of an earlier entry with the request's id. It
// leaves the id's key behind for record.
func (tx *Tx) recorded(r *request) (Result, bool) {
	d := &tx.dedupe
	d.print = d.hasher.of(r)
	d.key = appendRequestKey(d.key[:0], r)
	d.hash = xxhash.Sum64(d.key)
	for g := oldest(d.newest); g <= d.newest; g++ {
		if f := *d.filter(g); f != nil && !f.mayHold(d.hash) {
			continue
		}
		reader := pebble.Reader(tx.db)
		if _, ok := d.pending[d.hash]; ok {
			reader = tx.readable()
		}
		tx.key = append(appendDedupePrefix(tx.key[:0], g), d.key...)
		if row, ok := tx.get(reader, tx.key); ok {
			result, of, err := decodeOutcome(row)
			if err != nil {
				tx.fail(err)
			}
			if of != 0 && of != d.print {
				return Result{Code: schemas.Code_requestIdReused}, true
			}
			return result, true
		}
	}
	return Result{}, false
}

// anyCommand has the outcome that is recorded next answer any command under its id: a
// fault that is planted.
func (d *dedupe) anyCommand() { d.print = 0 }

// record keeps the outcome of the request that recorded was asked about.
func (tx *Tx) record(result Result) {
	d := &tx.dedupe
	tx.key = append(appendDedupePrefix(tx.key[:0], d.newest), d.key...)
	of := d.print
	if !since(tx, levelFingerprints) {
		of = 0
	}
	key, value := tx.stage.set(tx.key, outcomeSize(&result, of))
	encodeOutcome(value, &result, of)
	tx.digest.row(opSet, key, value)
	if f := *d.filter(d.newest); f != nil {
		f.add(d.hash)
	}
	d.pending[d.hash] = struct{}{}
}

// appendRequestKey appends what a generation's keys end in. The id comes first:
// it is random, so comparisons of keys end early.
func appendRequestKey(key []byte, r *request) []byte {
	return r.actor.appendKey(append(key, r.id[:]...))
}

// An outcome's row: its code, 2 bytes; its value, 8; if withPrint is set in the code, the
// fingerprint of its command, 8; the result's data.
const (
	outcomeFixed = 2 + 8
	printSize    = 8
	withPrint    = 1 << 15
)

func outcomeSize(r *Result, of uint64) int {
	if of == 0 {
		return outcomeFixed + len(r.Data)
	}
	return outcomeFixed + printSize + len(r.Data)
}

// encodeOutcome writes the outcome of a command with this fingerprint; 0 for none.
func encodeOutcome(dst []byte, r *Result, of uint64) {
	code := uint16(r.Code)
	le.PutUint64(dst[2:], r.Value)
	data := dst[outcomeFixed:]
	if of != 0 {
		code |= withPrint
		le.PutUint64(data, of)
		data = data[printSize:]
	}
	le.PutUint16(dst, code)
	copy(data, r.Data)
}

func decodeOutcome(row []byte) (r Result, of uint64, err error) {
	bad := func() error { return fmt.Errorf("outcome: %w: %d bytes", errRow, len(row)) }
	if len(row) < outcomeFixed {
		return r, 0, bad()
	}
	code := le.Uint16(row)
	r = Result{Code: schemas.Code(code &^ withPrint), Value: le.Uint64(row[2:])}
	data := row[outcomeFixed:]
	if code&withPrint != 0 {
		if len(data) < printSize {
			return r, 0, bad()
		}
		of, data = le.Uint64(data), data[printSize:]
	}
	if len(data) > 0 {
		r.Data = append([]byte(nil), data...)
	}
	return r, of, nil
}

// idFilter is a blocked Bloom filter: six bits in one cache line for each id.
// It saves the search for ids that are new, which nearly all are. When it fills
// up it says "maybe" more often and lookups get slower, never wrong.
type idFilter struct {
	words []uint64
	used  bool // holds anything: one that does not is not worth a cache miss
}

const (
	filterBlock = 8 // words in a cache line
	filterBits  = 6
	// filterWordsDefault is 8 MiB for each generation: room for six million ids at one
	// false alarm in a hundred.
	filterWordsDefault = 1 << 20
)

func newIDFilter(words int) *idFilter { return &idFilter{words: make([]uint64, words)} }

func (f *idFilter) block(hash uint64) []uint64 {
	n := uint64(len(f.words) / filterBlock)
	i := (hash >> 32) * n >> 32 * filterBlock
	return f.words[i : i+filterBlock : i+filterBlock]
}

func (f *idFilter) add(hash uint64) {
	f.used = true
	block := f.block(hash)
	for bits := spread(hash); ; bits >>= 9 {
		if bits == 0 {
			return
		}
		block[bits>>6&7] |= 1 << (bits & 63)
	}
}

func (f *idFilter) mayHold(hash uint64) bool {
	if !f.used {
		return false
	}
	block := f.block(hash)
	for bits := spread(hash); bits != 0; bits >>= 9 {
		if block[bits>>6&7]&(1<<(bits&63)) == 0 {
			return false
		}
	}
	return true
}

// spread makes six groups of nine bits: which bit of a block's 512.
func spread(hash uint64) uint64 {
	return hash * 0x9e3779b97f4a7c15 & (1<<(9*filterBits) - 1)
}
