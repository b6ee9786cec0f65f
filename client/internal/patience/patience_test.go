package patience

import (
	"testing"
	"time"
)

// Patience begins with a second and four round trips, doubles with each node that is given
// up, and comes back with answers, one at a time.
func TestPatienceGrowsWithFailures(t *testing.T) {
	var p Patience
	if got := p.With(100 * time.Millisecond); got != 1400*time.Millisecond {
		t.Errorf("at first it is %v, want 1.4s", got)
	}
	for _, want := range []int{2, 4, 8, 15, 15, 15} {
		p.Missed()
		if got := p.With(0); got != time.Duration(want)*time.Second {
			t.Errorf("after one more failure it is %v, want %ds", got, want)
		}
	}
	for _, want := range []int{8, 4, 2, 1, 1} {
		if want%4 == 0 {
			p.Heard()
		} else {
			p.Answered(0)
		}
		if got := p.With(0); got != time.Duration(want)*time.Second {
			t.Errorf("after one more answer it is %v, want %ds", got, want)
		}
	}
}

// Answers that take long, or now long and now short, make it longer, those that are quick
// again shorter; a single slow one hardly does.
func TestPatienceFollowsAnswerTimes(t *testing.T) {
	var p Patience
	p.Answered(900 * time.Millisecond)
	if got := p.With(0); got > 1100*time.Millisecond {
		t.Errorf("after one slow answer it is %v, want about a second", got)
	}
	for i := range 100 {
		p.Answered(time.Duration(i%2) * 2 * time.Second)
	}
	if got := p.With(0); got < 3*time.Second || got > 6*time.Second {
		t.Errorf("with answers of 0 and 2 s it is %v, want three to six", got)
	}
	for range 100 {
		p.Answered(3 * time.Second)
	}
	if got := p.With(0); got < 3*time.Second || got > 4*time.Second {
		t.Errorf("with answers of 3 s it is %v, want little more", got)
	}
	for range 100 {
		p.Answered(time.Hour)
	}
	if got := p.With(0); got != Most {
		t.Errorf("with answers of an hour it is %v, want %v", got, Most)
	}
	for range 200 {
		p.Answered(time.Millisecond)
	}
	if got := p.With(0); got != Least {
		t.Errorf("with quick answers it is %v, want %v", got, Least)
	}
}
