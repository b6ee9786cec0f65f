package fsm

import "testing"

// A marker stays a small row whoever sends what: beyond maxRuns the two oldest runs
// become one, with the worse reason of both, and the numbers still add up.
func TestMarkersAreBounded(t *testing.T) {
	s := ended(1, runDropped)
	for seq := uint64(2); seq <= 100; seq++ {
		reason := runExpired
		if seq%2 == 0 {
			reason = runEphemeral
		}
		s.append(ended(seq, reason))
		if len(s.runs) > maxRuns {
			t.Fatalf("after %d envelopes the marker has %d runs, at most %d are kept", seq, len(s.runs), maxRuns)
		}
	}
	if s.first != 1 || s.last != 100 || s.runs[0].reason != runDropped {
		t.Errorf("the marker is from %d to %d and begins with reason %d, want 1 to 100 and dropped", s.first, s.last, s.runs[0].reason)
	}
	row := s.marker(7)
	l := row.loss(100, 0)
	if l.Count != 100 || l.Expired > 49 || l.Ephemeral > 50 || l.Expired+l.Ephemeral < maxRuns-1 {
		t.Errorf("it tells %+v of 49 expired and 50 ephemeral ones", l)
	}
	var back envelopeRow
	encoded := make([]byte, row.encodedLen())
	row.encode(encoded)
	if err := back.decode(encoded); err != nil || back.loss(100, 0) != l {
		t.Errorf("read back it tells %+v, %v", back.loss(100, 0), err)
	}
}

// Each reader is told of what lies behind its own cursor, and why exactly that ended.
func TestLossBehindACursor(t *testing.T) {
	reasons := []byte{runExpired, runExpired, runEphemeral, runDropped, runEphemeral, runEphemeral, runExpired}
	s := ended(11, reasons[0])
	for i, reason := range reasons[1:] {
		s.append(ended(uint64(12+i), reason))
	}
	row := s.marker(7)
	for after := uint64(0); after < 17; after++ {
		want := Loss{First: max(11, after+1), Last: 17}
		for i, reason := range reasons {
			if uint64(11+i) <= after {
				continue
			}
			want.Count++
			switch reason {
			case runExpired:
				want.Expired++
			case runEphemeral:
				want.Ephemeral++
			}
		}
		if got := row.loss(17, after); got != want {
			t.Errorf("behind %d: %+v, want %+v", after, got, want)
		}
	}
}
