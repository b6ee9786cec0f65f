package fsm

import (
	"encoding/binary"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"quicproquo/schemas"
)

// benchLog builds sealed batches of 1 KiB enqueues, spread over queues.
type benchLog struct {
	entry  []byte
	id     int // offset of the request id
	key    int // offset of the recipient's key
	queues uint64
	next   uint64
	index  uint64
	frames [][]byte
}

func newBenchLog(b *testing.B, queues, batch int) *benchLog {
	b.Helper()
	body := make([]byte, 1024)
	l := &benchLog{queues: uint64(queues)}
	l.entry = entryBuilder{id: newID(0), kind: schemas.Actor_Kind_account, actor: accountKey("sender")}.
		frame(b, func(e schemas.Entry) error {
			p, err := e.Command().NewEnqueue()
			must(b, err)
			p.SetVersion(schemas.WireVersion)
			must(b, p.SetRecipientKey(accountKey("recipient")))
			return p.SetPayload(body)
		})
	l.id = indexOf(b, l.entry, newID(0))
	l.key = indexOf(b, l.entry, accountKey("recipient"))
	for range batch {
		l.frames = append(l.frames, append([]byte(nil), l.entry...))
	}
	return l
}

func indexOf(b *testing.B, frame, part []byte) int {
	b.Helper()
	for i := range frame {
		if string(frame[i:min(len(frame), i+len(part))]) == string(part) {
			return i
		}
	}
	b.Fatal("the entry does not hold the part")
	return 0
}

// batch returns the next log entry.
func (l *benchLog) batch(b *testing.B) Log {
	b.Helper()
	for _, frame := range l.frames {
		l.next++
		binary.BigEndian.PutUint64(frame[l.id:], l.next*0x9e3779b97f4a7c15)
		binary.BigEndian.PutUint64(frame[l.id+8:], l.next)
		queue := l.next * 0x9e3779b97f4a7c15 >> 20 % l.queues
		binary.BigEndian.PutUint64(frame[l.key:], queue*0xd1342543de82ef95)
	}
	l.index++
	return seal(b, l.index, 1_700_000_000_000+l.index, l.frames...)
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkApply applies log entries of 256 enqueues of 1 KiB, on the disk. An op
// is one command; cpu-ns/op counts all threads, Pebble's flushes and compactions
// and the building of the log (see BenchmarkSeal) included.
func BenchmarkApply(b *testing.B) {
	for _, queues := range []int{1_000, 10_000, 1_000_000} {
		b.Run(fmt.Sprintf("queues=%d", queues), func(b *testing.B) { benchApply(b, queues, 256) })
	}
}

func benchApply(b *testing.B, queues, batch int) {
	b.Helper()
	s := openTest(b, Options{Dir: b.TempDir()})
	defer closeTest(b, s)
	l := newBenchLog(b, queues, batch)
	// Building the log is not what is measured: a few entries at a time.
	const ahead = 16
	var logs []Log
	var cpu time.Duration
	slowest := time.Duration(0)
	b.SetBytes(1024)
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n += batch {
		if len(logs) == 0 {
			b.StopTimer()
			for range ahead {
				logs = append(logs, l.batch(b))
			}
			b.StartTimer()
		}
		before, start := cpuTime(), time.Now()
		_, err := s.Apply(logs[:1])
		cpu += cpuTime() - before
		slowest = max(slowest, time.Since(start))
		must(b, err)
		logs = logs[1:]
	}
	b.StopTimer()
	b.ReportMetric(float64(cpu.Nanoseconds())/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(slowest.Microseconds())/1000, "slowest-ms")
}

// residentBytes is the process's resident memory.
func residentBytes(b *testing.B) float64 {
	b.Helper()
	data, err := os.ReadFile("/proc/self/statm")
	must(b, err)
	var size, resident float64
	_, err = fmt.Sscan(string(data), &size, &resident)
	must(b, err)
	return resident * float64(os.Getpagesize())
}

// BenchmarkRawPebble is the floor under BenchmarkApply: the same envelopes as
// bare puts in batches of 256 with the store's own Pebble settings, without
// decoding, heads, request ids or digest.
func BenchmarkRawPebble(b *testing.B) {
	s := openTest(b, Options{Dir: b.TempDir()})
	defer closeTest(b, s)
	db := s.live.db
	value := make([]byte, envelopeFixed+1024)
	heads := make([]uint64, 10_000)
	var cpu time.Duration
	b.SetBytes(1024)
	b.ResetTimer()
	for n := 0; n < b.N; n += 256 {
		before := cpuTime()
		batch := db.NewBatch()
		for i := range 256 {
			q := uint64(n+i) * 0x9e3779b97f4a7c15 >> 20 % uint64(len(heads))
			heads[q]++
			var id QueueID
			binary.BigEndian.PutUint64(id.Owner[:], q*0xd1342543de82ef95)
			must(b, batch.Set(appendEnvelopeKey(nil, &id, heads[q]), value, nil))
		}
		must(b, batch.Commit(pebble.NoSync))
		must(b, batch.Close())
		cpu += cpuTime() - before
	}
	b.StopTimer()
	b.ReportMetric(float64(cpu.Nanoseconds())/float64(b.N), "cpu-ns/op")
}
