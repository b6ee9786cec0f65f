package fsm

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// stage collects the rows that a batch writes and hands them to Pebble in the
// order of their keys: the memtable is a skiplist, and a run of neighbours costs
// about half of what keys in random order do (docs/decisions/0023).
type stage struct {
	data []byte // keys and values, one after the other
	ops  []stagedOp
	// spare is where ops are moved to and fro while they are sorted.
	spare []stagedOp
}

// stagedOp is a row in stage.data: the key, and right behind it the value.
type stagedOp struct {
	// prefix is what sorts before the key itself is looked at: see sortPrefix.
	prefix   uint64
	offset   uint32
	keyLen   uint16
	op       byte
	valueLen uint32
	order    uint32 // rows of the same key keep their order
}

// opDeleteOnce deletes a row that was written exactly once. Row and deletion then
// cancel each other out at the first flush that sees both, and never reach the
// disk; an ordinary deletion travels down to the last level.
const opDeleteOnce = opResult + 1

// set appends a row and returns its key as staged and its value to be filled in,
// both valid until the next row.
func (s *stage) set(key []byte, valueLen int) (stagedKey, value []byte) {
	return s.add(opSet, key, valueLen)
}

func (s *stage) add(op byte, key []byte, valueLen int) (stagedKey, value []byte) {
	from := len(s.data)
	s.data = append(s.data, key...)
	mid := len(s.data)
	s.data = slices.Grow(s.data, valueLen)[:mid+valueLen]
	s.ops = append(s.ops, stagedOp{
		prefix: sortPrefix(key), offset: uint32(from), keyLen: uint16(len(key)),
		op: op, valueLen: uint32(valueLen), order: uint32(len(s.ops)),
	})
	return s.data[from:mid:mid], s.data[mid:]
}

func (s *stage) key(op *stagedOp) []byte {
	return s.data[op.offset : op.offset+uint32(op.keyLen)]
}

func (s *stage) value(op *stagedOp) []byte {
	from := op.offset + uint32(op.keyLen)
	return s.data[from : from+op.valueLen]
}

// sortPrefix is the beginning of a key, as a number that sorts like it. In the table
// of outcomes it leaves out the generation, eight bytes that are the same for nearly
// all of them: rows of two generations in one batch are in the order of their ids.
func sortPrefix(key []byte) uint64 {
	const ids = 1 + 8
	if key[0] == byte(tableDedupe) && len(key) >= ids+7 {
		return uint64(tableDedupe)<<56 | binary.BigEndian.Uint64(key[ids-1:])&(1<<56-1)
	}
	if len(key) >= 8 {
		return binary.BigEndian.Uint64(key)
	}
	var padded [8]byte
	copy(padded[:], key)
	return binary.BigEndian.Uint64(padded[:])
}

// flush writes what was collected to a batch and starts anew.
func (s *stage) flush(batch *pebble.Batch) error {
	s.sort()
	for i := range s.ops {
		if err := s.write(batch, &s.ops[i]); err != nil {
			return fmt.Errorf("write to batch: %w", err)
		}
	}
	s.data, s.ops = s.data[:0], s.ops[:0]
	return nil
}

// radixMin is the fewest rows that are sorted digit by digit: for fewer, counting
// digits costs more than it saves.
const radixMin = 64

// sort puts the rows in the order of compare. Prefixes are nearly all different, and
// random behind their first byte, where a sort by comparison guesses wrong half of
// the time: digit by digit a batch takes a tenth of it (BenchmarkStageSort).
func (s *stage) sort() {
	if len(s.ops) < radixMin {
		slices.SortFunc(s.ops, s.compare)
		return
	}
	s.sortByPrefix()
	for from := 0; from < len(s.ops); {
		to := from + 1
		for to < len(s.ops) && s.ops[to].prefix == s.ops[from].prefix {
			to++
		}
		if to-from > 1 {
			slices.SortFunc(s.ops[from:to], s.compare)
		}
		from = to
	}
}

// sortByPrefix is a radix sort, a byte at a time from the last.
func (s *stage) sortByPrefix() {
	const digits = 8
	var counts [digits][256]uint32
	for i := range s.ops {
		for d := range digits {
			counts[d][byte(s.ops[i].prefix>>(8*d))]++
		}
	}
	s.spare = slices.Grow(s.spare[:0], len(s.ops))[:len(s.ops)]
	from, to := s.ops, s.spare
	for d := range digits {
		places := &counts[d]
		if places[byte(from[0].prefix>>(8*d))] == uint32(len(from)) {
			continue // the same in all
		}
		next := uint32(0)
		for i, count := range places {
			places[i], next = next, next+count
		}
		for i := range from {
			place := &places[byte(from[i].prefix>>(8*d))]
			to[*place] = from[i]
			*place++
		}
		from, to = to, from
	}
	s.ops, s.spare = from, to
}

func (s *stage) compare(a, b stagedOp) int {
	if a.prefix != b.prefix {
		if a.prefix < b.prefix {
			return -1
		}
		return 1
	}
	if c := bytes.Compare(s.key(&a), s.key(&b)); c != 0 {
		return c
	}
	return int(a.order) - int(b.order)
}

func (s *stage) write(batch *pebble.Batch, op *stagedOp) error {
	switch op.op {
	case opDelete:
		deferred := batch.DeleteDeferred(int(op.keyLen))
		copy(deferred.Key, s.key(op))
		return deferred.Finish()
	case opDeleteOnce:
		deferred := batch.SingleDeleteDeferred(int(op.keyLen))
		copy(deferred.Key, s.key(op))
		return deferred.Finish()
	}
	deferred := batch.SetDeferred(int(op.keyLen), int(op.valueLen))
	copy(deferred.Key, s.key(op))
	copy(deferred.Value, s.value(op))
	return deferred.Finish()
}
