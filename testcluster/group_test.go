package testcluster_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"quicproquo/client/conn"
	"quicproquo/schemas"
	"quicproquo/testcluster"
)

// commitCall is what a committer asks: to end an epoch, with a proof that some
// earlier commit made, or none that fits.
type commitCall struct {
	epoch       uint64
	proof, next string
}

// commitAnswer is what it hears; the zero answer is none at all.
type commitAnswer struct {
	code  schemas.Code
	epoch uint64
	known bool
}

// groupState is a group's record, with the verifiers of all epochs so far.
type groupState struct {
	epoch     uint64
	verifiers string // verifiers[epoch] ends the current one; comma-separated
}

func (s groupState) verifier() string { return s.verifiers[strings.LastIndexByte(s.verifiers, ',')+1:] }

func (s groupState) swap(c commitCall) groupState {
	return groupState{s.epoch + 1, s.verifiers + "," + c.next}
}

// groupModel is a compare-and-swap. Who wins an epoch must have been in it. Who
// loses may hear an epoch that is over by then, as its node may be behind; never
// one that has not begun, and never its own.
func groupModel(first string) porcupine.Model {
	m := porcupine.NondeterministicModel{
		Init: func() []any { return []any{groupState{0, first}} },
		Step: func(state, input, output any) []any {
			s, c, a := state.(groupState), input.(commitCall), output.(commitAnswer)
			fits := s.epoch == c.epoch && s.verifier() == c.proof
			switch {
			case !a.known && fits:
				return []any{s, s.swap(c)}
			case !a.known:
				return []any{s}
			case a.code == schemas.Code_ok && fits && a.epoch == c.epoch+1:
				return []any{s.swap(c)}
			case a.code == schemas.Code_epochConflict && a.epoch > c.epoch && a.epoch <= s.epoch:
				return []any{s}
			case a.code == schemas.Code_groupProofInvalid && c.epoch <= s.epoch && strings.Split(s.verifiers, ",")[c.epoch] != c.proof:
				return []any{s}
			}
			return nil
		},
		DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
	}
	return m.ToModel()
}

// The model accepts what must be and refuses what must not.
func TestGroupModel(t *testing.T) {
	win := func(epoch uint64) commitAnswer { return commitAnswer{schemas.Code_ok, epoch, true} }
	lose := func(epoch uint64) commitAnswer { return commitAnswer{schemas.Code_epochConflict, epoch, true} }
	wrong := commitAnswer{schemas.Code_groupProofInvalid, 0, true}
	type step struct {
		call   commitCall
		answer commitAnswer
	}
	a, b, lost := commitCall{0, "0", "a"}, commitCall{0, "0", "b"}, commitAnswer{}
	for _, c := range []struct {
		name  string
		steps []step // one after the other
		want  bool
	}{
		{"one wins", []step{{a, win(1)}, {b, lose(1)}}, true},
		{"the next epoch", []step{{a, win(1)}, {commitCall{1, "a", "c"}, win(2)}, {b, lose(2)}}, true},
		{"a loser's node is behind", []step{{a, win(1)}, {commitCall{1, "a", "c"}, win(2)}, {b, lose(1)}}, true},
		{"an outsider", []step{{commitCall{0, "?", "x"}, wrong}, {a, win(1)}}, true},
		{"a lost answer", []step{{a, lost}, {b, lose(1)}, {commitCall{1, "a", "c"}, win(2)}}, true},
		{"a lost call", []step{{a, lost}, {b, win(1)}, {commitCall{1, "b", "c"}, win(2)}}, true},
		{"two win", []step{{a, win(1)}, {b, win(1)}}, false},
		{"two win, one late", []step{{a, win(1)}, {commitCall{1, "a", "c"}, win(2)}, {b, win(1)}}, false},
		{"a lost call wins beside another", []step{{a, lost}, {b, win(1)}, {commitCall{1, "a", "c"}, win(2)}}, false},
		{"nobody wins", []step{{a, lose(1)}, {b, lose(1)}}, false},
		{"an outsider wins", []step{{commitCall{0, "?", "x"}, win(1)}}, false},
		{"a member is taken for an outsider", []step{{a, wrong}}, false},
		{"the loser's own epoch", []step{{a, win(1)}, {b, lose(0)}}, false},
		{"an epoch that has not begun", []step{{a, win(1)}, {b, lose(2)}}, false},
		{"epochs skipped", []step{{a, win(2)}}, false},
	} {
		r := record{started: time.Now()}
		for i, s := range c.steps {
			r.note(i, r.now(), s.call, s.answer, !s.answer.known)
		}
		if got := porcupine.CheckOperations(groupModel("0"), r.operations); got != c.want {
			t.Errorf("%s: accepted %v, want %v", c.name, got, c.want)
		}
	}
}

// groupRace is a group whose members all commit all the time. A proof is the bytes
// of a name here; each commit brings the name of the next one, as a commit of MLS
// brings the next epoch's secrets to those who are in the group, and to nobody else.
type groupRace struct {
	t      *testing.T
	id     []byte
	to     []conn.Recipient
	record record
	epochs uint64 // how many are to be ended
	// lead is told of epochs that were won, to kill the leader meanwhile.
	lead chan uint64
}

func proofOf(name string) []byte {
	sum := sha256.Sum256([]byte("proof " + name))
	return sum[:]
}

// commit offers a commit for an epoch and notes what came of it.
func (g *groupRace) commit(ctx context.Context, r racer, call commitCall) commitAnswer {
	from, answer := g.record.now(), commitAnswer{known: true}
	err := retryUnknown(ctx, func(id []byte) (err error) {
		answer.epoch, _, err = r.conn.PublishCommit(ctx, &conn.Commit{
			GroupID: g.id, Epoch: call.epoch, Proof: proofOf(call.proof), NextVerifier: sha256.Sum256(proofOf(call.next)),
			GroupInfo:  []byte(call.next),
			Deliveries: []conn.Delivery{{To: g.to, Payload: fmt.Appendf(nil, "%d %s", call.epoch, call.next)}},
			RequestID:  id,
		})
		return err
	})
	if err != nil {
		answer.known = conn.Is(err, schemas.Code_epochConflict) || conn.Is(err, schemas.Code_groupProofInvalid)
	}
	if e, ok := errors.AsType[*conn.Error](err); ok {
		answer.code, answer.epoch = e.Code, e.Value
	}
	if answer.code == schemas.Code_groupProofInvalid {
		answer.epoch = 0
	}
	if !answer.known {
		g.t.Logf("racer %d: %v", r.id, err)
		answer = commitAnswer{}
	}
	g.record.note(r.id, from, call, answer, !answer.known)
	return answer
}

// follow reads the commits that ended epochs, in order, from a member's queue: the
// next epoch and its proof's name.
func (g *groupRace) follow(ctx context.Context, r racer, from uint64) (commits []string, err error) {
	list, _, err := r.conn.Peek(ctx, conn.Read{After: from})
	for _, e := range list {
		commits = append(commits, string(e.Data))
	}
	return commits, err
}

// run commits until enough epochs have ended, and tells in which ones it won.
func (g *groupRace) run(ctx context.Context, t *testing.T, r racer) (won []uint64) {
	t.Helper()
	epoch, proof := uint64(0), "first"
	for epoch < g.epochs && ctx.Err() == nil {
		next := fmt.Sprintf("e%dr%d", epoch+1, r.id)
		answer := g.commit(ctx, r, commitCall{epoch, proof, next})
		switch {
		case answer.known && answer.code == schemas.Code_ok:
			won = append(won, epoch)
			g.lead <- epoch
		case answer.known && answer.code == schemas.Code_groupProofInvalid:
			t.Errorf("racer %d: the proof of epoch %d is refused", r.id, epoch)
			return won
		}
		commits, err := g.follow(ctx, r, epoch)
		switch {
		case err != nil:
			t.Errorf("racer %d reads its queue: %v", r.id, err)
			return won
		case len(commits) == 0 && answer.known:
			// Whoever hears that the epoch is over must find the commit that ended it.
			t.Errorf("racer %d finds no commit after epoch %d", r.id, epoch)
			return won
		case len(commits) == 0:
			continue // nobody knows what became of it: the epoch goes on
		}
		epoch += uint64(len(commits))
		_, proof, _ = strings.Cut(commits[len(commits)-1], " ")
	}
	return won
}

// outsider knows the group's id and its epochs, and no proof.
func (g *groupRace) outsider(ctx context.Context, t *testing.T, r racer) {
	t.Helper()
	for i := 0; ctx.Err() == nil; i++ {
		group, err := r.conn.FetchGroup(ctx, g.id)
		if err != nil || group.Epoch >= g.epochs {
			return
		}
		answer := g.commit(ctx, r, commitCall{group.Epoch, "guess", fmt.Sprint("stolen", i)})
		if answer.known && answer.code == schemas.Code_ok {
			t.Errorf("an outsider ends epoch %d", group.Epoch)
		}
		time.Sleep(20 * time.Millisecond) // the members are the race
	}
}

// committers is how many race for each epoch: 48 members and 2 outsiders, who have
// no proof.
const (
	committers = 50
	outsiders  = 2
	raceEpochs = 15
)

// All committers race for each epoch, through all nodes, while the cluster loses
// its leader again and again: each epoch has one winner, everybody's queue has its
// commit once, and the history is one of a compare-and-swap.
func TestCommittersRace(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{})
	c.LeaderT(t)
	ctx := within(t, 4*time.Minute)
	all := newRacers(ctx, t, c, "member", 12, committers)
	members := all[:committers-outsiders]
	g := &groupRace{t: t, id: make([]byte, 32), epochs: raceEpochs, lead: make(chan uint64, committers), record: record{started: time.Now()}}
	rand.Read(g.id)
	if testing.Short() {
		g.epochs = 6 // two leaders
	}
	for _, r := range members[:12] {
		g.to = append(g.to, conn.Recipient{Account: r.who.account()})
	}
	_, _, err := members[0].conn.PublishCommit(ctx, &conn.Commit{GroupID: g.id, NextVerifier: sha256.Sum256(proofOf("first"))})
	fatal(t, err)
	for _, r := range all {
		r.conn.Observe(members[0].conn.Seen())
	}
	var killing, running sync.WaitGroup
	kills := 0
	killing.Go(func() { kills = g.killLeaders(t, c) })
	winners := make([][]uint64, len(members))
	for i, r := range members {
		running.Go(func() { winners[i] = g.run(ctx, t, r) })
	}
	for _, r := range all[len(members):] {
		running.Go(func() { g.outsider(ctx, t, r) })
	}
	running.Wait()
	close(g.lead)
	killing.Wait()
	c.SameT(t)
	g.record.check(t, groupModel("first"))
	g.checkQueues(ctx, t, members, winners)
	t.Logf("%d epochs, %d calls, %d leaders killed", g.epochs, len(g.record.operations), kills)
	if kills == 0 {
		t.Error("no leader was lost")
	}
}

// killLeaders kills whoever leads after every third epoch, while all race for the
// next one.
func (g *groupRace) killLeaders(t *testing.T, c *testcluster.Cluster) (kills int) {
	t.Helper()
	for epoch := range g.lead {
		if epoch%3 == 0 && c.Leader() != nil {
			kills++
			killLeader(t, c)
		}
	}
	return kills
}

// checkQueues compares who was told to have won with whose commits are in the
// members' queues: each epoch's once, the same in all of them.
func (g *groupRace) checkQueues(ctx context.Context, t *testing.T, members []racer, winners [][]uint64) {
	t.Helper()
	winner := map[uint64]int{}
	for i, epochs := range winners {
		for _, epoch := range epochs {
			if other, taken := winner[epoch]; taken {
				t.Errorf("epoch %d is won by racer %d and by racer %d", epoch, other, i)
			}
			winner[epoch] = i
		}
	}
	want, err := g.follow(ctx, members[0], 0)
	fatal(t, err)
	if uint64(len(want)) != g.epochs {
		t.Errorf("%d commits ended %d epochs", len(want), g.epochs)
	}
	for epoch, commit := range want {
		of, next, _ := strings.Cut(commit, " ")
		by, told := winner[uint64(epoch)]
		if of != strconv.Itoa(epoch) || told && next != fmt.Sprintf("e%dr%d", epoch+1, by) {
			t.Errorf("epoch %d is ended by %q, and racer %d (%v) was told that it won", epoch, commit, by, told)
		}
	}
	for _, r := range members {
		if got, err := g.follow(ctx, r, 0); err != nil || strings.Join(got, ";") != strings.Join(want, ";") {
			t.Errorf("racer %d reads %q, %v; want %q", r.id, got, err, want)
		}
	}
	group, err := members[0].conn.FetchGroup(ctx, g.id)
	_, last, _ := strings.Cut(want[len(want)-1], " ")
	if err != nil || group.Epoch != g.epochs || string(group.GroupInfo) != last {
		t.Errorf("the record ends at %+v, %v; want epoch %d and the info of %s", group, err, g.epochs, last)
	}
}
