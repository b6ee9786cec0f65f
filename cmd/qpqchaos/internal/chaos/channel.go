package chaos

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"quicproquo/client/conn"
)

// channels are races: both accounts of a pair create its channel at once, on
// different nodes, again and again. Exactly one call made it, all get the same id.
type channels struct {
	w        *world
	accounts []*account
	history  history
}

// channelOutput is what a call said; of a call that failed, nothing is known.
type channelOutput struct {
	known  bool
	id     conn.ChannelID
	wasNew bool
}

func newChannels(ctx context.Context, w *world, n int) (*channels, error) {
	c := &channels{w: w}
	for i := range n {
		a, err := w.enroll(ctx, fmt.Sprintf("racer%d", i))
		if err != nil {
			return nil, err
		}
		c.accounts = append(c.accounts, a)
	}
	return c, nil
}

func (c *channels) name() string { return "channel" }

func (c *channels) run(ctx, _ context.Context) {
	var pairs [][2]int
	for i := range c.accounts {
		for j := range i {
			pairs = append(pairs, [2]int{j, i})
		}
	}
	every := c.w.options.For / time.Duration(len(pairs)+1)
	for n, pair := range pairs {
		var wg sync.WaitGroup
		for k, who := range pair {
			for again := range 2 {
				wg.Go(func() { c.race(ctx, 4*n+2*k+again, c.accounts[who], c.accounts[pair[1-k]], n, n+k+again) })
			}
		}
		wg.Wait()
		if !sleep(ctx, every) {
			return
		}
	}
}

func (c *channels) race(ctx context.Context, process int, a, peer *account, pair, node int) {
	short, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	from := time.Since(c.w.began)
	done := c.w.call(a.name, "create the channel with "+peer.name)
	id, wasNew, err := a.conn(node).CreateChannel(short, peer.id())
	c.w.ops.Add(1)
	done(err)
	if err == nil {
		c.w.wrote()
	}
	c.history.add(c.w, process, from, err == nil, pair, channelOutput{err == nil, id, wasNew})
}

// channelState is one pair's channel.
type channelState struct {
	made bool
	id   conn.ChannelID // zero while a call that nobody heard of has made it
}

// channelModel: the first call makes the channel, all say the same id.
func channelModel() porcupine.Model {
	model := porcupine.NondeterministicModel{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			parts := map[any][]porcupine.Operation{}
			for _, op := range history {
				parts[op.Input] = append(parts[op.Input], op)
			}
			var list [][]porcupine.Operation
			for _, part := range parts {
				list = append(list, part)
			}
			return list
		},
		Init: func() []any { return []any{channelState{}} },
		Step: func(state, _, output any) []any {
			s, out := state.(channelState), output.(channelOutput)
			switch {
			case !out.known && s.made:
				return []any{s}
			case !out.known: // it was applied now, or never
				return []any{s, channelState{made: true}}
			case out.wasNew == s.made, s.made && s.id != (conn.ChannelID{}) && s.id != out.id:
				return nil
			}
			return []any{channelState{true, out.id}}
		},
		Equal: func(a, b any) bool { return a == b },
	}
	return model.ToModel()
}

func (c *channels) check(_ context.Context, s *Summary) {
	c.history.judge(c.w, s, c.name(), "channels", channelModel())
}
