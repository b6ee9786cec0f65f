package fsm

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"testing"

	"capnproto.org/go/capnp/v3"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"quicproquo/schemas"
)

// testOptions are Options for a small store in memory.
func testOptions(fs vfs.FS) Options {
	return Options{
		Dir: "store", FS: fs, CacheBytes: 4 << 20, MemTableBytes: 256 << 10, filterWords: 1 << 10, rewriteSoon: true,
		Logger: slog.New(alarm{slog.DiscardHandler}),
	}
}

// alarm ends the test run when Pebble meets a deletion that should not be there.
type alarm struct{ slog.Handler }

func (alarm) Enabled(context.Context, slog.Level) bool { return true }

func (alarm) Handle(_ context.Context, r slog.Record) error {
	if r.Message == misuseMessage {
		panic(misuseMessage)
	}
	return nil
}

func openTest(tb testing.TB, opts Options) *Store {
	tb.Helper()
	s, err := Open(opts)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func closeTest(tb testing.TB, s *Store) {
	tb.Helper()
	if err := s.Close(); err != nil {
		tb.Error(err)
	}
}

// entryBuilder makes framed entries; fields can be spoiled in edit.
type entryBuilder struct {
	id     []byte
	kind   schemas.Actor_Kind
	actor  []byte
	device []byte
}

// newID is a request id that differs for every n.
func newID(n int) []byte { return fmt.Appendf(nil, "request %08d", n)[:16] }

func (b entryBuilder) frame(tb testing.TB, fill func(schemas.Entry) error) []byte {
	tb.Helper()
	msg, seg := capnp.NewSingleSegmentMessage(nil)
	entry, err := schemas.NewRootEntry(seg)
	must(tb, err)
	entry.SetVersion(schemas.EntryVersion)
	if b.id != nil {
		must(tb, entry.SetRequestId(b.id))
	}
	actor, err := entry.NewActor()
	must(tb, err)
	actor.SetKind(b.kind)
	if b.actor != nil {
		must(tb, actor.SetAccount(b.actor))
	}
	if b.device != nil {
		must(tb, actor.SetDevice(b.device))
	}
	must(tb, fill(entry))
	frame, err := msg.Marshal()
	must(tb, err)
	return frame
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// accountKey makes the 32-byte key that tests call by a short name.
func accountKey(name string) []byte {
	key := bytes.Repeat([]byte{'.'}, schemas.AccountKeySize)
	copy(key, name)
	return key
}

func queueOf(name string) QueueID {
	var q QueueID
	copy(q.Owner[:], accountKey(name))
	return q
}

func enqueueEntry(tb testing.TB, id int, to, body string) []byte {
	tb.Helper()
	return entryBuilder{id: newID(id), kind: schemas.Actor_Kind_node}.frame(tb, func(e schemas.Entry) error {
		p, err := e.Command().NewEnqueue()
		must(tb, err)
		p.SetVersion(schemas.WireVersion)
		must(tb, p.SetRecipientKey(accountKey(to)))
		return p.SetPayload([]byte(body))
	})
}

func ackEntry(tb testing.TB, to string, seq uint64) []byte {
	tb.Helper()
	return entryBuilder{kind: schemas.Actor_Kind_node}.frame(tb, func(e schemas.Entry) error {
		p, err := e.Command().NewAck()
		must(tb, err)
		p.SetVersion(schemas.WireVersion)
		p.SetSeq(seq)
		return p.SetRecipientKey(accountKey(to))
	})
}

func seal(tb testing.TB, index, stampMs uint64, entries ...[]byte) Log {
	tb.Helper()
	data, err := schemas.SealBatch(stampMs, entries)
	must(tb, err)
	return Log{Index: index, Data: data}
}

func peekBodies(tb testing.TB, s *Store, name string) []string {
	tb.Helper()
	v, err := s.View()
	must(tb, err)
	list, err := v.Peek(queueOf(name), 0, 100, 1<<20)
	must(tb, err)
	must(tb, v.Close())
	var bodies []string
	for _, e := range list {
		bodies = append(bodies, fmt.Sprintf("%d %s", e.Seq, e.Body))
	}
	return bodies
}

// An envelope that was enqueued is read in order, survives closing, and leaves
// when it is acknowledged; applying the same log again changes nothing.
func TestEnvelopesComeAndGo(t *testing.T) {
	opts := testOptions(vfs.NewMem())
	s := openTest(t, opts)
	logs := []Log{
		seal(t, 3, 1000, enqueueEntry(t, 1, "ann", "one"), enqueueEntry(t, 2, "ann", "two")),
		seal(t, 5, 1001, enqueueEntry(t, 3, "bob", "three"), enqueueEntry(t, 2, "ann", "again")),
	}
	results, err := s.Apply(logs)
	must(t, err)
	msg, err := schemas.Unmarshal(results[1][1].Data)
	must(t, err)
	res, err := schemas.ReadRootEnqueueResults(msg)
	must(t, err)
	if res.Seq() != 2 {
		t.Errorf("a repeated request id must repeat its answer 2, got %d", res.Seq())
	}
	if s.Index() != 5 {
		t.Errorf("index is %d, want 5", s.Index())
	}
	if diff := cmp.Diff([]string{"1 one", "2 two"}, peekBodies(t, s, "ann")); diff != "" {
		t.Error(diff)
	}
	digest := s.Digest()
	closeTest(t, s)
	s = openTest(t, opts)
	defer closeTest(t, s)
	if s.Digest() != digest {
		t.Errorf("digest after reopening is %v, was %v", s.Digest(), digest)
	}
	again, err := s.Apply(logs)
	must(t, err)
	if again[0] != nil || again[1] != nil || s.Digest() != digest {
		t.Errorf("replay gave %v and %v, want nothing and %v", again, s.Digest(), digest)
	}
	_, err = s.Apply([]Log{seal(t, 6, 900, ackEntry(t, "ann", 1))})
	must(t, err)
	if diff := cmp.Diff([]string{"2 two"}, peekBodies(t, s, "ann")); diff != "" {
		t.Error(diff)
	}
}
