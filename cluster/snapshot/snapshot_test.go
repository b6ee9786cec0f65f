package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"quicproquo/fsm"
	"quicproquo/schemas"
)

// filledStore holds n envelopes of one queue.
func filledStore(tb testing.TB, n int) *fsm.Store {
	tb.Helper()
	return filledStoreOn(tb, nil, tb.TempDir(), n)
}

// filledStoreOn is one on a file system of the test's; nil is the machine's.
func filledStoreOn(tb testing.TB, fs vfs.FS, dir string, n int) *fsm.Store {
	tb.Helper()
	store, err := fsm.Open(fsm.Options{Dir: dir, FS: fs})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := store.Close(); err != nil {
			tb.Error(err)
		}
	})
	for i := range n {
		id := []byte(fmt.Sprintf("%016d", i))
		entry, err := schemas.BuildEntry(id, schemas.Caller{}, func(c schemas.Entry_command) error {
			params, err := c.NewEnqueue()
			if err != nil {
				return err
			}
			params.SetVersion(schemas.WireVersion)
			return errors.Join(params.SetRecipientKey(make([]byte, schemas.AccountKeySize)), params.SetPayload(bytes.Repeat(id, 100)))
		})
		if err != nil {
			tb.Fatal(err)
		}
		sealed, err := schemas.SealBatch(uint64(i+1), [][]byte{entry})
		if err != nil {
			tb.Fatal(err)
		}
		if _, err := store.Apply([]fsm.Log{{Index: uint64(i + 1), Data: sealed}}); err != nil {
			tb.Fatal(err)
		}
	}
	return store
}

func openStore(tb testing.TB, dir string) *Store {
	tb.Helper()
	s, err := Open(Options{Dir: dir})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func create(tb testing.TB, s *Store, index uint64) *Sink {
	tb.Helper()
	sink, err := s.Create(1, index, 3, raft.Configuration{Servers: []raft.Server{{ID: "n1", Address: "h:1"}}}, 1, nil)
	if err != nil {
		tb.Fatal(err)
	}
	local, ok := sink.(*Sink)
	if !ok {
		tb.Fatalf("a %T, want our sink", sink)
	}
	return local
}

// take makes a snapshot of a store.
func take(tb testing.TB, s *Store, store *fsm.Store) {
	tb.Helper()
	sink := create(tb, s, store.Index())
	if err := errors.Join(sink.Checkpoint(store), sink.Close()); err != nil {
		tb.Fatal(err)
	}
}

// streamOf returns the newest snapshot's stream and what raft is told of it.
func streamOf(tb testing.TB, s *Store) (*raft.SnapshotMeta, []byte) {
	tb.Helper()
	metas, err := s.List()
	if err != nil || len(metas) == 0 {
		tb.Fatalf("list: %d snapshots (%v)", len(metas), err)
	}
	meta, reader, err := s.Open(metas[0].ID)
	if err != nil {
		tb.Fatal(err)
	}
	stream, err := io.ReadAll(reader)
	if err := errors.Join(err, reader.Close()); err != nil {
		tb.Fatal(err)
	}
	return meta, stream
}

// receiveAll writes a stream into a fresh sink, in odd pieces, as raft would.
func receiveAll(tb testing.TB, s *Store, stream []byte) error {
	tb.Helper()
	sink := create(tb, s, 50)
	for len(stream) > 0 {
		n := min(len(stream), 4099)
		if _, err := sink.Write(stream[:n]); err != nil {
			return errors.Join(err, sink.Cancel())
		}
		stream = stream[n:]
	}
	return sink.Close()
}

// A snapshot travels: taken on one node by hard links, streamed, received on
// another, and restored there to the same digest. Its size is told exactly.
func TestSnapshotTravels(t *testing.T) {
	from := filledStore(t, 50)
	sender, receiver := openStore(t, t.TempDir()), openStore(t, t.TempDir())
	take(t, sender, from)
	meta, stream := streamOf(t, sender)
	if meta.Size != int64(len(stream)) {
		t.Errorf("size says %d, the stream has %d bytes", meta.Size, len(stream))
	}
	if err := receiveAll(t, receiver, stream); err != nil {
		t.Fatal(err)
	}
	newest, ok, err := receiver.Newest()
	if err != nil || !ok || newest.CommandIndex != 50 {
		t.Fatalf("newest %+v, %v, %v; want command index 50", newest, ok, err)
	}
	to := filledStore(t, 3)
	if err := to.Restore(newest.Dir); err != nil {
		t.Fatal(err)
	}
	if to.Digest() != from.Digest() {
		t.Errorf("restored to %+v, want %+v", to.Digest(), from.Digest())
	}
}

// A stream that is cut, longer, or has any byte changed leaves nothing behind.
func TestDamagedStreamsLeaveNothing(t *testing.T) {
	sender := openStore(t, t.TempDir())
	take(t, sender, filledStore(t, 20))
	_, stream := streamOf(t, sender)
	bad := map[string][]byte{
		"empty": {}, "cut by one byte": stream[:len(stream)-1], "one byte longer": append(bytes.Clone(stream), 0),
		"header only": stream[:64],
	}
	// Every byte of the header, and some of each file.
	for at := 0; at < len(stream); at += 1 + at/512*len(stream)/997 {
		flipped := bytes.Clone(stream)
		flipped[at] ^= 0x20
		bad[fmt.Sprintf("byte %d changed", at)] = flipped
	}
	for name, stream := range bad {
		dir := t.TempDir()
		s := openStore(t, dir)
		err := receiveAll(t, s, stream)
		if err == nil {
			t.Errorf("%s: received as if whole", name)
		}
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("%s: %v left behind", name, left)
		}
	}
}

// Two snapshots are kept, the newest first; crashes' leftovers are removed; a
// damaged one is left out.
func TestStoreKeepsTheNewestWholeOnes(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	for n := range 4 {
		take(t, s, filledStore(t, 10+n))
	}
	metas, err := s.List()
	if err != nil || len(metas) != retain || metas[0].Index != 13 || metas[1].Index != 12 {
		t.Fatalf("kept %v (%v), want indexes 13 and 12", metas, err)
	}
	unfinished := create(t, s, 99)
	if _, err := unfinished.Write([]byte("half")); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir) // as after a crash
	if err := os.Truncate(filepath.Join(dir, metas[0].ID, metaFile), 10); err != nil {
		t.Fatal(err)
	}
	metas, err = s.List()
	if err != nil || len(metas) != 1 || metas[0].Index != 12 {
		t.Errorf("after damage to the newest: %v (%v), want index 12 alone", metas, err)
	}
	if err := os.Rename(filepath.Join(dir, metas[0].ID), filepath.Join(dir, "renamed")); err != nil {
		t.Fatal(err)
	}
	if metas, err = s.List(); err != nil || len(metas) != 0 {
		t.Errorf("a snapshot under another name than its own: %v (%v), want none", metas, err)
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name.Name(), tempTail) {
			t.Errorf("%s was left by a crash and is still there", name.Name())
		}
	}
	_ = unfinished.Cancel() // ends its goroutine; its directory is gone already
	for _, id := range []string{"", "../x", "no-such"} {
		if _, _, err := s.Open(id); err == nil {
			t.Errorf("opened snapshot %q", id)
		}
	}
}

// Raft's own version of a snapshot's meta data is one that this build knows; a sink that
// got nothing makes no snapshot.
func TestWhatIsNoSnapshot(t *testing.T) {
	s := openStore(t, t.TempDir())
	for _, version := range []raft.SnapshotVersion{0, 2} {
		if _, err := s.Create(version, 9, 1, raft.Configuration{}, 0, nil); err == nil {
			t.Errorf("version %d was taken, want 1 alone", version)
		}
	}
	if err := create(t, s, 9).Close(); err == nil {
		t.Error("a sink that got nothing closed as if whole")
	}
	if metas, err := s.List(); err != nil || len(metas) != 0 {
		t.Errorf("there are %v (%v), want no snapshot", metas, err)
	}
}

// Whatever bytes come as a snapshot stream, nothing panics and nothing that
// isn't whole becomes a snapshot.
func FuzzReceive(f *testing.F) {
	sender := openStore(f, f.TempDir())
	take(f, sender, filledStore(f, 3))
	_, stream := streamOf(f, sender)
	f.Add(stream)
	f.Add(stream[:100])
	f.Fuzz(func(t *testing.T, stream []byte) {
		s := openStore(t, t.TempDir())
		if err := receiveAll(t, s, stream); err != nil {
			if metas, _ := s.List(); len(metas) != 0 {
				t.Fatalf("refused with %v, and yet there is %v", err, metas[0])
			}
		}
	})
}
