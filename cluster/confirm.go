package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/raft"

	"quicproquo/crypto/tlsid"
	"quicproquo/schemas"
)

// confirmation is one voter's answer in a confirm round.
type confirmation struct {
	term   uint64
	leader bool
	// ready: the leader's barrier of this term is done, so its store holds
	// whatever earlier terms committed.
	ready bool
	// index of the last command in the voter's store.
	index uint64
	// voters is a leader's latest configuration.
	voters []tlsid.NodeID
}

// confirmer runs confirm rounds, one at a time, each shared by all readers that
// waited when it began. A reader never joins a round that began before it
// asked: the answers could be older than the write it must see. mu guards next.
type confirmer struct {
	round func(context.Context) (uint64, error)

	mu      sync.Mutex
	next    *confirmRound // gathering readers; nil when nobody waits
	running bool
}

type confirmRound struct {
	done  chan struct{}
	index uint64
	err   error
}

// index returns the command index that a reader must have applied so that its
// read is linearizable.
func (c *confirmer) index(ctx context.Context) (uint64, error) {
	c.mu.Lock()
	if c.next == nil {
		c.next = &confirmRound{done: make(chan struct{})}
	}
	mine := c.next
	if !c.running {
		c.running = true
		c.next = nil
		go c.run(mine)
	}
	c.mu.Unlock()
	select {
	case <-mine.done:
		return mine.index, mine.err
	case <-ctx.Done():
		return 0, fmt.Errorf("confirm round: %w", ctx.Err())
	}
}

// run works off rounds until nobody waits. It ends by itself: each round is
// bounded by confirmTimeout.
func (c *confirmer) run(r *confirmRound) {
	for r != nil {
		ctx, cancel := context.WithTimeout(context.Background(), confirmTimeout)
		r.index, r.err = c.round(ctx)
		cancel()
		close(r.done)
		c.mu.Lock()
		r, c.next = c.next, nil
		c.running = r != nil
		c.mu.Unlock()
	}
}

// confirmRound asks all voters at once (Raft dissertation §6.4, without the
// leader's heartbeats; why VerifyLeader is no substitute: decision 0004).
//
// Why it is enough: a majority said, after the reader asked, that it knows no
// term above t. So no leader of a later term was elected before, and whatever
// was acknowledged before was committed in a term ≤ t. The leader of term t has
// applied all of those when its barrier is done, and its own of term t before
// it acknowledged them: they are at or below the index that it answered. The
// majority is one of the leader's latest configuration: a reader that missed
// two membership changes might count a majority that no longer is one.
func (n *Node) confirmRound(ctx context.Context) (uint64, error) {
	return gather(ctx, n.voters(), n.askConfirm, n.tasks.Go)
}

// gather asks the voters that this node knows, and those of any leader among them, until
// decide has an answer. Each is asked once, on a goroutine of spawn.
func gather(ctx context.Context, known []tlsid.NodeID, askOne func(context.Context, tlsid.NodeID) (confirmation, error), spawn func(func())) (uint64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type reply struct {
		from tlsid.NodeID
		confirmation
		err error
	}
	replies := make(chan reply)
	asked := map[tlsid.NodeID]bool{}
	pending := 0
	ask := func(ids []tlsid.NodeID) {
		for _, id := range ids {
			if asked[id] {
				continue
			}
			asked[id] = true
			pending++
			spawn(func() {
				c, err := askOne(ctx, id)
				select {
				case replies <- reply{from: id, confirmation: c, err: err}:
				case <-ctx.Done():
				}
			})
		}
	}
	ask(known)
	got := map[tlsid.NodeID]confirmation{}
	var errs []error
	for pending > 0 {
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("%w: confirm round: %w", ErrUnavailable, ctx.Err())
		case r := <-replies:
			pending--
			if r.err != nil {
				errs = append(errs, r.err)
				continue
			}
			got[r.from] = r.confirmation
			ask(r.voters)
			if index, ok := decide(got); ok {
				return index, nil
			}
		}
	}
	return 0, fmt.Errorf("%w: %d of %d voters answered, without a ready leader that a majority knows: %w",
		ErrUnavailable, len(got), len(asked), errors.Join(errs...))
}

// decide returns the read index once the answers allow it: a ready leader of
// term t and a majority of its voters at terms ≤ t.
func decide(answers map[tlsid.NodeID]confirmation) (uint64, bool) {
	for _, leader := range answers {
		if !leader.leader || !leader.ready {
			continue
		}
		behind := 0
		for _, id := range leader.voters {
			if a, ok := answers[id]; ok && a.term <= leader.term {
				behind++
			}
		}
		if behind > len(leader.voters)/2 {
			return leader.index, true
		}
	}
	return 0, false
}

func (n *Node) askConfirm(ctx context.Context, id tlsid.NodeID) (confirmation, error) {
	if id == n.cfg.ID {
		return n.confirmSelf(), nil
	}
	frame, err := peerRequest(confirmTimeout, func(r schemas.PeerRequest) error {
		r.SetConfirm()
		return nil
	})
	if err != nil {
		return confirmation{}, err
	}
	reply, err := n.peers.call(ctx, id, frame)
	if err != nil {
		return confirmation{}, fmt.Errorf("ask %s: %w", id, err)
	}
	if err := peerError(reply); err != nil {
		return confirmation{}, fmt.Errorf("ask %s: %w", id, err)
	}
	confirmed, err := reply.Confirmed()
	if err != nil {
		return confirmation{}, fmt.Errorf("ask %s: %w", id, err)
	}
	return readConfirmed(confirmed)
}

func readConfirmed(from schemas.Confirmed) (confirmation, error) {
	c := confirmation{term: from.Term(), leader: from.Leader(), ready: from.Ready(), index: from.CommandIndex()}
	voters, err := from.Voters()
	if err != nil {
		return confirmation{}, fmt.Errorf("read confirm answer: %w", err)
	}
	if voters.Len() > maxMembers {
		return confirmation{}, fmt.Errorf("read confirm answer: %d voters, at most %d", voters.Len(), maxMembers)
	}
	for i := range voters.Len() {
		id, err := voters.At(i)
		if err != nil {
			return confirmation{}, fmt.Errorf("read confirm answer: %w", err)
		}
		c.voters = append(c.voters, tlsid.NodeID(id))
	}
	return c, nil
}

// confirmSelf answers for this node. The term is read before and after the
// rest, so that all of the answer belongs to one term; the index is read last.
func (n *Node) confirmSelf() confirmation {
	for {
		term := n.raft.CurrentTerm()
		c := confirmation{
			term:   term,
			leader: n.raft.State() == raft.Leader,
			ready:  n.readyTerm.Load() == term,
		}
		if c.leader {
			c.voters = n.voters()
		}
		c.index = n.store.Index()
		if n.raft.CurrentTerm() == term {
			return c
		}
	}
}

func (n *Node) serveConfirm(resp schemas.PeerResponse) error {
	confirmed, err := resp.NewConfirmed()
	if err != nil {
		return err
	}
	c := n.confirmSelf()
	confirmed.SetTerm(c.term)
	confirmed.SetLeader(c.leader)
	confirmed.SetReady(c.ready)
	confirmed.SetCommandIndex(c.index)
	voters, err := confirmed.NewVoters(int32(len(c.voters)))
	if err != nil {
		return err
	}
	for i, id := range c.voters {
		if err := voters.Set(i, string(id)); err != nil {
			return err
		}
	}
	return nil
}
