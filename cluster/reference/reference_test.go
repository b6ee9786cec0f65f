package reference

import (
	"bytes"
	"errors"
	"testing"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"

	"quicproquo/crypto/tlsid"
	"quicproquo/schemas"
)

const limit = 1 << 20

// sealed makes a log entry of entries that came from where origins say.
func sealed(t require, entries [][]byte, origins []Origin) *raft.Log {
	data, err := schemas.SealBatch(1_700_000_000_000, entries)
	if err != nil {
		t.Fatalf("seal: %v", err)
	}
	return &raft.Log{Index: 7, Term: 3, Type: raft.LogCommand, Data: data, Extensions: Describe(data, entries, origins)}
}

type require interface {
	Fatalf(format string, args ...any)
}

func entryOf(size int, fill byte) []byte { return bytes.Repeat([]byte{fill}, size) }

func origins(node tlsid.NodeID, forward uint64, from, count int) []Origin {
	list := make([]Origin, count)
	for i := range list {
		list[i] = Origin{Node: node, Forward: forward, Index: from + i}
	}
	return list
}

// A batch is what its leader put together: of entries of its own, and of runs of what
// two followers forwarded. Whoever keeps some gets the rest only and has the whole in
// the end, to the byte; for everybody else nothing changes, and nobody is sent what
// the leader notes about origins.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kept := map[tlsid.NodeID]*Kept{"n2": NewKept("n2", limit), "n3": NewKept("n3", limit)}
		var entries [][]byte
		var from []Origin
		saved := map[tlsid.NodeID]int{}
		for run := range rapid.IntRange(1, 6).Draw(t, "runs") {
			who := rapid.SampledFrom([]tlsid.NodeID{"n1", "n2", "n3"}).Draw(t, "who")
			forward := make([][]byte, rapid.IntRange(1, 5).Draw(t, "entries"))
			for i := range forward {
				size := rapid.IntRange(0, 40).Draw(t, "words") * 8
				if rapid.IntRange(0, 9).Draw(t, "odd") == 0 {
					size += 3 // no entry that the store takes has such a size
				}
				forward[i] = entryOf(size, byte(16*run+i+1))
			}
			number := uint64(0)
			if k := kept[who]; k != nil {
				number = k.Keep(forward)
			}
			// A batch may be cut anywhere: the first and last may be missing.
			first := rapid.IntRange(0, len(forward)-1).Draw(t, "first")
			for i := first; i < len(forward); i++ {
				o := Origin{}
				if number != 0 {
					o = Origin{Node: who, Forward: number, Index: i}
					saved[who] += len(forward[i])
				}
				entries, from = append(entries, forward[i]), append(from, o)
			}
		}
		log := sealed(t, entries, from)
		whole := append([]byte(nil), log.Data...)
		for _, to := range []tlsid.NodeID{"n1", "n2", "n3"} {
			sent := Shorten(log, to)
			if spared := len(whole) - len(sent.Data); spared != saved[to] {
				t.Fatalf("%s was spared %d bytes of %d, want %d", to, spared, len(whole), saved[to])
			}
			if kept[to] == nil {
				if len(sent.Extensions) != 0 {
					t.Fatalf("%s keeps nothing and was sent references", to)
				}
				continue
			}
			arrived := *sent
			if err := kept[to].Restore(&arrived); err != nil {
				t.Fatalf("%s can't put the entry together: %v", to, err)
			}
			if !bytes.Equal(arrived.Data, whole) || len(arrived.Extensions) != 0 || arrived.Index != log.Index || arrived.Term != log.Term {
				t.Fatalf("%s has another entry than the leader", to)
			}
		}
		if !bytes.Equal(log.Data, whole) {
			t.Fatalf("the leader's own entry changed")
		}
		if plain := Whole([]*raft.Log{log})[0]; !bytes.Equal(plain.Data, whole) || len(plain.Extensions) != 0 {
			t.Fatalf("the whole entry is not whole, or says where it came from")
		}
	})
}

// Consecutive entries of one forward cost one reference, however many they are.
func TestRunsAreOneReference(t *testing.T) {
	k := NewKept("n2", limit)
	entries := make([][]byte, 200)
	for i := range entries {
		entries[i] = entryOf(64, byte(i))
	}
	log := sealed(t, entries, origins("n2", k.Keep(entries), 0, len(entries)))
	pieces, err := parsePieces(log.Extensions)
	if err != nil || len(pieces) != 1 {
		t.Fatalf("%d references (%v), want one", len(pieces), err)
	}
	if short := Shorten(log, "n2"); len(short.Data)+len(short.Extensions) > 200*8+200 {
		t.Errorf("200 entries of 64 bytes went as %d bytes and %d of references", len(short.Data), len(short.Extensions))
	}
}

// What a node can't put together it refuses, and leaves as it was.
func TestRestoreRefuses(t *testing.T) {
	entries := [][]byte{entryOf(64, 1), entryOf(128, 2), entryOf(64, 3)}
	for _, c := range []struct {
		name  string
		spoil func(k *Kept, log *raft.Log)
		want  error
	}{
		{"pushed out by newer ones", func(k *Kept, _ *raft.Log) {
			for range 5 {
				k.Keep([][]byte{entryOf(limit/4, 9)})
			}
		}, ErrGone},
		{"kept in an earlier life", func(k *Kept, _ *raft.Log) { *k = Kept{node: "n2", limit: limit, oldest: k.oldest + 1<<40} }, ErrGone},
		{"another node's", func(k *Kept, _ *raft.Log) { k.node = "n3" }, ErrGone},
		{"other bytes under the number", func(k *Kept, _ *raft.Log) { k.forwards[0] = [][]byte{entryOf(64, 1), entryOf(128, 2), entryOf(64, 4)} }, ErrGone},
		{"other sizes under the number", func(k *Kept, _ *raft.Log) { k.forwards[0] = [][]byte{entryOf(64, 1), entryOf(120, 2), entryOf(64, 3)} }, ErrGone},
		{"fewer entries under the number", func(k *Kept, _ *raft.Log) { k.forwards[0] = entries[:2] }, ErrGone},
		{"cut references", func(_ *Kept, log *raft.Log) { log.Extensions = log.Extensions[:len(log.Extensions)-1] }, ErrMalformed},
		{"another version", func(_ *Kept, log *raft.Log) { log.Extensions[0] = 2 }, ErrMalformed},
		{"cut data", func(_ *Kept, log *raft.Log) { log.Data = log.Data[:len(log.Data)-8] }, ErrMalformed},
		{"too large", func(k *Kept, log *raft.Log) {
			big := [][]byte{entryOf(limit, 1)}
			number := k.Keep(big)
			log.Extensions = []byte{piecesVersion}
			for range schemas.MaxEnvelope/limit + 1 {
				log.Extensions = appendPiece(log.Extensions, piece{size: limit, node: "n2", forward: number, count: 1})
			}
		}, ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := NewKept("n2", limit)
			log := Shorten(sealed(t, entries, origins("n2", k.Keep(entries), 0, 3)), "n2")
			c.spoil(k, log)
			data, extensions := len(log.Data), len(log.Extensions)
			if err := k.Restore(log); !errors.Is(err, c.want) {
				t.Fatalf("refused with %v, want %v", err, c.want)
			}
			if len(log.Data) != data || len(log.Extensions) != extensions {
				t.Error("the refused entry was changed")
			}
		})
	}
}

// What is kept is bounded, the newest stay, and what would push out everything is
// not kept at all.
func TestKeptIsBounded(t *testing.T) {
	k := NewKept("n2", 1000)
	if number := k.Keep([][]byte{entryOf(1001, 1)}); number != 0 {
		t.Errorf("1,001 bytes are kept under %d although 1,000 may be", number)
	}
	var numbers []uint64
	for range 50 {
		numbers = append(numbers, k.Keep([][]byte{entryOf(120, 1), entryOf(130, 2)}))
	}
	for i, number := range numbers {
		_, err := k.run(piece{node: "n2", forward: number, count: 2, size: 250})
		if here := err == nil; here != (i >= 46) {
			t.Errorf("forward %d of 50: kept is %t, want the last four only", i, here)
		}
	}
	if k.bytes > 1000 {
		t.Errorf("%d bytes are kept, 1,000 may be", k.bytes)
	}
}

// FuzzRestore: whatever a peer sends, nothing panics, and nothing becomes an entry
// that is not sealed.
func FuzzRestore(f *testing.F) {
	k := NewKept("n2", limit)
	k.oldest = 5
	entries := [][]byte{entryOf(64, 1), entryOf(128, 2)}
	log := Shorten(sealed(f, entries, origins("n2", k.Keep(entries), 0, 2)), "n2")
	f.Add(log.Data, log.Extensions)
	f.Add([]byte{}, []byte{piecesVersion})
	f.Fuzz(func(t *testing.T, data, extensions []byte) {
		log := raft.Log{Type: raft.LogCommand, Data: data, Extensions: extensions}
		if pieces, err := parsePieces(extensions); err == nil {
			again := []byte{piecesVersion}
			for _, p := range pieces {
				again = appendPiece(again, p)
			}
			if second, err := parsePieces(again); err != nil || len(second) != len(pieces) {
				t.Fatalf("written again it reads as %d references (%v), was %d", len(second), err, len(pieces))
			}
			Shorten(&raft.Log{Data: data, Extensions: extensions}, "n2")
		}
		if err := k.Restore(&log); err == nil && len(extensions) > 0 {
			if err := schemas.CheckEnvelope(log.Data); err != nil {
				t.Fatalf("an entry was put together that does not hold: %v", err)
			}
		}
	})
}
