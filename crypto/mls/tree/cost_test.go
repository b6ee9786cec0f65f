package tree

import (
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"quicproquo/crypto/mls/treemath"
	"quicproquo/crypto/suite"
)

// A set has what its list has, however long it is.
func TestSet(t *testing.T) {
	for _, n := range []int{0, 1, shortSet, shortSet + 1, 40, 3000} {
		list := make([]uint16, n)
		for i := range list {
			list[i] = uint16(rand.IntN(1 << 12))
		}
		set := SetOf(list)
		var grown Set[uint16]
		for i, v := range list {
			if before := grown.add(v); before != slices.Contains(list[:i], v) {
				t.Fatalf("value %d of %d: said to be there before: %v", i, n, before)
			}
		}
		for v := range uint16(1 << 12) {
			if want := slices.Contains(list, v); set.Has(v) != want || grown.Has(v) != want {
				t.Fatalf("%d in a list of %d: got %v and %v, want %v", v, n, set.Has(v), grown.Has(v), want)
			}
		}
	}
}

// Work that is done in parallel ends soon after one piece asks for it, and what comes
// before that piece is done all the same.
func TestParallelUntil(t *testing.T) {
	const n, stop = 10_000, 70
	done := make([]atomic.Bool, n)
	parallelUntil(n, func(i int) bool {
		if done[i].Store(true); i > stop {
			time.Sleep(50 * time.Microsecond) // so that the others do not finish all before one is seen to stop
		}
		return i == stop
	})
	calls := 0
	for i := range done {
		if done[i].Load() {
			calls++
		} else if i <= stop {
			t.Errorf("piece %d was not done", i)
		}
	}
	if calls == n {
		t.Errorf("all %d pieces were done after one of the first asked to stop", calls)
	}
}

// Adding and removing in any order finds the leftmost blank leaf and leaves no tree that
// is larger than it must be, without searching the tree each time.
func TestEditorFindsPlaces(t *testing.T) {
	s, err := suite.Lookup(suite.X25519AES128SHA256Ed25519)
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 0))
		e := New(s, &LeafNode{Source: SourceKeyPackage}).Edit()
		for range 200 {
			full := e.t.Count()
			if random.IntN(5) < 3 || full == 1 {
				want := firstBlank(e.t)
				if at, err := e.Add(&LeafNode{Source: SourceKeyPackage}); err != nil || at != want {
					t.Fatalf("seed %d: added at %d, %v, want %d", seed, at, err, want)
				}
				continue
			}
			var members []LeafIndex
			for i := range e.t.Members {
				members = append(members, i)
			}
			e.Remove(members[random.IntN(len(members))])
			if last := lastLeaf(e.t); e.t.size != treemath.SizeFor(int(last)+1) {
				t.Fatalf("seed %d: %d leaves, the last at %d", seed, e.t.size, last)
			}
		}
		frozen := e.Freeze()
		again := frozen.Edit()
		for x := range again.t.hashes {
			again.t.hashes[x] = nil
		}
		if string(again.Freeze().Hash()) != string(frozen.Hash()) {
			t.Fatalf("seed %d: the hash is not that of the whole tree", seed)
		}
	}
}

func firstBlank(t *Tree) LeafIndex {
	for i := range LeafIndex(t.size) {
		if t.Leaf(i) == nil {
			return i
		}
	}
	return LeafIndex(t.size)
}

func lastLeaf(t *Tree) (last LeafIndex) {
	for i := range t.Members {
		last = i
	}
	return last
}

// A leaf that is added under several parents is unmerged in each, and the tree from
// which the editor was made keeps its own.
func TestUnmergedBelongToTheEditor(t *testing.T) {
	s, err := suite.Lookup(suite.X25519AES128SHA256Ed25519)
	if err != nil {
		t.Fatal(err)
	}
	e := New(s, &LeafNode{Source: SourceKeyPackage}).Edit()
	for range 7 {
		if _, err := e.Add(&LeafNode{Source: SourceKeyPackage}); err != nil {
			t.Fatal(err)
		}
	}
	e.Remove(5)
	e.Remove(6)
	root := e.t.size.Root()
	e.t.nodes[root] = node{parent: &ParentNode{}}
	before := e.Freeze()
	next := before.Edit()
	for range 2 {
		if _, err := next.Add(&LeafNode{Source: SourceKeyPackage}); err != nil {
			t.Fatal(err)
		}
	}
	if got := next.t.nodes[root].parent.UnmergedLeaves; !slices.Equal(got, []LeafIndex{5, 6}) {
		t.Errorf("got %v, want 5 and 6", got)
	}
	if got := before.nodes[root].parent.UnmergedLeaves; len(got) != 0 {
		t.Errorf("the tree before has %v, want nothing", got)
	}
}
