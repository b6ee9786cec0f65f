package bench

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// What a histogram tells apart: microseconds up to two minutes, three digits.
const (
	highest = 2 * 60 * 1_000_000
	digits  = 3
	shards  = 16
)

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, highest, digits) }

// recorder keeps what the workers saw. Workers that share no shard never meet.
type recorder struct {
	shards   [shards]shard
	counting atomic.Bool // the warm-up is over
	errors   atomic.Int64
	first    atomic.Pointer[string] // the first error
}

// shard is some workers' part. mu guards the rest.
type shard struct {
	mu           sync.Mutex
	calls, units int64
	now          *hdrhistogram.Histogram // of this second
}

func newRecorder() *recorder {
	r := &recorder{}
	for i := range r.shards {
		r.shards[i].now = newHistogram()
	}
	return r
}

// done notes a call that took so long, and how many units of work it was.
func (r *recorder) done(worker int, took time.Duration, units int) {
	s := &r.shards[worker%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	s.units += int64(units)
	_ = s.now.RecordValue(min(max(took.Microseconds(), 1), highest)) // in range
}

func (r *recorder) failed(err error) {
	if !r.counting.Load() {
		return
	}
	r.errors.Add(1)
	text := err.Error()
	r.first.CompareAndSwap(nil, &text)
}

// take returns what was noted since the last time.
func (r *recorder) take() (calls, units int64, h *hdrhistogram.Histogram) {
	h = newHistogram()
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		h.Merge(s.now)
		s.now.Reset()
		calls, units = calls+s.calls, units+s.units
		s.calls, s.units = 0, 0
		s.mu.Unlock()
	}
	return calls, units, h
}
