package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"quicproquo/fsm"
	"quicproquo/schemas"
)

// What a leader says of an entry a follower reads as it was: what may have been applied
// never as what was not, and what certainly was not never as open.
func TestOutcomesKeepTheirCertainty(t *testing.T) {
	for what, c := range map[string]struct {
		said, read outcome
		is         error
	}{
		"applied":                      {outcome{state: applied, index: 7, result: fsm.Result{Code: schemas.Code_ok, Value: 9}}, outcome{state: applied, index: 7, result: fsm.Result{Code: schemas.Code_ok, Value: 9}}, nil},
		"refused by the store's rules": {outcome{state: applied, index: 8, result: fsm.Result{Code: schemas.Code_usernameTaken}}, outcome{state: applied, index: 8, result: fsm.Result{Code: schemas.Code_usernameTaken}}, nil},
		"unknown":                      {outcome{state: unknown, err: errors.New("raft: leadership lost")}, outcome{state: unknown}, ErrUnknownOutcome},
		"unknown, of a refusal":        {outcome{state: unknown, err: ErrDiskFull}, outcome{state: unknown}, ErrUnknownOutcome},
		"refused, the disk is full":    {outcome{state: refused, err: ErrDiskFull}, outcome{state: refused}, ErrDiskFull},
		"refused, no leader":           {outcome{state: refused, err: errors.New("this node does not lead")}, outcome{state: refused}, ErrUnavailable},
		"refused, by an open error":    {outcome{state: refused, err: fmt.Errorf("again: %w", ErrUnknownOutcome)}, outcome{state: refused}, ErrUnavailable},
	} {
		_, seg := schemas.NewMessage()
		o, err := schemas.NewRootOutcome(seg)
		if err != nil {
			t.Fatal(err)
		}
		if err := writeOutcome(o, c.said); err != nil {
			t.Fatal(err)
		}
		got, err := readOutcome(o)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if got.state != c.read.state || got.index != c.read.index || got.result.Code != c.read.result.Code || got.result.Value != c.read.result.Value {
			t.Errorf("%s is read as %+v, want %+v", what, got, c.read)
		}
		if !errors.Is(got.err, c.is) {
			t.Errorf("%s is read as %v, want %v", what, got.err, c.is)
		}
	}
}

// An answer without an outcome for each entry, or with more, gives none: then all are
// unknown.
func TestForwardedOutcomesAreWhole(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 4} {
		_, seg := schemas.NewMessage()
		reply, err := schemas.NewRootPeerResponse(seg)
		if err != nil {
			t.Fatal(err)
		}
		forwarded, err := reply.NewForwarded()
		if err != nil {
			t.Fatal(err)
		}
		list, err := forwarded.NewOutcomes(int32(n))
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			if err := writeOutcome(list.At(i), outcome{state: applied, index: uint64(i)}); err != nil {
				t.Fatal(err)
			}
		}
		batch := []*proposal{newProposal(nil, 0), newProposal(nil, 0), newProposal(nil, 0)}
		err = deliverForwarded(batch, reply)
		if (err == nil) != (n == len(batch)) {
			t.Errorf("%d outcomes for %d entries: %v", n, len(batch), err)
		}
		for i, p := range batch {
			if got := len(p.done); (got == 1) != (n == len(batch)) {
				t.Errorf("of %d outcomes entry %d has %d", n, i, got)
			}
		}
	}
}

// appliedFuture is an entry that the store has applied with some results.
type appliedFuture struct {
	raft.ApplyFuture
	results any
}

func (f appliedFuture) Response() any { return f.results }
func (f appliedFuture) Index() uint64 { return 5 }

// A writer is told that nothing was applied only if that is certain; and at once, where
// waiting for another leader mends nothing.
func TestWhatAWriterIsTold(t *testing.T) {
	n := &Node{}
	last := errors.New("the last attempt")
	for _, c := range []struct {
		open bool
		last error
		want error
	}{
		{false, last, ErrUnavailable},
		{true, last, ErrUnknownOutcome},
		{false, nil, ErrUnavailable},
		{true, nil, ErrUnknownOutcome},
		{true, ErrUnavailable, ErrUnknownOutcome},
	} {
		if got := n.gaveUp(c.open, c.last); !errors.Is(got, c.want) {
			t.Errorf("after %v (an attempt is open: %t) the writer is told %v, want %v", c.last, c.open, got, c.want)
		}
	}
	for err, want := range map[error]bool{
		raft.ErrNotLeader: true, raft.ErrEnqueueTimeout: true, raft.ErrLeadershipTransferInProgress: true,
		raft.ErrLeadershipLost: false, raft.ErrRaftShutdown: false, raft.ErrAbortedByRestore: false,
		context.DeadlineExceeded: false, errors.New("something new"): false,
	} {
		if got := notApplied(fmt.Errorf("apply: %w", err)); got != want {
			t.Errorf("after %v an entry is certainly not in the log: %t, want %t", err, got, want)
		}
	}
	for err, want := range map[error]bool{
		ErrDiskFull: true, ErrBadEntry: true, ErrFeatureLevel: true, ErrUnavailable: false, ErrClosed: false, ErrUnknownOutcome: false,
	} {
		if got := permanent(fmt.Errorf("attempt: %w", err)); got != want {
			t.Errorf("%v is not mended by waiting: %t, want %t", err, got, want)
		}
	}
	for _, results := range []any{nil, []fsm.Result{}, []fsm.Result{{}}, []fsm.Result{{}, {}, {}}} {
		batch := []*proposal{newProposal(nil, 0), newProposal(nil, 0)}
		n.deliver(batch, appliedFuture{results: results})
		for _, p := range batch {
			if o := <-p.done; o.state != unknown {
				t.Errorf("with the results %v of two entries one is %+v, want unknown", results, o)
			}
		}
	}
	batch := []*proposal{newProposal(nil, 0), newProposal(nil, 0)}
	n.deliver(batch, appliedFuture{results: []fsm.Result{{Value: 1}, {Value: 2}}})
	for i, p := range batch {
		if o := <-p.done; o.state != applied || o.index != 5 || o.result.Value != uint64(i+1) {
			t.Errorf("entry %d is %+v, want its own result", i, o)
		}
	}
}

// A voter's answer is read as it was made; one with more voters than a cluster may have
// is refused.
func TestConfirmAnswersAreRead(t *testing.T) {
	for _, voters := range []int{0, 3, maxMembers, maxMembers + 1} {
		_, seg := schemas.NewMessage()
		from, err := schemas.NewRootConfirmed(seg)
		if err != nil {
			t.Fatal(err)
		}
		from.SetTerm(3)
		from.SetLeader(true)
		from.SetReady(true)
		from.SetCommandIndex(70)
		list, err := from.NewVoters(int32(voters))
		if err != nil {
			t.Fatal(err)
		}
		for i := range voters {
			if err := list.Set(i, fmt.Sprintf("n%d", i)); err != nil {
				t.Fatal(err)
			}
		}
		c, err := readConfirmed(from)
		if voters > maxMembers {
			if err == nil || !strings.Contains(err.Error(), "at most") {
				t.Errorf("%d voters: %v, want a refusal", voters, err)
			}
			continue
		}
		if err != nil || c.term != 3 || !c.leader || !c.ready || c.index != 70 || len(c.voters) != voters {
			t.Errorf("%d voters: %+v, %v", voters, c, err)
		}
	}
}
