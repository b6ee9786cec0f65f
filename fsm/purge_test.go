package fsm

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A device that is revoked while its queue is long has an empty queue at once, for
// everybody; its rows and its share of bodies go later, a bounded number at a time,
// and what comes meanwhile for a device of the same id stays.
func TestLongQueuesArePurgedInSteps(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine at a time: go test without -short runs it, the race detector has nothing to see")
	}
	const (
		queues = 5
		each   = maxRemovedRows + purgeRows + 256
		long   = queues * each
	)
	want := Mark{}
	for _, step := range []int{1, 7, 1000} {
		s := openTest(t, testOptions(vfs.NewMem()))
		l := &purgeLog{stamp: 1_000_000}
		l.add(t, "createAccount name=bob key=bob", "registerDevice as=bob device=phone", "registerDevice as=bob device=laptop")
		for range each / 128 {
			var lines []string
			for range 128 * queues {
				lines = append(lines, fmt.Sprintf("enqueue as=node to=bob body=x channel=c%d", len(lines)%queues))
			}
			l.add(t, lines...)
		}
		l.add(t, "revokeDevice as=bob device=phone")
		l.apply(t, s, step)
		if stats := queueStats(t, s, "bob:phone@c1"); stats.Envelopes != 0 || stats.First != each+1 {
			t.Errorf("after the device was revoked its queue is %+v", stats)
		}
		if a := auditStore(t, s); len(a.spare) != long {
			t.Errorf("%d rows are left to be purged, want %d", len(a.spare), long)
		}
		l.add(t, "registerDevice as=bob device=phone", "enqueue as=node to=bob body=new channel=c1")

		// Each round of the leader removes some rows, never more than an entry may.
		left := long
		for round := 0; left > 0; round++ {
			l.stamp += bucketMs
			l.add(t, "expire")
			l.apply(t, s, step)
			now := len(auditStore(t, s).spare)
			if now >= left || left-now > maxExpireRows {
				t.Fatalf("round %d took %d of %d rows", round, left-now, left)
			}
			left = now
		}
		if stats := queueStats(t, s, "bob:phone@c1"); stats.Envelopes != 1 || stats.First != each+1 {
			t.Errorf("the queue of the device that came back is %+v", stats)
		}
		if got := fmt.Sprint(peekQueue(t, s, "bob:phone@c1")); got != fmt.Sprintf("[%d new]", each+1) {
			t.Errorf("the device that came back sees %s", got)
		}
		if stats := queueStats(t, s, "bob:laptop@c1"); stats.Envelopes != each+1 {
			t.Errorf("the other device's queue is %+v", stats)
		}
		if want == (Mark{}) {
			want = s.Digest()
		}
		if got := s.Digest(); got != want {
			t.Errorf("calls of %d entries lead to %v, want %v", step, got, want)
		}
		closeTest(t, s)
	}
}

// purgeLog is a log that grows; applied counts what a store has of it.
type purgeLog struct {
	stamp   uint64
	logs    []Log
	applied int
	ids     int
}

func (l *purgeLog) add(t *testing.T, lines ...string) {
	t.Helper()
	var frames [][]byte
	for _, line := range lines {
		l.ids++
		c := parseCall(t, line, l.ids)
		frames = append(frames, c.frame(t))
	}
	l.logs = append(l.logs, seal(t, uint64(len(l.logs)+1), l.stamp, frames...))
}

func (l *purgeLog) apply(t *testing.T, s *Store, step int) {
	t.Helper()
	for l.applied < len(l.logs) {
		to := min(l.applied+step, len(l.logs))
		_, err := s.Apply(l.logs[l.applied:to])
		must(t, err)
		l.applied = to
	}
}

func peekQueue(t *testing.T, s *Store, name string) (bodies []string) {
	t.Helper()
	v, err := s.View()
	must(t, err)
	defer func() { must(t, v.Close()) }()
	list, err := v.Peek(queueID(t, name), 0, 100, 1<<20)
	must(t, err)
	for _, e := range list {
		bodies = append(bodies, fmt.Sprintf("%d %s", e.Seq, e.Body))
	}
	return bodies
}

func queueStats(t *testing.T, s *Store, name string) QueueStats {
	t.Helper()
	v, err := s.View()
	must(t, err)
	defer func() { must(t, v.Close()) }()
	stats, err := v.Queue(queueID(t, name))
	must(t, err)
	return stats
}
