package cluster

import "testing"

// Positions follow bytes: what may stay is told to an eighth, and entries of
// before the start are cut by count.
func TestLogMeter(t *testing.T) {
	policy := SnapshotPolicy{Trailing: 1000, Bytes: 800, TrailingBytes: 1600}
	m := newLogMeter(policy)
	if got := m.trailing(5000); got != policy.Trailing {
		t.Errorf("nothing applied: %d entries may stay, want %d", got, policy.Trailing)
	}
	for i := uint64(5001); i <= 5400; i++ { // 4,000 bytes
		m.applied(i, 10)
	}
	// 160 entries hold 1,600 bytes, a step is 10 entries.
	if got := m.trailing(5400); got < 160 || got > 170 {
		t.Errorf("%d entries of 10 bytes may stay, want 160 to 170", got)
	}
	if !m.snapshotDue() {
		t.Error("4,000 bytes are not worth a snapshot")
	}
	m.snapshotDone(m.position())
	if m.snapshotDue() {
		t.Error("nothing is worth a snapshot")
	}
	m.applied(5401, 800)
	if !m.snapshotDue() {
		t.Error("800 bytes are not worth a snapshot")
	}
	for i := uint64(5402); i <= 5410; i++ {
		m.applied(i, 2000)
	}
	if got := m.trailing(5410); got != minTrailing {
		t.Errorf("%d large entries may stay, want %d", got, minTrailing)
	}
}
