package testcluster_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"quicproquo/client/conn"
	"quicproquo/fsm"
	"quicproquo/schemas"
	"quicproquo/testcluster"
)

// channelCall is what a caller asks: the channel of a pair of accounts.
type channelCall struct{ pair int }

// channelAnswer is what it hears; the zero answer is none at all.
type channelAnswer struct {
	id     conn.ChannelID
	wasNew bool
}

// channelState is a pair's channel; its id is zero while nobody was told.
type channelState struct {
	exists bool
	id     conn.ChannelID
}

// channelModel is a unique index: the first to ask for a pair makes its channel,
// everybody else gets that one.
func channelModel() porcupine.Model {
	m := porcupine.NondeterministicModel{
		Partition: byPair,
		Init:      func() []any { return []any{channelState{}} },
		Step: func(state, input, output any) []any {
			s, answer := state.(channelState), output.(channelAnswer)
			switch {
			case answer == (channelAnswer{}) && s.exists:
				return []any{s}
			case answer == (channelAnswer{}):
				return []any{s, channelState{exists: true}}
			case s.exists == answer.wasNew, s.exists && s.id != (conn.ChannelID{}) && s.id != answer.id:
				return nil
			}
			return []any{channelState{true, answer.id}}
		},
		DescribeOperation: func(input, output any) string { return fmt.Sprintf("%v -> %v", input, output) },
	}
	return m.ToModel()
}

func byPair(history []porcupine.Operation) [][]porcupine.Operation {
	var parts [][]porcupine.Operation
	at := map[int]int{}
	for _, op := range history {
		pair := op.Input.(channelCall).pair
		i, ok := at[pair]
		if !ok {
			i = len(parts)
			at[pair] = i
			parts = append(parts, nil)
		}
		parts[i] = append(parts[i], op)
	}
	return parts
}

// The model accepts what must be and refuses what must not.
func TestChannelModel(t *testing.T) {
	a, b := conn.ChannelID{1}, conn.ChannelID{2}
	none := channelAnswer{}
	for _, c := range []struct {
		name    string
		answers []channelAnswer // one after the other
		want    bool
	}{
		{"one is new", []channelAnswer{{a, true}, {a, false}, {a, false}}, true},
		{"nobody knows who was", []channelAnswer{none, {a, false}, {a, false}}, true},
		{"an answer was lost and nothing happened", []channelAnswer{none, {a, true}, {a, false}}, true},
		{"two are new", []channelAnswer{{a, true}, {a, true}}, false},
		{"two are new after a lost answer", []channelAnswer{none, {a, true}, {b, true}}, false},
		{"two ids", []channelAnswer{{a, true}, {b, false}}, false},
		{"two ids after a lost answer", []channelAnswer{none, {a, false}, {b, false}}, false},
		{"none is new", []channelAnswer{{a, false}, {a, false}}, false},
	} {
		var history []porcupine.Operation
		for i, answer := range c.answers {
			op := porcupine.Operation{ClientId: i, Input: channelCall{}, Output: answer, Call: int64(2 * i), Return: int64(2*i + 1)}
			if answer == none {
				op.Return = 1000 // it may still be on its way
			}
			history = append(history, op)
		}
		if got := porcupine.CheckOperations(channelModel(), history); got != c.want {
			t.Errorf("%s: accepted %v, want %v", c.name, got, c.want)
		}
	}
}

// channelRacer is an account with a client at each node.
type channelRacer struct {
	key   conn.AccountKey
	nodes []*conn.Conn
}

func newChannelRacer(ctx context.Context, tb testing.TB, c *testcluster.Cluster, name string) channelRacer {
	tb.Helper()
	p := newPerson(tb, name)
	r := channelRacer{key: p.account(), nodes: connectEach(tb, c)}
	register(tb, r.nodes[0], p)
	session, _, err := r.nodes[0].Login(ctx, p.credentials())
	fatal(tb, err)
	for _, caller := range r.nodes[1:] {
		caller.Observe(r.nodes[0].Seen())
		caller.SetSession(session)
	}
	return r
}

func fatal(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// racers is how many accounts race; each pair of them is one race.
const racers = 8

// Both sides of each pair ask for their channel at once, through every node, while
// the cluster loses its leader again and again: all get the same id, and the
// history is one of a unique index.
func TestChannelRaces(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{})
	c.LeaderT(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var who []channelRacer
	for i := range racers {
		who = append(who, newChannelRacer(ctx, t, c, fmt.Sprint("racer", i)))
	}
	var history raceHistory
	pair, kills := 0, 0
	for i := range who {
		for j := range who[:i] {
			var killed sync.WaitGroup
			if pair%3 == 0 {
				kills++
				killed.Go(func() { killLeader(t, c) })
			}
			history.race(ctx, t, pair, who[i], who[j])
			killed.Wait()
			pair++
		}
	}
	for i, part := range byPair(history.operations) {
		checkRace(t, i, part)
	}
	if !porcupine.CheckOperations(channelModel(), history.operations) {
		t.Error("the history is not that of a unique index")
	}
	c.SameT(t)
	for i := range who {
		for n, node := range c.Nodes() {
			checkChannelList(ctx, t, node, who[i].key, who[i].nodes[n])
		}
	}
	t.Logf("%d pairs, %d calls, %d leaders killed", pair, len(history.operations), kills)
}

// raceHistory is what was asked and answered. mu guards operations.
type raceHistory struct {
	started    time.Time
	mu         sync.Mutex
	operations []porcupine.Operation
}

// race lets both sides ask through every node at once.
func (h *raceHistory) race(ctx context.Context, tb testing.TB, pair int, a, b channelRacer) {
	tb.Helper()
	if h.started.IsZero() {
		h.started = time.Now()
	}
	var asking sync.WaitGroup
	ask := func(id int, caller *conn.Conn, peer conn.AccountKey) {
		op := porcupine.Operation{ClientId: id, Input: channelCall{pair}, Call: time.Since(h.started).Nanoseconds()}
		var answer channelAnswer
		var err error
		answer.id, answer.wasNew, err = caller.CreateChannel(ctx, peer)
		op.Return = time.Since(h.started).Nanoseconds()
		switch {
		case conn.Is(err, schemas.Code_unknownOutcome):
			answer, op.Return = channelAnswer{}, time.Hour.Nanoseconds()
		case err != nil:
			tb.Errorf("pair %d: %v", pair, err)
			return
		}
		op.Output = answer
		h.mu.Lock()
		defer h.mu.Unlock()
		h.operations = append(h.operations, op)
	}
	for i := range a.nodes {
		asking.Go(func() { ask(2*i, a.nodes[i], b.key) })
		asking.Go(func() { ask(2*i+1, b.nodes[i], a.key) })
	}
	asking.Wait()
}

// killLeader crashes whoever leads and starts it again.
func killLeader(tb testing.TB, c *testcluster.Cluster) {
	tb.Helper()
	leader := c.Leader()
	if leader == nil {
		return // the one before is not replaced yet
	}
	if err := leader.Restart(); err != nil {
		tb.Error(err)
	}
}

// checkRace says more than the model: that no answer is missing but those that
// were lost, and that one call at most made the channel.
func checkRace(t *testing.T, pair int, part []porcupine.Operation) {
	t.Helper()
	ids, news, lost := map[conn.ChannelID]int{}, 0, 0
	for _, op := range part {
		answer := op.Output.(channelAnswer)
		if answer == (channelAnswer{}) {
			lost++
			continue
		}
		ids[answer.id]++
		if answer.wasNew {
			news++
		}
	}
	if len(ids) != 1 || news > 1 || news == 0 && lost == 0 {
		t.Errorf("pair %d: %d ids, new %d times, %d answers lost: %v", pair, len(ids), news, lost, ids)
	}
}

// checkChannelList compares what a node lists for an account with what there is.
func checkChannelList(ctx context.Context, t *testing.T, n *testcluster.Node, key conn.AccountKey, caller *conn.Conn) {
	t.Helper()
	list, more, err := caller.ListChannels(ctx, conn.ChannelID{}, 0)
	if err != nil || more || len(list) != racers-1 {
		t.Errorf("%s lists %d channels, more %v, %v; want %d", n.ID(), len(list), more, err, racers-1)
	}
	view, err := n.Engine().View()
	fatal(t, err)
	defer func() { fatal(t, view.Close()) }()
	for _, ch := range list {
		id, err := fsm.ParseChannelID(ch.ID[:])
		fatal(t, err)
		row, ok, err := view.Channel(id)
		if peer, member := row.Other(fsm.AccountKey(key)); err != nil || !ok || !member || peer != fsm.AccountKey(ch.Peer) {
			t.Errorf("%s lists channel %x with %x, its row says %+v, %v", n.ID(), ch.ID[:4], ch.Peer[:4], row, err)
		}
	}
}
