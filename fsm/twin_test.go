package fsm

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"quicproquo/schemas"
)

// drawCall draws a command from a world small enough that commands meet: few
// queues, few request ids, small limits, times around the bucket's length.
func drawCall(t *rapid.T, n int) call {
	names := []string{"ann", "bob", "cat"}
	name := func() string { return rapid.SampledFrom(names).Draw(t, "name") }
	id := rapid.SampledFrom([]int{n, n, n, 1, 2, 3}).Draw(t, "id")
	body := rapid.SampledFrom([]string{"x", "yy", "z*300"}).Draw(t, "body")
	ttl := rapid.SampledFrom([]int{0, 1, 60, 61, 200, 4000}).Draw(t, "ttl")
	channel := rapid.SampledFrom([]string{"-", "-", "c"}).Draw(t, "channel")
	body += rapid.SampledFrom([]string{"", "", " ephemeral=1"}).Draw(t, "ephemeral")
	var line string
	switch rapid.SampledFrom([]string{"enqueue", "enqueue", "batch", "ack", "ack", "expire", "settings", "bad", "topic", "topic", "topic"}).Draw(t, "kind") {
	case "enqueue":
		line = fmt.Sprintf("enqueue to=%s channel=%s body=%s ttl=%d id=%d", name(), channel, body, ttl, id)
	case "batch":
		to := rapid.SampledFrom([]string{"ann,bob", "ann,bob,cat", "bob,cat/header", "cat:phone"}).Draw(t, "to")
		line = fmt.Sprintf("batchEnqueue to=%s channel=%s body=%s ttl=%d id=%d", to, channel, body, ttl, id)
	case "ack":
		line = fmt.Sprintf("ack to=%s channel=%s seq=%d", name(), channel, rapid.IntRange(0, 12).Draw(t, "seq"))
	case "expire":
		line = fmt.Sprintf("expire rows=%d", rapid.IntRange(0, 4).Draw(t, "rows"))
	case "settings":
		line = fmt.Sprintf("changeSettings queue_max_envelopes=%d id=%d", rapid.IntRange(1, 8).Draw(t, "max"), id)
		if rapid.IntRange(0, 3).Draw(t, "level") == 0 {
			line = fmt.Sprintf("changeSettings feature_level=2 id=%d", id)
		}
	case "topic":
		pick := func(list ...string) string { return rapid.SampledFrom(list).Draw(t, "pick") }
		line = fmt.Sprintf("%s id=%d", topicLines[rapid.IntRange(0, len(topicLines)-1).Draw(t, "topic")](pick), id)
	case "bad":
		line = fmt.Sprintf("enqueue to=!31 body=x id=%d", id)
	}
	return parseCall(helper(t), line, n)
}

// topicLines make a line of a topic's commands for the random logs of this file and
// of recorded_test.go, without request id. pick takes one of a list.
var topicLines = []func(pick func(...string) string) string{accountLine, channelLine, keyLine, groupLine, registrationLine, nodeKeyLine}

// drawLogs draws a log, with log time that stands, walks and leaps.
func drawLogs(t *rapid.T) []Log {
	stamp, index, n := uint64(1_000_000), uint64(0), 0
	logs := make([]Log, rapid.IntRange(1, 40).Draw(t, "logs"))
	for i := range logs {
		index += rapid.Uint64Range(1, 3).Draw(t, "step")
		stamp += rapid.SampledFrom([]uint64{0, 1, 500, 30_000, 70_000, 1_000_000}).Draw(t, "time")
		var frames [][]byte
		if i == 0 && rapid.Bool().Draw(t, "inhabited") {
			// Most of what topics draw needs somebody who may.
			for _, name := range []string{"ann", "bob"} {
				n++
				c := parseCall(helper(t), fmt.Sprintf("createAccount name=%s key=%s", name, name), n)
				frames = append(frames, c.frame(helper(t)))
			}
		}
		for range rapid.IntRange(0, 6).Draw(t, "commands") {
			n++
			c := drawCall(t, n)
			frames = append(frames, c.frame(helper(t)))
		}
		logs[i] = seal(helper(t), index, stamp-min(stamp, rapid.SampledFrom([]uint64{0, 0, 9999}).Draw(t, "back")), frames...)
	}
	return logs
}

// helper makes the helpers of testing.TB usable under rapid.
func helper(t *rapid.T) testing.TB { return rapidTB{t: t} }

// rapidTB is what the helpers need of testing.TB.
type rapidTB struct {
	testing.TB
	t *rapid.T
}

func (r rapidTB) Helper()                   { r.t.Helper() }
func (r rapidTB) Fatal(args ...any)         { r.t.Fatal(args...) }
func (r rapidTB) Fatalf(f string, a ...any) { r.t.Fatalf(f, a...) }
func (r rapidTB) Error(args ...any)         { r.t.Error(args...) }
func (r rapidTB) Errorf(f string, a ...any) { r.t.Errorf(f, a...) }

// dump returns every row of the store, readable enough to find a difference.
func dump(tb testing.TB, s *Store) string {
	tb.Helper()
	v, err := s.View()
	must(tb, err)
	defer func() { must(tb, v.Close()) }()
	var out strings.Builder
	must(tb, eachRow(v.snapshot, nil, func(key, value []byte) (bool, error) {
		fmt.Fprintf(&out, "%s %q: %x\n", tableNames[table(key[0])], key[1:], value)
		return true, nil
	}))
	return out.String()
}

// Two nodes that applied the same log hold the same rows, the same digest and
// gave the same answers, whatever became of one of them: how its log was cut into
// calls, restarts, power cuts that lose what was not synced, snapshots restored,
// its own or the other's.
func TestTwins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		logs := drawLogs(t)
		calm := openTest(helper(t), testOptions(vfs.NewMem()))
		defer closeTest(helper(t), calm)
		answers := map[uint64]string{}
		for i := range logs {
			results, err := calm.Apply(logs[i : i+1])
			must(helper(t), err)
			answers[logs[i].Index] = fmt.Sprint(results[0])
		}
		rough := roughLife{opts: testOptions(vfs.NewCrashableMem()), logs: logs, answers: answers}
		rough.store = openTest(helper(t), rough.opts)
		rough.live(t)
		defer closeTest(helper(t), rough.store)
		if calm.Digest() != rough.store.Digest() {
			t.Errorf("digests differ: %v and %v", calm.Digest(), rough.store.Digest())
		}
		if diff := cmp.Diff(dump(helper(t), calm), dump(helper(t), rough.store)); diff != "" {
			t.Errorf("rows differ (- calm, + rough):\n%s", diff)
		}
	})
}

// roughLife is a node that much happens to.
type roughLife struct {
	opts      Options
	store     *Store
	logs      []Log
	answers   map[uint64]string // by index
	snapshots int
}

func (r *roughLife) live(t *rapid.T) {
	for r.store.Index() < r.logs[len(r.logs)-1].Index {
		r.applySome(t)
		switch rapid.SampledFrom([]string{"go on", "go on", "restart", "power cut", "snapshot"}).Draw(t, "event") {
		case "restart":
			closeTest(helper(t), r.store)
			r.store = openTest(helper(t), r.opts)
		case "power cut":
			r.powerCut(t)
		case "snapshot":
			r.snapshot(t)
		}
	}
}

// applySome applies what follows, in one call, with some of what was applied
// before in front of it.
func (r *roughLife) applySome(t *rapid.T) {
	from := 0
	for from < len(r.logs) && r.logs[from].Index <= r.store.Index() {
		from++
	}
	from -= rapid.IntRange(0, min(from, 2)).Draw(t, "again")
	to := min(len(r.logs), from+rapid.IntRange(1, 8).Draw(t, "entries"))
	applied := r.store.Index()
	results, err := r.store.Apply(r.logs[from:to])
	must(helper(t), err)
	for i, log := range r.logs[from:to] {
		if log.Index <= applied {
			if results[i] != nil {
				t.Errorf("entry %d was applied before and gave results", log.Index)
			}
		} else if got := fmt.Sprint(results[i]); got != r.answers[log.Index] {
			t.Errorf("entry %d gave %s, want %s", log.Index, got, r.answers[log.Index])
		}
	}
}

func (r *roughLife) powerCut(t *rapid.T) {
	if rapid.Bool().Draw(t, "flushed") {
		must(helper(t), r.store.live.db.Flush())
	}
	seed := rapid.Uint64().Draw(t, "seed")
	clone := r.opts.FS.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{
		UnsyncedDataPercent: rapid.SampledFrom([]int{0, 50, 100}).Draw(t, "kept"), RNG: rand.New(rand.NewPCG(seed, 1)),
	})
	closeTest(helper(t), r.store)
	r.opts.FS = clone
	before := r.store.Index()
	r.store = openTest(helper(t), r.opts)
	if r.store.Index() > before {
		t.Errorf("after a power cut at entry %d the store claims entry %d", before, r.store.Index())
	}
}

// snapshot takes one, goes on a little, and goes back to it.
func (r *roughLife) snapshot(t *rapid.T) {
	r.snapshots++
	dir := fmt.Sprintf("snapshot-%d", r.snapshots)
	at := r.store.Digest()
	info, err := r.store.Checkpoint(dir)
	must(helper(t), err)
	if (Mark{info.Index, info.Digest}) != at {
		t.Errorf("snapshot says %d/%x, the store was at %v", info.Index, info.Digest, at)
	}
	if rapid.Bool().Draw(t, "go on before") {
		r.applySome(t)
	}
	must(helper(t), r.store.Restore(dir))
	if got := r.store.Digest(); got != at {
		t.Errorf("restored to %v, want %v", got, at)
	}
	must(helper(t), r.opts.FS.RemoveAll(dir))
}

// A twin that forgets one write is noticed: the digest covers every row.
func TestDigestNoticesADifference(t *testing.T) {
	digests := map[uint64]string{}
	for _, log := range []string{
		"enqueue to=ann body=x", "enqueue to=ann body=y", "enqueue to=bob body=x", "enqueue to=ann body=x ttl=100",
		"enqueue to=ann body=x id=9", "enqueue to=ann body=x as=nobody", "enqueue to=!31 body=x", "expire", "expire as=ann",
	} {
		s := openTest(t, testOptions(vfs.NewMem()))
		c := parseCall(t, log, 1)
		_, err := s.Apply([]Log{seal(t, 1, 1000, c.frame(t))})
		must(t, err)
		if other, twice := digests[s.Digest().Digest]; twice {
			t.Errorf("%q and %q have the same digest", log, other)
		}
		digests[s.Digest().Digest] = log
		closeTest(t, s)
	}
}

// Marks stand at the same entries on every node, however the log is cut.
func TestMarksStandAtTheSameEntries(t *testing.T) {
	var logs []Log
	for i := range uint64(300) {
		var frames [][]byte
		for n := range 20 {
			frames = append(frames, enqueueEntry(t, int(i)*20+n, "ann", "x"))
		}
		logs = append(logs, seal(t, i+1, 1000, frames...))
	}
	var want []Mark
	for _, step := range []int{1, 7, 300} {
		s := openTest(t, testOptions(vfs.NewMem()))
		for from := 0; from < len(logs); from += step {
			_, err := s.Apply(logs[from:min(len(logs), from+step)])
			must(t, err)
		}
		got := s.Marks()
		closeTest(t, s)
		if want == nil {
			want = got
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("calls of %d entries: %s", step, diff)
		}
	}
	if len(want) != 300*20/markEvery+1 || want[0].Index != 52 {
		t.Errorf("marks are %v, want the first at entry 52, one for each %d commands and the newest", want, markEvery)
	}
}

// Results cross the wire and come back the same, from our own layout and from
// any other.
func TestResultRoundTrip(t *testing.T) {
	var slab resultSlab
	outcomes, err := encodeOutcomes([]outcome{{schemas.Code_ok, 7}, {schemas.Code_queueFull, 0}})
	must(t, err)
	for _, want := range []Result{
		{},
		{Code: schemas.Code_queueFull, Value: 10_000},
		{Data: slab.numbers(42)},
		{Data: slab.numbers(42, 1)},
		{Data: outcomes},
	} {
		frame := want.Append([]byte("before"))[len("before"):]
		got, err := DecodeResult(frame)
		must(t, err)
		other, err := decodeAnyLayout(frame)
		must(t, err)
		for _, r := range []Result{got, other} {
			if r.Code != want.Code || r.Value != want.Value || !bytes.Equal(r.Data, want.Data) {
				t.Errorf("got %+v, want %+v", r, want)
			}
		}
		msg, err := schemas.ResultFrom(frame)
		must(t, err)
		if msg.Code() != want.Code || msg.Value() != want.Value || msg.HasResults() != (want.Data != nil) {
			t.Errorf("the frame reads as %v", msg)
		}
	}
	for _, bad := range [][]byte{nil, {1, 2, 3}, make([]byte, 8), make([]byte, 24)} {
		if r, err := DecodeResult(bad); err == nil && r.Code != schemas.Code_ok {
			t.Errorf("DecodeResult(%v) = %v", bad, r)
		}
	}
}
