package fsm

import "github.com/cespare/xxhash/v2"

// digester chains a digest over everything that the log does to the store, so
// that nodes can compare one number instead of their stores. The digest after a
// log entry is xxhash64, seeded with the digest before it, over
//
//	index:8 stamp:8, then in order for every command
//	  for each row it writes:  op:1 len(key):4 len(value):4 key value
//	  and at its end:          opResult:1 code:2 value:8
//
// It sees rows as commands write them, not as they reach the disk, where a head
// that several commands change is written once: so it does not depend on how the
// log is cut into Apply calls. It finds bugs and rot, not forgers.
type digester struct {
	hash xxhash.Digest
	head [17]byte
}

const (
	opSet byte = iota + 1
	opDelete
	opDeleteRange // key is the first deleted key, value the first that stays
	opResult
)

func (d *digester) begin(previous, index, stamp uint64) {
	d.hash.ResetWithSeed(previous)
	le.PutUint64(d.head[0:], index)
	le.PutUint64(d.head[8:], stamp)
	d.write(d.head[:16])
}

func (d *digester) row(op byte, key, value []byte) {
	d.head[0] = op
	le.PutUint32(d.head[1:], uint32(len(key)))
	le.PutUint32(d.head[5:], uint32(len(value)))
	d.write(d.head[:9])
	d.write(key)
	d.write(value)
}

func (d *digester) result(r *Result) {
	d.head[0] = opResult
	le.PutUint16(d.head[1:], uint16(r.Code))
	le.PutUint64(d.head[3:], r.Value)
	d.write(d.head[:11])
}

func (d *digester) end() uint64 { return d.hash.Sum64() }

// write can't fail: that is Digest.Write's promise.
func (d *digester) write(b []byte) { _, _ = d.hash.Write(b) }

// Mark is the digest after a log entry. Two nodes with marks of the same index
// and different digests have diverged: one of them must stop.
type Mark struct {
	Index  uint64
	Digest uint64
}

const (
	// markEvery is how many commands lie between two marks at least.
	markEvery = 1024
	// maxMarks is how many marks are kept.
	maxMarks = 32
)

// marks is a ring of the marks at log entries that bring the number of commands
// past a multiple of markEvery: the same entries on every node.
type marks struct {
	ring  [maxMarks]Mark
	count int
}

func (m *marks) add(mark Mark) {
	m.ring[m.count%maxMarks] = mark
	m.count++
}

// list returns the marks, oldest first.
func (m *marks) list() []Mark {
	n := min(m.count, maxMarks)
	list := make([]Mark, 0, n+1)
	for i := m.count - n; i < m.count; i++ {
		list = append(list, m.ring[i%maxMarks])
	}
	return list
}
