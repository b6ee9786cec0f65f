package fsm

import (
	"fmt"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"quicproquo/schemas"
)

// filled reads a page into a message and returns it as Peek would.
func filled(tb testing.TB, v *View, p Page) (list []Envelope) {
	tb.Helper()
	_, seg := schemas.NewMessage()
	const before = 2 // places that belong to another page
	to, err := schemas.NewEnvelope_List(seg, int32(p.Count+before))
	must(tb, err)
	must(tb, v.Fill(&p, to, before))
	for i := range p.Count {
		from := to.At(i + before)
		header, err := from.Header()
		must(tb, err)
		body, err := from.Data()
		must(tb, err)
		loss, err := from.Loss()
		must(tb, err)
		list = append(list, Envelope{
			Seq: from.Seq(), ReceivedAtMs: from.ReceivedAtMs(), Header: clone(header), Body: clone(body),
			Loss: Loss{loss.Count(), loss.FirstSeq(), loss.LastSeq(), loss.Expired(), loss.Ephemeral(), loss.Overflow()},
		})
	}
	return list
}

// A page has what Peek has: inline and shared bodies, loss markers, whatever the
// cursor and the limits.
func TestPageIsWhatPeekReturns(t *testing.T) {
	s := openTest(t, testOptions(vfs.NewMem()))
	defer closeTest(t, s)
	lines := []string{
		"enqueue to=ann body=a ttl=60", "batchEnqueue to=ann,bob body=shared", "enqueue to=ann body=b ttl=60",
		"enqueue to=ann body=c ttl=60", "enqueue to=ann body=longer", "batchEnqueue to=bob,ann body=again",
	}
	var frames [][]byte
	for i, line := range lines {
		c := parseCall(t, line, i+1)
		frames = append(frames, c.frame(t))
	}
	expire := parseCall(t, "expire", 100)
	_, err := s.Apply([]Log{seal(t, 1, 1_000_000, frames...)})
	must(t, err)
	for index, entry := range [][]byte{nil, expire.frame(t), ackEntry(t, "ann", 2)} {
		if entry != nil {
			_, err := s.Apply([]Log{seal(t, uint64(index+1), 1_000_000+120_000, entry)})
			must(t, err)
		}
		v, err := s.View()
		must(t, err)
		for after := range uint64(8) {
			for limit := range 8 {
				for _, maxBytes := range []int{0, 1, 3, 8, 100} {
					want, err := v.Peek(queueOf("ann"), after, limit, maxBytes)
					must(t, err)
					for i := range want { // a page tells of a loss only what is behind the cursor
						if loss := &want[i].Loss; loss.Count > 0 && loss.First <= after {
							*loss = Loss{Count: loss.Last - after, First: after + 1, Last: loss.Last}
						}
						want[i].Header, want[i].Body, want[i].shared = clone(want[i].Header), clone(want[i].Body), 0
					}
					p, err := v.Page(queueOf("ann"), after, limit, maxBytes)
					must(t, err)
					if diff := cmp.Diff(want, filled(t, v, p), cmp.AllowUnexported(Envelope{})); diff != "" {
						t.Errorf("step %d, after %d, limit %d, %d bytes: %s", index, after, limit, maxBytes, diff)
					}
					if len(want) > 0 && p.Upto != want[len(want)-1].Seq || len(want) == 0 && p.Upto != p.After {
						t.Errorf("step %d, after %d, limit %d: the page ends at %d", index, after, limit, p.Upto)
					}
				}
			}
		}
		must(t, v.Close())
	}
}

// The queues of a device are its own, in order, from any of them on.
func TestQueuesOfADevice(t *testing.T) {
	s := openTest(t, testOptions(vfs.NewMem()))
	defer closeTest(t, s)
	channel := func(i int) ChannelID {
		id, err := ParseChannelID(fmt.Appendf(nil, "channel %08d", i))
		must(t, err)
		return id
	}
	put := func(n int, q QueueID) []byte {
		return entryBuilder{id: newID(n), kind: schemas.Actor_Kind_node}.frame(t, func(e schemas.Entry) error {
			p, err := e.Command().NewBatchEnqueue()
			must(t, err)
			p.SetVersion(schemas.WireVersion)
			list, err := p.NewRecipients(1)
			must(t, err)
			must(t, list.At(0).SetKey(q.Owner[:]))
			if q.Device != (DeviceID{}) {
				must(t, list.At(0).SetDevice(q.Device[:]))
			}
			must(t, p.SetChannelId(q.Channel.Bytes()))
			return p.SetPayload([]byte("x"))
		})
	}
	ann := queueOf("ann")
	watch, other := s.WatchDevice(ann.Owner, DeviceID{}), s.WatchDevice(ann.Owner, DeviceID{1})
	defer watch.Stop()
	defer other.Stop()
	var frames [][]byte
	for i := range 3 {
		frames = append(frames, put(10*i+1, QueueID{Owner: ann.Owner, Channel: channel(2 - i)}),
			put(10*i+2, QueueID{Owner: ann.Owner, Device: DeviceID{1}, Channel: channel(7 + i)}))
	}
	frames = append(frames, put(50, ann), put(51, queueOf("bob")))
	_, err := s.Apply([]Log{seal(t, 1, 1000, frames...)})
	must(t, err)

	if !signalled(watch) || !signalled(other) {
		t.Error("both devices have got something")
	}
	touched, all := watch.Take(nil)
	for _, want := range []ChannelID{{}, channel(0), channel(1), channel(2)} {
		if !slices.Contains(touched, want) {
			t.Errorf("%s is not among what was touched: %v", want, touched)
		}
	}
	if len(touched) != 4 || all {
		t.Errorf("touched: %v, all: %v", touched, all)
	}
	if again, _ := watch.Take(nil); len(again) != 0 {
		t.Errorf("touched again: %v", again)
	}
	v, err := s.View()
	must(t, err)
	defer func() { must(t, v.Close()) }()
	for from, want := range map[ChannelID][]ChannelID{
		{}:         {{}, channel(0), channel(1), channel(2)},
		channel(1): {channel(1), channel(2)},
		channel(9): nil,
	} {
		var got []ChannelID
		must(t, v.Queues(QueueID{Owner: ann.Owner, Channel: from}, func(id ChannelID, stats QueueStats) bool {
			got = append(got, id)
			if stats != (QueueStats{First: 1, Last: 1, Envelopes: 1, Bytes: 1}) {
				t.Errorf("%s: %+v", id, stats)
			}
			return true
		}))
		if !slices.Equal(got, want) {
			t.Errorf("from %s: got %v, want %v", from, got, want)
		}
	}
}

// A watch remembers a few queues; with more it says that it may be any. So it does
// when the store was restored or closes.
func TestDeviceWatchIsBounded(t *testing.T) {
	s := openTest(t, testOptions(vfs.NewMem()))
	ann := queueOf("ann")
	watch := s.WatchDevice(ann.Owner, DeviceID{})
	for i := range maxTouched {
		id, err := ParseChannelID(fmt.Appendf(nil, "channel %08d", i))
		must(t, err)
		for range 2 {
			s.watches.wake(&QueueID{Owner: ann.Owner, Channel: id})
		}
	}
	if touched, all := watch.Take(nil); len(touched) != maxTouched || all {
		t.Errorf("%d are remembered, all: %v", len(touched), all)
	}
	for i := range maxTouched + 1 {
		id, err := ParseChannelID(fmt.Appendf(nil, "channel %08d", i))
		must(t, err)
		s.watches.wake(&QueueID{Owner: ann.Owner, Channel: id})
	}
	if touched, all := watch.Take(nil); len(touched) != 0 || !all {
		t.Errorf("%d are remembered, all: %v", len(touched), all)
	}
	signalled(watch)
	s.watches.wakeAccount(ann.Owner)
	if touched, all := watch.Take(nil); !signalled(watch) || len(touched) != 0 || all {
		t.Errorf("the end of a session touches no queue: %v, all: %v", touched, all)
	}
	closeTest(t, s)
	if _, all := watch.Take(nil); !signalled(watch) || !all {
		t.Error("a store that closes must wake its watchers")
	}
	watch.Stop()
	if n := s.Watching(); n != 0 {
		t.Errorf("%d watches are left", n)
	}
}
