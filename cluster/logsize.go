package cluster

import (
	"errors"
	"sync"

	"github.com/hashicorp/raft"
)

// logMeter measures the log in bytes: raft's own thresholds count entries, and
// an entry of ours holds anything from one command to a MiB of them. It knows
// what was applied since the node started; what lay in the log before is cut by
// count, as raft does. mu guards the rest.
type logMeter struct {
	policy SnapshotPolicy
	wake   chan struct{} // capacity 1: there may be something to cut

	mu       sync.Mutex
	total    int64 // bytes of commands applied
	snapshot int64 // total that the newest snapshot covers
	marks    []logMark
}

// logMark says how much was applied before an entry.
type logMark struct {
	index  uint64
	before int64
}

// logMarks is how finely lengths in bytes become positions in the log: to an
// eighth.
const logMarks = 8

func newLogMeter(policy SnapshotPolicy) *logMeter {
	return &logMeter{policy: policy, wake: make(chan struct{}, 1)}
}

// applied counts a command. It is called in the order of the log.
func (m *logMeter) applied(index uint64, size int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	step := min(m.policy.Bytes, m.policy.TrailingBytes) / logMarks
	if n := len(m.marks); n == 0 || m.total-m.marks[n-1].before >= step {
		// Marks further back than what may stay say nothing any more; the last of
		// those is where to cut.
		for len(m.marks) > 1 && m.total-m.marks[1].before >= m.policy.TrailingBytes {
			m.marks = m.marks[1:]
		}
		m.marks = append(m.marks, logMark{index, m.total})
		select {
		case m.wake <- struct{}{}:
		default:
		}
	}
	m.total += int64(size)
}

// position is what a snapshot that begins now covers.
func (m *logMeter) position() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.total
}

// snapshotDone notes that a snapshot covers the log up to a position.
func (m *logMeter) snapshotDone(position int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.snapshot = max(m.snapshot, position)
}

// snapshotDue tells whether the log since the last snapshot is too long.
func (m *logMeter) snapshotDue() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.total-m.snapshot >= m.policy.Bytes
}

// trailing is how many entries before last may stay behind a snapshot.
func (m *logMeter) trailing(last uint64) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.marks) == 0 || m.total-m.marks[0].before < m.policy.TrailingBytes || last < m.marks[0].index {
		return m.policy.Trailing
	}
	return min(m.policy.Trailing, max(last-m.marks[0].index, minTrailing))
}

// boundLog keeps the log within its bytes as long as the node runs. raft cuts
// the log when it makes a snapshot, and only then looks at the number of entries
// that may stay.
func (n *Node) boundLog() {
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.meter.wake:
		}
		config := n.raft.ReloadableConfig()
		if trailing := n.meter.trailing(n.raft.LastIndex()); trailing != config.TrailingLogs {
			config.TrailingLogs = trailing
			if err := n.raft.ReloadConfig(config); err != nil {
				n.log.Error("bound the log", "trailing", trailing, "error", err)
			}
		}
		if !n.meter.snapshotDue() {
			continue
		}
		err := n.raft.Snapshot().Error()
		switch {
		case err == nil, errors.Is(err, raft.ErrNothingNewToSnapshot), errors.Is(err, raft.ErrRaftShutdown):
		default:
			// Tried again an eighth of the way on.
			n.log.Warn("snapshot for the log's length", "error", err)
		}
	}
}
