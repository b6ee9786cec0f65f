package chaos

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

// flaky is a host whose every step fails at first, some after they were done.
type flaky struct {
	names   map[string]bool
	failed  map[string]bool
	inboxes map[*account]int // bytes
}

var errFlaky = errors.New("the cluster is not there")

// fails tells, once for each step, that it does not go well.
func (f *flaky) fails(step string) bool {
	if f.failed[step] {
		return false
	}
	f.failed[step] = true
	return true
}

func (f *flaky) enroll(_ context.Context, name string) (*account, error) {
	if f.names[name] {
		return nil, errors.New("the name is taken")
	}
	f.names[name] = true // also where its outcome is unknown
	if f.fails("enroll " + name[:6]) {
		return nil, errFlaky
	}
	return &account{name: name}, nil
}

func (f *flaky) enrollApart(ctx context.Context, name string) (*account, error) {
	return f.enroll(ctx, name)
}

func (f *flaky) deliver(_ context.Context, to *account, size int) error {
	if f.fails(fmt.Sprint("deliver ", to.name[:6], f.inboxes[to])) {
		return errFlaky
	}
	f.inboxes[to] += size
	return nil
}

// Those who attack are set up in the end, whichever step has failed before, and however
// often; then nothing is made again.
func TestStallingIsSetUpAfterFailures(t *testing.T) {
	f := &flaky{names: map[string]bool{}, failed: map[string]bool{}, inboxes: map[*account]int{}}
	var s stalling
	tries := 0
	for err := errFlaky; err != nil; tries++ {
		if tries > 20 {
			t.Fatalf("still not set up: %v", err)
		}
		if err = s.setUp(t.Context(), f); err != nil && !errors.Is(err, errFlaky) {
			t.Fatalf("try %d: %v", tries+1, err)
		}
	}
	if want := 1 + 2 + stalledEnvelopes + 1; tries != want { // each step failed once
		t.Errorf("set up in %d tries, want %d", tries, want)
	}
	if got := f.inboxes[s.greedy]; got != stalledEnvelopes*largeEnvelope || f.inboxes[s.honest] != honestEnvelope {
		t.Errorf("%d and %d bytes lie in the inboxes, want %d and %d", got, f.inboxes[s.honest], stalledEnvelopes*largeEnvelope, honestEnvelope)
	}
	names := len(f.names)
	if names != 4 { // each registration failed once
		t.Errorf("accounts were begun under %d names, want 4", names)
	}
	if err := s.setUp(t.Context(), f); err != nil || len(f.names) != names || len(f.inboxes) != 2 {
		t.Errorf("once more: %v, %d names, want that nothing is made", err, len(f.names))
	}
}
