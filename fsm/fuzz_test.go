package fsm

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"quicproquo/schemas"
)

// topicSeeds are how many entries of each topic's random lines are seeds.
const topicSeeds = 16

// seedEntries are entries of every topic, good and refused.
func seedEntries(tb testing.TB) [][]byte {
	tb.Helper()
	var frames [][]byte
	for i, line := range []string{
		"enqueue to=ann body=x", "enqueue to=!31 channel=!5 version=7", "enqueue to=ann body=x*5000 as=bob:phone channel=c",
		"batchEnqueue to=ann,bob/h,cat:phone body=x", "batchEnqueue more=40 body=x", "ack to=ann seq=1", "ack to=ann device=d seq=9 as=ann:d",
		"expire rows=5", "changeSettings queue_max_envelopes=3 ttl_max_secs=60", "changeSettings none=1",
	} {
		frames = append(frames, lineEntry(tb, i, line))
	}
	dice := rand.New(rand.NewPCG(1, 2)) // seeds are the same in each run
	pick := func(list ...string) string { return list[dice.IntN(len(list))] }
	for _, topicLine := range topicLines {
		for range topicSeeds {
			frames = append(frames, lineEntry(tb, len(frames), topicLine(pick)))
		}
	}
	for _, spoil := range undecodable() {
		frames = append(frames, entryBuilder{id: newID(1)}.frame(tb, spoil))
	}
	return frames
}

// Whatever bytes stand for an entry: Command and Apply agree on whether it can
// be decoded. If so every node gives the same result; if not, Apply fails, and
// nothing of the log entry is in the store.
func FuzzApplyEntry(f *testing.F) {
	for _, frame := range seedEntries(f) {
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) > 1<<16 {
			return
		}
		info, decodeErr := Command(frame)
		good := enqueueEntry(t, 1, "ann", "before")
		log := seal(t, 2, 2000, good, frame)
		first := seal(t, 1, 1000, enqueueEntry(t, 2, "ann", "first"),
			lineEntry(t, 3, "createAccount name=ann key=ann"),
			lineEntry(t, 4, "createAccount name=bob key=bob"),
			lineEntry(t, 5, "publishCommit as=ann group=g1 epoch=1 next=s1 info=i"))
		opts := testOptions(vfs.NewMem())
		s := openTest(t, opts)
		_, err := s.Apply([]Log{first})
		must(t, err)
		before := s.Digest()
		rows := dump(t, s)
		v, err := s.View()
		must(t, err)
		early := v.Check(frame)
		must(t, v.Close())

		results, err := s.Apply([]Log{log})
		if (err == nil) != (decodeErr == nil) {
			t.Fatalf("Command says %v, Apply says %v", decodeErr, err)
		}
		if decodeErr != nil {
			if early.Code != schemas.Code_malformed {
				t.Errorf("Check says %v of an entry that can't be decoded", early.Code)
			}
			if s.Digest() != before {
				t.Error("a log entry that failed has changed the digest")
			}
			closeTest(t, s)
			s = openTest(t, opts)
			// What was not flushed may be gone: the raft log has it.
			if s.Index() != 0 && (s.Digest() != before || dump(t, s) != rows) {
				t.Error("a log entry that failed has left rows behind")
			}
			closeTest(t, s)
			return
		}
		if info.Name == "" || len(frame) > info.MaxBytes && results[0][1].Code != schemas.Code_messageTooLarge {
			t.Errorf("entry of %d bytes for %+v gave %v", len(frame), info, results[0][1])
		}
		// The node's twin, that got the same log in one call.
		twin := openTest(t, testOptions(vfs.NewMem()))
		again, err := twin.Apply([]Log{first, log})
		must(t, err)
		if twin.Digest() != s.Digest() || !bytes.Equal(again[1][1].Append(nil), results[0][1].Append(nil)) {
			t.Errorf("twins differ: %v and %v, %v and %v", s.Digest(), twin.Digest(), results[0][1], again[1][1])
		}
		closeTest(t, twin)
		closeTest(t, s)
	})
}

// Whatever bytes stand for a log entry's payload, under a good checksum or none:
// no panic, and what fails changes nothing.
func FuzzApplyLog(f *testing.F) {
	const envelopeHead = 16
	f.Add(seal(f, 1, 1000, seedEntries(f)[:10]...).Data[envelopeHead:], true)
	f.Add(seal(f, 1, 1<<63).Data[envelopeHead:], true)
	f.Add([]byte("nothing"), false)
	f.Fuzz(func(t *testing.T, payload []byte, sealed bool) {
		data := append([]byte("QPQ\x01............"), payload...)
		if sealed {
			le.PutUint32(data[4:], uint32(len(payload)))
			le.PutUint64(data[8:], xxhash.Sum64(payload))
		}
		s := openTest(t, testOptions(vfs.NewMem()))
		defer closeTest(t, s)
		_, err := s.Apply([]Log{{Index: 1, Data: data}})
		if err != nil && (s.Digest() != Mark{}) {
			t.Error("a failed log entry has changed the digest")
		}
		if err == nil && schemas.CheckEnvelope(data) != nil {
			t.Error("a corrupt log entry was applied")
		}
	})
}

// lineEntry is the entry of a script's line.
func lineEntry(tb testing.TB, n int, line string) []byte {
	tb.Helper()
	c := parseCall(tb, line, n)
	return c.frame(tb)
}

// What the fast reader takes, the library reads the same.
func FuzzFastDecode(f *testing.F) {
	for _, frame := range seedEntries(f) {
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		var fast, slow decoder
		if !fast.fastDecode(frame) {
			return
		}
		want, err := slow.slowDecode(frame)
		if err != nil {
			t.Fatalf("the fast reader takes what the library refuses: %v", err)
		}
		if got := fmt.Sprintf("%+v", fast.request); got != fmt.Sprintf("%+v", *want) {
			t.Errorf("the fast reader reads\n%s\nthe library\n%+v", got, *want)
		}
	})
}

// The fast reader takes the plain entries that nodes write.
func TestFastDecodeTakesPlainEntries(t *testing.T) {
	for _, line := range []string{
		"enqueue to=ann body=x*1000 channel=c ttl=9 as=bob:phone", "enqueue to=ann body=x", "enqueue", "ack to=ann seq=7 device=d channel=c",
	} {
		var d decoder
		c := parseCall(t, line, 1)
		if !d.fastDecode(c.frame(t)) {
			t.Errorf("%s is left to the library", line)
		}
	}
	// An entry on nobody's behalf may leave the actor out.
	frame, err := schemas.BuildEntry(newID(1), schemas.Caller{}, func(c schemas.Entry_command) error {
		p, err := c.NewEnqueue()
		must(t, err)
		return p.SetPayload([]byte("x"))
	})
	must(t, err)
	var fast, slow decoder
	want, err := slow.slowDecode(frame)
	must(t, err)
	if !fast.fastDecode(frame) || fmt.Sprintf("%+v", fast.request) != fmt.Sprintf("%+v", *want) {
		t.Error("an entry without an actor is left to the library or read otherwise")
	}
}

// Command reads any bytes without a panic, and reads the same twice.
func FuzzCommand(f *testing.F) {
	for _, frame := range seedEntries(f) {
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		info, err := Command(frame)
		again, errAgain := Command(append([]byte(nil), frame...))
		if (err == nil) != (errAgain == nil) || fmt.Sprint(info) != fmt.Sprint(again) {
			t.Errorf("%v, %v, then %v, %v", info, err, again, errAgain)
		}
	})
}

// Rows and headers that are not what was written are refused, never a panic.
func FuzzRows(f *testing.F) {
	for _, e := range []envelopeRow{
		{kind: envelopeInline, header: []byte("h"), body: []byte("b")},
		{kind: envelopeShared, bodyID: 3, bodyLen: 9},
		{kind: envelopeLoss, first: 3},
	} {
		row := make([]byte, e.encodedLen())
		e.encode(row)
		f.Add(row)
	}
	info := SnapshotInfo{Index: 7, Files: []SnapshotFile{{"000001.sst", 10}, {"MANIFEST-000001", 20}}}
	frame, err := info.Marshal()
	must(f, err)
	f.Add(frame)
	f.Add(appendQueue(nil, &QueueID{Channel: ChannelID{some: true}}))
	f.Add(Result{Code: 3, Value: 9}.Append(nil))
	f.Add((&groupRow{epoch: 7, verifier: [32]byte{1}, changed: 9}).encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		var e envelopeRow
		if e.decode(data) == nil {
			row := make([]byte, e.encodedLen())
			e.encode(row)
			if !bytes.Equal(row, data) {
				t.Errorf("envelope %x is written as %x", data, row)
			}
		}
		var g groupRow
		if g.decode(data) == nil && !bytes.Equal(g.encode(), data) {
			t.Errorf("group %x is written as %x", data, g.encode())
		}
		if q, rest, ok := readQueue(data); ok && !bytes.Equal(append(appendQueue(nil, &q), rest...), data) {
			t.Errorf("queue %x is written as %+v", data, q)
		}
		if r, err := DecodeResult(data); err == nil && len(r.Data) > 8*len(data)+64 {
			t.Errorf("a result of %d bytes has grown to %d", len(data), len(r.Data))
		}
		if info, err := ParseSnapshotInfo(data); err == nil {
			frame, err := info.Marshal()
			must(t, err)
			if _, err := ParseSnapshotInfo(frame); err != nil {
				t.Errorf("snapshot header %+v is not read back: %v", info, err)
			}
		}
	})
}
