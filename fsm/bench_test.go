package fsm

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"quicproquo/schemas"
)

// benchLog builds sealed batches of 1 KiB enqueues, spread over queues. They are a
// node's, which may put envelopes into queues of nobody.
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
	l.entry = entryBuilder{id: newID(0), kind: schemas.Actor_Kind_node}.
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
	return l.seal(b, l.frames)
}

// seal makes the next log entry of any commands.
func (l *benchLog) seal(b *testing.B, frames [][]byte) Log {
	b.Helper()
	l.index++
	return seal(b, l.index, 1_700_000_000_000+l.index, frames...)
}

// applyAll applies log entries and fails if a command was refused: a refusal costs
// little, and would pass for speed.
func applyAll(b *testing.B, s *Store, logs []Log) {
	b.Helper()
	results, err := s.Apply(logs)
	must(b, err)
	for _, r := range results[len(results)-1] {
		if r.Code != schemas.Code_ok {
			b.Fatalf("refused with %s", r.Code)
		}
	}
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
		applyAll(b, s, logs[:1])
		cpu += cpuTime() - before
		slowest = max(slowest, time.Since(start))
		logs = logs[1:]
	}
	b.StopTimer()
	b.ReportMetric(float64(cpu.Nanoseconds())/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(slowest.Microseconds())/1000, "slowest-ms")
	reportDisk(b, s)
}

// BenchmarkApplyToAccounts is BenchmarkApply between accounts: an op is one enqueue
// of 1 KiB by an account to one of 10,000, into their own queues, those of one or
// two devices, or into a channel. queue=bare is a node's into queues of nobody.
func BenchmarkApplyToAccounts(b *testing.B) {
	for _, c := range []struct {
		name    string
		devices int
		channel bool
		bare    bool
	}{
		{"queue=bare", 0, false, true},
		{"devices=0", 0, false, false},
		{"devices=1", 1, false, false},
		{"devices=2", 2, false, false},
		{"channel", 1, true, false},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := openTest(b, Options{Dir: b.TempDir()})
			defer closeTest(b, s)
			l := &benchLog{}
			const recipients, batch = 10_000, 256
			if !c.bare {
				settle(b, s, l, recipients, c.devices, c.channel)
			}
			by := entryBuilder{kind: schemas.Actor_Kind_account, actor: accountKey("sender")}
			if c.bare {
				by = entryBuilder{kind: schemas.Actor_Kind_node}
			}
			var logs []Log
			n := 0
			for ; n < b.N; n += batch {
				var lines []string
				for i := range batch {
					to := (n + i) * 7919 % recipients
					line := fmt.Sprintf("enqueue to=r%d body=x*1024", to)
					if c.channel {
						line += fmt.Sprintf(" channel=c%d", to)
					}
					lines = append(lines, line)
				}
				logs = append(logs, l.lines(b, by, lines))
			}
			b.ReportAllocs()
			b.ResetTimer()
			before := cpuTime()
			for i := range logs {
				applyAll(b, s, logs[i:i+1])
			}
			b.StopTimer()
			b.ReportMetric(float64((cpuTime()-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
}

// settle makes the sender's account and the recipients', with devices and channels.
func settle(b *testing.B, s *Store, l *benchLog, recipients, devices int, channel bool) {
	b.Helper()
	node := entryBuilder{kind: schemas.Actor_Kind_node}
	applyAll(b, s, []Log{l.lines(b, node, []string{"createAccount name=sender key=sender"})})
	const together = 500
	for from := 0; from < recipients; from += together {
		var accounts, others []string
		for i := from; i < from+together; i++ {
			accounts = append(accounts, fmt.Sprintf("createAccount name=r%d key=r%d", i, i))
			for d := range devices {
				others = append(others, fmt.Sprintf("registerDevice as=r%d device=d%d", i, d))
			}
			if channel {
				others = append(others, fmt.Sprintf("createChannel as=r%d peer=sender channel=c%d", i, i))
			}
		}
		applyAll(b, s, []Log{l.lines(b, node, accounts)})
		for len(others) > 0 {
			n := min(len(others), together)
			applyAll(b, s, []Log{l.lines(b, node, others[:n])})
			others = others[n:]
		}
	}
}

// lines makes the next log entry of script lines, by somebody if they do not say.
func (l *benchLog) lines(b *testing.B, by entryBuilder, lines []string) Log {
	b.Helper()
	var frames [][]byte
	for _, line := range lines {
		l.next++
		c := parseCall(b, line, int(l.next))
		if c.arg("as", "") == "" {
			who := "node"
			if by.kind == schemas.Actor_Kind_account {
				who = strings.TrimRight(string(by.actor), ".")
			}
			c.args = append(c.args, argument{"as", who})
		}
		frames = append(frames, c.frame(b))
	}
	return l.seal(b, frames)
}

// BenchmarkSnapshot makes a snapshot of a store of 1 GiB that has just taken
// writes. written-MiB is the most that one had to write: the memtable, the manifest
// and the other small files; tables are linked.
func BenchmarkSnapshot(b *testing.B) {
	s := openTest(b, Options{Dir: b.TempDir()})
	defer closeTest(b, s)
	l := newBenchLog(b, 10_000, 256)
	for range (1 << 30) / 1024 / 256 {
		applyAll(b, s, []Log{l.batch(b)})
	}
	must(b, s.live.db.Flush()) // the backlog of loading at full speed
	dir := b.TempDir()
	written, size := 0.0, 0.0
	b.ResetTimer()
	for i := range b.N {
		b.StopTimer()
		for range 8 {
			applyAll(b, s, []Log{l.batch(b)})
		}
		before := flushedBytes(s)
		b.StartTimer()
		info, err := s.Checkpoint(fmt.Sprintf("%s/%d", dir, i))
		b.StopTimer()
		must(b, err)
		copied := 0.0
		for _, f := range info.Files {
			if !strings.HasSuffix(f.Name, tableSuffix) && !strings.HasSuffix(f.Name, blobSuffix) {
				copied += float64(f.Size)
			}
		}
		written = max(written, flushedBytes(s)-before+copied)
		size = float64(info.Size())
		b.StartTimer()
	}
	b.ReportMetric(written/(1<<20), "written-MiB")
	b.ReportMetric(size/(1<<30), "store-GiB")
}

// BenchmarkRestore restores a snapshot of 256 MiB, verification included.
func BenchmarkRestore(b *testing.B) {
	s := openTest(b, Options{Dir: b.TempDir()})
	defer closeTest(b, s)
	l := newBenchLog(b, 10_000, 256)
	for range (256 << 20) / 1024 / 256 {
		applyAll(b, s, []Log{l.batch(b)})
	}
	dir := b.TempDir() + "/snapshot"
	info, err := s.Checkpoint(dir)
	must(b, err)
	b.SetBytes(int64(info.Size()))
	b.ResetTimer()
	for range b.N {
		must(b, s.Restore(dir))
	}
}

// BenchmarkMemory queues a million envelopes of 1 KiB and reports what the
// process holds resident at most. Run it alone:
//
//	go test -run '^$' -bench Memory -benchtime 1x ./fsm
func BenchmarkMemory(b *testing.B) {
	for range b.N {
		s := openTest(b, Options{Dir: b.TempDir()})
		l := newBenchLog(b, 10_000, 256)
		most := 0.0
		for n := 0; n < 1_000_000; n += 256 {
			applyAll(b, s, []Log{l.batch(b)})
			most = max(most, residentBytes(b))
		}
		b.ReportMetric(most/(1<<20), "resident-MiB")
		closeTest(b, s)
	}
}

// BenchmarkCycle is the life of a message: 128 are enqueued, and 128 that an
// earlier entry brought are acknowledged by their owners.
func BenchmarkCycle(b *testing.B) {
	s := openTest(b, Options{Dir: b.TempDir()})
	defer closeTest(b, s)
	const half = 128
	l := newBenchLog(b, 10_000, half)
	given := map[string]uint64{}
	var logs []Log
	var acks [][]byte
	index := uint64(0)
	for n := 0; n < b.N; n += half {
		l.batch(b)
		index++
		frames := append(append([][]byte(nil), l.frames...), acks...)
		acks = nil
		for _, frame := range l.frames {
			to := string(frame[l.key : l.key+schemas.AccountKeySize])
			given[to]++
			acks = append(acks, entryBuilder{kind: schemas.Actor_Kind_node}.frame(b, func(e schemas.Entry) error {
				p, err := e.Command().NewAck()
				must(b, err)
				p.SetVersion(schemas.WireVersion)
				p.SetSeq(given[to])
				return p.SetRecipientKey([]byte(to))
			}))
		}
		logs = append(logs, seal(b, index, 1_700_000_000_000, frames...))
	}
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuTime()
	for i := range logs {
		applyAll(b, s, logs[i:i+1])
	}
	b.StopTimer()
	b.ReportMetric(float64((cpuTime()-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
	reportDisk(b, s)
}

// reportDisk reports what flushes and compactions have written for each op.
func reportDisk(b *testing.B, s *Store) {
	b.Helper()
	must(b, s.live.db.Flush())
	b.ReportMetric(flushedBytes(s)/float64(b.N), "flushed-B/op")
	total := s.live.db.Metrics().Total()
	// Pebble 2.1.7 counts the blob files of flushes as those of compactions too.
	blobs := total.BlobBytesCompacted - total.BlobBytesFlushed
	b.ReportMetric(float64(total.TableBytesCompacted+blobs)/float64(b.N), "compacted-B/op")
}

func flushedBytes(s *Store) float64 {
	sum := uint64(0)
	for _, level := range s.live.db.Metrics().Levels {
		sum += level.TableBytesFlushed + level.BlobBytesFlushed
	}
	return float64(sum)
}

// BenchmarkPeek reads the first 60 of a queue's envelopes of 1 KiB through a View.
func BenchmarkPeek(b *testing.B) {
	s := openTest(b, Options{Dir: b.TempDir()})
	defer closeTest(b, s)
	l := newBenchLog(b, 1000, 256)
	for range 1000 {
		applyAll(b, s, []Log{l.batch(b)})
	}
	var q QueueID
	copy(q.Owner[:], l.frames[0][l.key:])
	b.ResetTimer()
	for range b.N {
		v, err := s.View()
		must(b, err)
		list, err := v.Peek(q, 0, 60, 1<<20)
		must(b, err)
		if len(list) != 60 {
			b.Fatalf("read %d envelopes", len(list))
		}
		must(b, v.Close())
	}
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
