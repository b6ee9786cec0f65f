package fsm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"quicproquo/schemas"
)

// signalled tells whether a watch has fired, and takes the signal.
func signalled(w *Watch) bool {
	select {
	case <-w.C:
		return true
	default:
		return false
	}
}

// A watch fires for every kind of news in its own queue, for nothing else, and
// not after Stop.
func TestWatch(t *testing.T) {
	s := openTest(t, testOptions(vfs.NewMem()))
	w, other := s.Watch(queueOf("ann")), s.Watch(queueOf("bob"))
	second := s.Watch(queueOf("ann"))
	index := uint64(0)
	apply := func(lines ...string) {
		index++
		var frames [][]byte
		for i, line := range lines {
			c := parseCall(t, line, int(index)*100+i)
			frames = append(frames, c.frame(t))
		}
		_, err := s.Apply([]Log{seal(t, index, 1_000_000+(index-1)*60_000, frames...)})
		must(t, err)
	}
	apply("enqueue to=ann body=x ttl=60", "enqueue to=ann body=y ttl=600")
	if !signalled(w) || signalled(w) || !signalled(second) || signalled(other) {
		t.Error("two envelopes in one batch must fire the queue's watches once, and no other")
	}
	apply("ack to=bob seq=0", "enqueue to=!31 body=x", "ack to=ann seq=0")
	if signalled(w) {
		t.Error("an acknowledgement is no news")
	}
	apply("expire")
	if !signalled(w) {
		t.Error("a loss must fire")
	}
	second.Stop()
	second.Stop()
	signalled(second)
	apply("batchEnqueue to=ann,bob body=x")
	if !signalled(w) || !signalled(other) || signalled(second) {
		t.Error("a shared body must fire every queue that takes it, and no stopped watch")
	}
	w.Stop()
	other.Stop()
	if n := s.watches.active.Load(); n != 0 {
		t.Errorf("%d watches are left", n)
	}
	late := s.Watch(queueOf("ann"))
	closeTest(t, s)
	if !signalled(late) || !signalled(s.Watch(queueOf("ann"))) {
		t.Error("a store that closes must wake its watchers")
	}
}

// Who watches first and reads then misses nothing, whatever runs beside it.
func TestWatchFirstThenRead(t *testing.T) {
	s := openTest(t, testOptions(vfs.NewMem()))
	defer closeTest(t, s)
	const envelopes = 300
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			w := s.Watch(queueOf("ann"))
			defer w.Stop()
			for seen := uint64(0); seen < envelopes; {
				list := peekAll(t, s, "ann", seen)
				for _, e := range list {
					if seen++; e.Seq != seen {
						t.Errorf("after %d comes %d", seen-1, e.Seq)
						return
					}
				}
				if len(list) == 0 {
					<-w.C
				}
			}
		})
	}
	for i := range uint64(envelopes) {
		_, err := s.Apply([]Log{seal(t, i+1, 1000, enqueueEntry(t, int(i), "ann", "x"))})
		must(t, err)
	}
	readers.Wait()
}

func peekAll(tb testing.TB, s *Store, name string, after uint64) []Envelope {
	tb.Helper()
	v, err := s.View()
	must(tb, err)
	list, err := v.Peek(queueOf(name), after, schemas.MaxFetch, schemas.MaxFetchBytes)
	must(tb, err)
	must(tb, v.Close())
	return list
}

// Wait returns when its index is applied, when its context ends and when the
// store closes; not before.
func TestWait(t *testing.T) {
	s := openTest(t, testOptions(vfs.NewMem()))
	must(t, s.Wait(t.Context(), 0))
	reached := make(chan uint64, 3)
	for _, index := range []uint64{9, 2, 5} {
		w, err := s.enqueueWaiter(index)
		must(t, err)
		go func() { <-w.ready; reached <- index }()
	}
	for _, step := range []struct{ index, wakes uint64 }{{3, 2}, {8, 5}, {9, 9}} {
		_, err := s.Apply([]Log{seal(t, step.index, 1000)})
		must(t, err)
		if got := <-reached; got != step.wakes {
			t.Errorf("at index %d the waiter for %d woke, want %d", step.index, got, step.wakes)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	cancel(cause)
	if err := s.Wait(ctx, 10); !errors.Is(err, cause) {
		t.Errorf("Wait gives %v, want the context's cause", err)
	}
	if len(s.waiters.heap) != 0 {
		t.Errorf("%d waiters are left", len(s.waiters.heap))
	}
	waiting := make(chan error, 1)
	go func() { waiting <- s.Wait(t.Context(), 10) }()
	closeTest(t, s)
	if err := <-waiting; !errors.Is(err, ErrClosed) {
		t.Errorf("Wait gives %v, want ErrClosed", err)
	}
	if err := s.Wait(t.Context(), 10); !errors.Is(err, ErrClosed) {
		t.Errorf("Wait gives %v, want ErrClosed", err)
	}
}

// A View shows one moment, whatever is applied or restored beside it.
func TestViewIsOneMoment(t *testing.T) {
	s := openTest(t, testOptions(vfs.NewMem()))
	_, err := s.Apply([]Log{seal(t, 1, 1000, enqueueEntry(t, 1, "ann", "one"))})
	must(t, err)
	v, err := s.View()
	must(t, err)
	_, err = s.Checkpoint("snapshot")
	must(t, err)
	_, err = s.Apply([]Log{seal(t, 2, 1000, enqueueEntry(t, 2, "ann", "two"), ackEntry(t, "ann", 1))})
	must(t, err)
	must(t, s.Restore("snapshot"))
	_, err = s.Apply([]Log{seal(t, 2, 1000, ackEntry(t, "ann", 1))})
	must(t, err)
	list, err := v.Peek(queueOf("ann"), 0, 10, 100)
	must(t, err)
	if len(list) != 1 || string(list[0].Body) != "one" || v.Index() != 1 || v.Stamp() != 1000 {
		t.Errorf("the view of entry 1 shows entry %d and %v", v.Index(), list)
	}
	if _, err := s.fs.Stat("store/gen-000001"); err != nil {
		t.Errorf("the state that the view reads is gone: %v", err)
	}
	must(t, v.Close())
	if _, err := s.fs.Stat("store/gen-000001"); err == nil {
		t.Error("the replaced state is still there after its last reader")
	}
	closeTest(t, s)
}

// A snapshot is restored on another node: state, digest and index are the
// first one's, and everyone who waited there wakes.
func TestRestoreOnAnotherNode(t *testing.T) {
	fs := vfs.NewMem()
	s := openTest(t, testOptions(fs))
	_, err := s.Apply(faultLogs(t))
	must(t, err)
	info, err := s.Checkpoint("snapshot")
	must(t, err)
	if (Mark{info.Index, info.Digest}) != s.Digest() || info.Size() == 0 {
		t.Errorf("snapshot is %+v, the store at %v", info, s.Digest())
	}
	if read, err := ReadSnapshotInfo(fs, "snapshot"); err != nil || cmp.Diff(info, read) != "" {
		t.Errorf("header reads %+v, %v; want %+v", read, err, info)
	}
	opts := testOptions(fs)
	opts.Dir = "other"
	other := openTest(t, opts)
	w := other.Watch(queueOf("nobody"))
	waiter, err := other.enqueueWaiter(info.Index)
	must(t, err)
	must(t, other.Restore("snapshot"))
	<-waiter.ready
	if !signalled(w) {
		t.Error("a restore must wake watchers")
	}
	if other.Digest() != s.Digest() || dump(t, other) != dump(t, s) {
		t.Errorf("restored %v, want %v", other.Digest(), s.Digest())
	}
	// The snapshot's files may go, and both go on alike.
	must(t, fs.RemoveAll("snapshot"))
	next := seal(t, 99, 9_000_000, enqueueEntry(t, 999, "ann", "next"), enqueueEntry(t, 1, "ann", "known id?"))
	for _, one := range []*Store{s, other} {
		_, err = one.Apply([]Log{next})
		must(t, err)
	}
	if other.Digest() != s.Digest() {
		t.Errorf("after the restore digests part: %v and %v", other.Digest(), s.Digest())
	}
	closeTest(t, other)
	closeTest(t, openTest(t, opts))
	closeTest(t, s)
}

// A snapshot that is not what it says is refused, and the store goes on as it was.
func TestDamagedSnapshotIsRefused(t *testing.T) {
	fs := vfs.NewMem()
	s := openTest(t, testOptions(fs))
	defer closeTest(t, s)
	_, err := s.Apply(faultLogs(t))
	must(t, err)
	before := s.Digest()
	good, err := s.Checkpoint("snapshot")
	must(t, err)
	refused := func(what, dir string) {
		t.Helper()
		if err := s.Restore(dir); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: Restore gives %v, want ErrDamaged", what, err)
		}
		if s.Err() != nil || s.Digest() != before {
			t.Fatalf("%s: the store is at %v, %v; want %v", what, s.Digest(), s.Err(), before)
		}
	}
	refused("missing", "no-such-directory")
	for i, file := range append(good.Files, SnapshotFile{Name: SnapshotHeaderFile}) {
		for _, how := range []string{"missing", "flipped", "bit"} {
			if how == "bit" && !strings.HasSuffix(file.Name, tableSuffix) && !strings.HasSuffix(file.Name, blobSuffix) {
				continue // of those two every block has a checksum
			}
			if how == "flipped" && (file.Size == 0 && file.Name != SnapshotHeaderFile || notState(file.Name)) {
				continue
			}
			dir := fmt.Sprintf("damaged-%d-%s", i, how)
			_, err := vfs.Clone(fs, fs, "snapshot", dir)
			must(t, err)
			damageFile(t, fs, dir+"/"+file.Name, how)
			refused(file.Name+" "+how, dir)
		}
	}
	for what, spoil := range map[string]func(*SnapshotInfo){
		"wrong digest": func(i *SnapshotInfo) { i.Digest++ }, "wrong index": func(i *SnapshotInfo) { i.Index-- },
		"wrong stamp": func(i *SnapshotInfo) { i.StampMs++ }, "path": func(i *SnapshotInfo) { i.Files[0].Name = "../x" },
		"twice": func(i *SnapshotInfo) { i.Files[1] = i.Files[0] },
	} {
		info := good
		info.Files = append([]SnapshotFile(nil), good.Files...)
		spoil(&info)
		must(t, WriteSnapshotInfo(fs, "snapshot", info))
		refused(what, "snapshot")
	}
	must(t, WriteSnapshotInfo(fs, "snapshot", good))
	must(t, s.Restore("snapshot"))
	names, err := fs.List("store")
	must(t, err)
	if len(names) != 2 {
		t.Errorf("the store's directory holds %v, want one generation and the marker", names)
	}
}

// notState are files whose bits do not reach the state.
func notState(name string) bool { return len(name) > 7 && name[:7] == "OPTIONS" }

// A checkpoint may be taken while the log is applied; it holds a state at or
// after the entry before the call.
func TestCheckpointBesideApply(t *testing.T) {
	fs := vfs.NewMem()
	s := openTest(t, testOptions(fs))
	defer closeTest(t, s)
	marks := map[uint64]uint64{0: 0}
	var mu sync.Mutex
	var writer sync.WaitGroup
	stop := make(chan struct{})
	writer.Go(func() {
		for i := uint64(1); ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			_, err := s.Apply([]Log{seal(t, i, 1000, enqueueEntry(t, int(i), "ann", "x"), ackEntry(t, "ann", i/2))})
			must(t, err)
			mark := s.Digest()
			mu.Lock()
			marks[mark.Index] = mark.Digest
			mu.Unlock()
		}
	})
	for n := range 10 {
		before := s.Index()
		dir := fmt.Sprintf("snapshot-%d", n)
		info, err := s.Checkpoint(dir)
		must(t, err)
		must(t, s.Wait(t.Context(), info.Index+1))
		mu.Lock()
		digest, known := marks[info.Index]
		mu.Unlock()
		if info.Index < before || !known || digest != info.Digest {
			t.Errorf("snapshot of entry %d with digest %x; the store was at %d and had digest %x there", info.Index, info.Digest, before, digest)
		}
	}
	close(stop)
	writer.Wait()
}

// The cache of queues forgets and reads again; what it forgot was committed.
func TestMoreQueuesThanTheCacheHolds(t *testing.T) {
	small, large := openTest(t, testOptions(vfs.NewMem())), openTest(t, testOptions(vfs.NewMem()))
	defer closeTest(t, small)
	defer closeTest(t, large)
	small.tx.queues.limit, small.tx.bodies.limit = 3, 1
	n := 0
	for i := range uint64(60) {
		var frames [][]byte
		for q := range 7 {
			n++
			frames = append(frames, enqueueEntry(t, n, fmt.Sprint(q*int(i)%11), "x"))
			c := parseCall(t, fmt.Sprintf("batchEnqueue to=%d,b%d body=x", q, i%5), n+10_000)
			frames = append(frames, c.frame(t), ackEntry(t, fmt.Sprint(q), i/2))
		}
		for _, s := range []*Store{small, large} {
			_, err := s.Apply([]Log{seal(t, i+1, 1000, frames...)})
			must(t, err)
		}
	}
	if small.Digest() != large.Digest() || dump(t, small) != dump(t, large) {
		t.Errorf("digests %v and %v", small.Digest(), large.Digest())
	}
	if len(small.tx.queues.young) > 3+20 {
		t.Errorf("the cache holds %d queues", len(small.tx.queues.young))
	}
}

// The filter never denies an id that was added, and seldom claims another.
func TestIDFilter(t *testing.T) {
	f := newIDFilter(1 << 10)
	const added = 4000
	for i := range uint64(added) {
		f.add(i * 0x9e3779b97f4a7c15)
	}
	wrong := 0
	for i := range uint64(2 * added) {
		switch held := f.mayHold(i * 0x9e3779b97f4a7c15); {
		case !held && i < added:
			t.Fatalf("id %d was added and is denied", i)
		case held && i >= added:
			wrong++
		}
	}
	if wrong > added/20 {
		t.Errorf("%d of %d ids are claimed wrongly, at 16 bits each", wrong, added)
	}
}

// Views of one index share a snapshot; whoever sees an index is given no state
// before it; and the store holds no snapshot that nobody reads.
func TestViewsShareAMoment(t *testing.T) {
	s := openTest(t, testOptions(vfs.NewMem()))
	apply := func(index uint64) {
		t.Helper()
		_, err := s.Apply([]Log{seal(t, index, 1000, enqueueEntry(t, int(index), "ann", "x"))})
		must(t, err)
	}
	open := func() *View {
		t.Helper()
		v, err := s.View()
		must(t, err)
		if v.Index() != s.Index() {
			t.Errorf("the view is of index %d, the store at %d", v.Index(), s.Index())
		}
		return v
	}
	apply(1)
	one, same := open(), open()
	if one.snapshot != same.snapshot {
		t.Error("two views of one index have a snapshot each")
	}
	must(t, one.Close())
	apply(2)
	next := open()
	if next.snapshot == same.snapshot || same.Index() != 1 {
		t.Error("a view after a batch shows the state before it, or one before moved on")
	}
	must(t, same.Close())
	must(t, next.Close())
	apply(3)
	if n := s.live.db.Metrics().Snapshots.Count; n != 0 {
		t.Errorf("%d snapshots are open and nobody reads", n)
	}
	must(t, open().Close())
	closeTest(t, s) // waits for the users of the storage
}
