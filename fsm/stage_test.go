package fsm

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Rows leave the stage in the order of a sort by comparison, however many there are
// and however alike their keys; rows of one key as they were written.
func TestStageSort(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s stage
		for range rapid.IntRange(0, 400).Draw(t, "rows") {
			key := make([]byte, rapid.IntRange(1, 20).Draw(t, "length"))
			key[0] = byte(rapid.IntRange(0, 4).Draw(t, "table"))
			for i := 1; i < len(key); i++ {
				// Few different bytes: many keys begin alike or are the same.
				key[i] = byte(rapid.IntRange(0, 1).Draw(t, "byte") * 200)
			}
			s.add(opSet, key, 0)
		}
		want := slices.Clone(s.ops)
		slices.SortFunc(want, s.compare)
		s.sort()
		if !slices.Equal(s.ops, want) {
			t.Fatalf("%d rows are in another order than by comparison", len(want))
		}
	})
}

// BenchmarkStageSort sorts the rows of 256 enqueues.
func BenchmarkStageSort(b *testing.B) {
	var s stage
	random := rand.New(rand.NewPCG(1, 2))
	var key [80]byte
	for range 256 {
		for _, t := range []table{tableDedupe, tableHeads, tableEnvelopes} {
			key[0] = byte(t)
			for i := 1; i < len(key); i += 8 {
				binary.BigEndian.PutUint64(key[min(i, 72):], random.Uint64())
			}
			s.add(opSet, key[:], 0)
		}
	}
	rows := slices.Clone(s.ops)
	for _, c := range []struct {
		name string
		sort func()
	}{
		{"digits", s.sort},
		{"comparison", func() { slices.SortFunc(s.ops, s.compare) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				copy(s.ops, rows)
				c.sort()
			}
		})
	}
}
