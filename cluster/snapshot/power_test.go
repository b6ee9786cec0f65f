package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// A power cut while a snapshot is received leaves no snapshot, or the whole one; after
// Close has returned it is there, and reads as it was sent. Raft cuts its log on that
// word: a snapshot that is gone then has taken acknowledged entries along.
func TestPowerCutsWhileASnapshotIsReceived(t *testing.T) {
	const dir = "snapshots"
	sender := openStore(t, t.TempDir())
	take(t, sender, filledStore(t, 30))
	_, sent := streamOf(t, sender)

	mem := vfs.NewCrashableMem()
	if err := mem.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	syncRoot(t, mem)
	rng := rand.New(rand.NewPCG(3, 4))
	cuts, shown := 0, 0
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			cuts++
			for _, percent := range []int{0, 50, 95} {
				clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
				n, err := wholeAfterCut(clone, dir, sent)
				if err != nil {
					t.Errorf("power cut %d, before %v of %s, %d%% of what was not synced kept: %v", cuts, op.Kind, path.Base(op.Path), percent, err)
				}
				shown += n
			}
		}
		return nil
	}))
	receiver, err := Open(Options{Dir: dir, FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	if err := receiveAll(t, receiver, sent); err != nil {
		t.Fatal(err)
	}
	n, err := wholeAfterCut(mem.CrashClone(vfs.CrashCloneCfg{}), dir, sent)
	if err != nil || n != 1 {
		t.Errorf("after Close has returned: %d snapshots (%v), want the whole one", n, err)
	}
	if cuts < 20 || shown == 0 {
		t.Errorf("%d power cuts, %d times a snapshot there: they prove little", cuts, shown)
	}
}

// The same of a snapshot that a node takes of its own store.
func TestPowerCutsWhileASnapshotIsTaken(t *testing.T) {
	mem := vfs.NewCrashableMem()
	store := filledStoreOn(t, mem, "store", 30)
	if err := mem.MkdirAll("snapshots", 0o700); err != nil {
		t.Fatal(err)
	}
	syncRoot(t, mem)
	var want []byte // known after the first
	rng := rand.New(rand.NewPCG(5, 6))
	var clones []*vfs.MemFS
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			clones = append(clones, mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(2) * 50, RNG: rng}))
		}
		return nil
	}))
	taker, err := Open(Options{Dir: "snapshots", FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	take(t, taker, store)
	_, want = streamOf(t, taker)
	for i, clone := range clones {
		if _, err := wholeAfterCut(clone, "snapshots", want); err != nil {
			t.Errorf("power cut %d: %v", i, err)
		}
	}
	n, err := wholeAfterCut(mem.CrashClone(vfs.CrashCloneCfg{}), "snapshots", want)
	if err != nil || n != 1 {
		t.Errorf("after Close has returned: %d snapshots (%v), want the whole one", n, err)
	}
	if len(clones) == 0 {
		t.Error("no power cut: this proves nothing")
	}
}

// wholeAfterCut opens the snapshots of a file system after a power cut and returns how
// many there are; each must read as it was sent.
func wholeAfterCut(fs vfs.FS, dir string, sent []byte) (int, error) {
	s, err := Open(Options{Dir: dir, FS: fs})
	if err != nil {
		return 0, err
	}
	names, err := fs.List(dir)
	if err != nil {
		return 0, err
	}
	metas, err := s.List()
	if err != nil {
		return 0, err
	}
	if len(names) != len(metas) {
		return 0, fmt.Errorf("%d directories, but %d whole snapshots", len(names), len(metas))
	}
	for _, meta := range metas {
		_, reader, err := s.Open(meta.ID)
		if err != nil {
			return 0, err
		}
		got, err := io.ReadAll(reader)
		if err := errors.Join(err, reader.Close()); err != nil {
			return 0, err
		}
		if !bytes.Equal(got, sent) {
			return 0, fmt.Errorf("snapshot %s reads as %d other bytes than the %d that were sent", meta.ID, len(got), len(sent))
		}
	}
	return len(metas), nil
}

func syncRoot(t *testing.T, mem *vfs.MemFS) {
	t.Helper()
	root, err := mem.OpenDir("")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(root.Sync(), root.Close()); err != nil {
		t.Fatal(err)
	}
}
