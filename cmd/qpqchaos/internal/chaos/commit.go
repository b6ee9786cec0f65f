package chaos

import (
	"context"
	crand "crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"quicproquo/client/conn"
	"quicproquo/schemas"
)

// commits are races for the epochs of one group: its members, each at nodes of its
// choice, all offer a commit for the epoch that they think the group is in.
type commits struct {
	w       *world
	members []*account
	group   []byte
	history history
}

// commitOutput is what a committer heard: the epoch that it began, or the one that
// the group is in.
type commitOutput struct {
	known, won bool
	epoch      uint64
}

func newCommits(ctx context.Context, w *world, n int) (*commits, error) {
	c := &commits{w: w, group: make([]byte, 16)}
	_, _ = crand.Read(c.group) // never fails
	for i := range n {
		a, err := w.enroll(ctx, fmt.Sprintf("committer%d", i))
		if err != nil {
			return nil, err
		}
		c.members = append(c.members, a)
	}
	_, _, err := c.members[0].conn(0).PublishCommit(ctx, &conn.Commit{GroupID: c.group, NextVerifier: sha256.Sum256(c.proof(0))})
	if err != nil {
		return nil, fmt.Errorf("found a group: %w", err)
	}
	for _, m := range c.members {
		m.conns[0].Observe(c.members[0].conns[0].Seen())
	}
	return c, nil
}

// proof is what members of an epoch can show. All committers are members of all.
func (c *commits) proof(epoch uint64) []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "%x %d", c.group, epoch))
	return sum[:]
}

func (c *commits) name() string { return "commit" }

func (c *commits) run(ctx, _ context.Context) {
	var wg sync.WaitGroup
	for i, m := range c.members {
		rng := rand.New(rand.NewPCG(c.w.options.Seed, uint64(300+i)))
		wg.Go(func() {
			epoch := uint64(0)
			for ctx.Err() == nil {
				epoch = c.race(ctx, i, m, epoch, rng)
				sleep(ctx, c.w.options.Pace)
			}
		})
	}
	wg.Wait()
}

// race offers a commit and returns the epoch to try next.
func (c *commits) race(ctx context.Context, i int, m *account, epoch uint64, rng *rand.Rand) uint64 {
	short, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	from := time.Since(c.w.began)
	done := c.w.call(m.name, fmt.Sprintf("commit to epoch %d", epoch))
	next, _, err := m.conn(rng.IntN(len(m.conns))).PublishCommit(short, &conn.Commit{
		GroupID: c.group, Epoch: epoch, Proof: c.proof(epoch), NextVerifier: sha256.Sum256(c.proof(epoch + 1)),
		GroupInfo: []byte(m.name),
	})
	c.w.ops.Add(1)
	done(err)
	process, out := i, commitOutput{}
	var e *conn.Error
	switch {
	case err == nil:
		c.w.wrote()
		out = commitOutput{true, true, next}
	case errors.As(err, &e) && e.Code == schemas.Code_epochConflict:
		next = e.Value
		out = commitOutput{known: true, epoch: next}
	case errors.As(err, &e) && e.Code == schemas.Code_groupProofInvalid:
		c.w.violation(c.name(), "%s, a member of epoch %d, is taken for none", m.name, epoch)
		return epoch
	case errors.As(err, &e) && e.Code != schemas.Code_unknownOutcome && e.Code != schemas.Code_deadlineExceeded:
		return epoch // certainly not applied
	default: // it may take effect later, under an identity of its own
		process, next = 1000+int(from.Microseconds()), epoch
	}
	c.history.add(c.w, process, from, out.known, epoch, out)
	return next
}

// commitModel is a compare-and-swap of the epoch. Who loses may hear an epoch that is
// over by then, as its node may be behind, but neither its own nor one to come.
func commitModel() porcupine.Model {
	model := porcupine.NondeterministicModel{
		Init: func() []any { return []any{uint64(0)} },
		Step: func(state, input, output any) []any {
			now, from, out := state.(uint64), input.(uint64), output.(commitOutput)
			switch {
			case !out.known && now == from:
				return []any{now, now + 1}
			case !out.known:
				return []any{now}
			case out.won && now == from && out.epoch == from+1:
				return []any{now + 1}
			case !out.won && out.epoch > from && out.epoch <= now:
				return []any{now}
			}
			return nil
		},
		Equal: func(a, b any) bool { return a == b },
	}
	return model.ToModel()
}

func (c *commits) check(_ context.Context, s *Summary) {
	winners := map[uint64]int{}
	for _, op := range c.history.ops {
		if out := op.Output.(commitOutput); out.won {
			if winners[op.Input.(uint64)]++; winners[op.Input.(uint64)] == 2 {
				s.Linearizable = false
				c.w.violation(c.name(), "two commits have won epoch %d", op.Input)
			}
		}
	}
	c.history.judge(c.w, s, c.name(), "commits", commitModel())
}
