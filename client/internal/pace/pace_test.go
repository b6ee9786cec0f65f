package pace

import (
	"testing"
	"time"
)

// Signals take what is to spare and no more, however long they are tried; a message
// that comes then finds all but that.
func TestSignalsTakeWhatIsToSpare(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	b := New(60, time.Second/2, 3)
	taken := 0
	for range 1000 {
		if b.Signal(now, 1) == 0 {
			taken++
		}
	}
	if taken != 3 {
		t.Errorf("%d signals go at once, want 3", taken)
	}
	if b.tokens != 57 {
		t.Errorf("%v tokens are left to messages, want 57", b.tokens)
	}
	wait := b.Signal(now, 1)
	if wait <= 0 || wait > time.Second {
		t.Fatalf("the fourth is to wait %v, want half a second", wait)
	}
	if again := b.Signal(now.Add(wait), 1); again != 0 {
		t.Errorf("who waited as told is to wait %v more", again)
	}
}

// Messages come first: while they use the rate up, and until all of it has come back,
// no signal goes.
func TestMessagesComeFirst(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	b := New(60, time.Second/2, 3)
	for range 60 {
		b.Message(now)
	}
	for s := range 28 {
		if b.Signal(now.Add(time.Duration(s)*time.Second), 1) == 0 {
			t.Fatalf("a signal goes %d s after sixty messages", s)
		}
	}
	if wait := b.Signal(now.Add(30*time.Second), 1); wait != 0 {
		t.Errorf("all has come back, and a signal is to wait %v", wait)
	}
}

// A refusal by the cluster empties the picture; a clock that goes back fills nothing;
// what takes more than may be missing goes when nothing is.
func TestRefusalClockAndLargeSignals(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	b := New(60, time.Second/2, 3)
	if wait := b.Signal(now, 5); wait != 0 {
		t.Errorf("five calls at a full bucket wait %v", wait)
	}
	b.Limited(now)
	if b.Wait(now.Add(time.Second), 1) == 0 {
		t.Error("a signal may go a second after a refusal")
	}
	if b.Limited(now); b.Wait(now.Add(-time.Hour), 1) == 0 || b.tokens != 0 {
		t.Errorf("a clock that goes back leaves %v tokens, want 0", b.tokens)
	}
	if wait := b.Wait(now.Add(time.Minute), 1); wait != 0 {
		t.Errorf("a minute after a refusal a signal is to wait %v", wait)
	}
}
