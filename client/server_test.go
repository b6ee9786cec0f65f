package client_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"quicproquo/client"
	"quicproquo/client/conn"
	"quicproquo/client/content"
	"quicproquo/testcluster"
)

// queued returns what waits for somebody whose client does not run: the inbox, then
// the channels.
func (p *person) queued() (list []conn.Envelope) {
	p.t.Helper()
	ctx := within(p.t, time.Minute)
	channels := []conn.ChannelID{{}}
	page, _, err := p.Conn().ListChannels(ctx, conn.ChannelID{}, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, one := range page {
		channels = append(channels, one.ID)
	}
	for _, channel := range channels {
		some, _, err := p.Conn().Peek(ctx, conn.Read{Queue: conn.Queue{Channel: channel}, Limit: 1000, Linearizable: true})
		if err != nil {
			p.t.Fatal(err)
		}
		for i := range some {
			some[i].Channel = channel
		}
		list = append(list, some...)
	}
	return list
}

// take gives somebody's client envelopes in this order, numbered as the server
// would.
func (p *person) take(list []conn.Envelope) {
	p.t.Helper()
	seqs := map[conn.ChannelID]uint64{}
	list = slices.Clone(list)
	for i := range list {
		seqs[list[i].Channel]++
		list[i].Seq = seqs[list[i].Channel]
	}
	if err := p.Take(p.t.Context(), list); err != nil {
		p.t.Fatalf("take: %v", err)
	}
}

// stopped closes somebody's client, so that what is sent to them waits.
func (p *person) stopped() {
	p.t.Helper()
	if err := p.Close(); err != nil {
		p.t.Fatal(err)
	}
	p.open(client.Open)
}

// A server may repeat, reorder and swap what it delivers as it likes: what arrives
// at all is read once, in its conversation. Commits put what belongs before and
// after them into order.
func TestServerReordersAndRepeats(t *testing.T) {
	besideOthers(t)
	c := testcluster.StartT(t, testcluster.Options{})
	alice, bob := meet(t, c, "alice", client.Settings{PastEpochs: 20}), meet(t, c, "bob", client.Settings{PastEpochs: 20})
	bob.stopped()
	ctx := within(t, 2*time.Minute)
	dm := alice.dm(bob)
	group, err := alice.CreateGroup(ctx, "friends", "bob")
	if err != nil {
		t.Fatal(err)
	}
	const lines = 40
	for i := range lines {
		alice.say(dm, fmt.Sprintf("dm %02d", i))
		alice.say(group, fmt.Sprintf("group %02d", i))
		if i%10 != 9 {
			continue
		}
		if err := alice.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		if err := group.Rekey(ctx); err != nil {
			t.Fatal(err)
		}
	}
	list := bob.queued()
	list = append(list, list...) // each twice
	rng := rand.New(rand.NewPCG(1, 2))
	rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	for i := range list { // and some from the wrong queue
		if rng.IntN(4) == 0 {
			list[i].Channel = list[rng.IntN(len(list))].Channel
		}
	}
	bob.take(list)
	for name, prefix := range map[string]string{"alice": "dm", "#friends": "group"} {
		v, err := bob.Find(name)
		if err != nil {
			t.Fatalf("bob's conversation %s: %v", name, err)
		}
		got, err := texts(v)
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(got)
		var want []string
		for i := range lines {
			want = append(want, fmt.Sprintf("alice: %s %02d", prefix, i))
		}
		if !slices.Equal(got, want) {
			t.Errorf("in %s bob reads %q, want %q", name, got, want)
		}
	}
}

// What a server leaves out shows: bob is told, and goes on as soon as he has come
// back into the group by its sealed way back.
func TestServerDropsACommit(t *testing.T) {
	leaveToFullRun(t)
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{})
	alice, bob := meet(t, c, "alice", client.Settings{}), meet(t, c, "bob", client.Settings{})
	ctx := within(t, 2*time.Minute)
	group, err := alice.CreateGroup(ctx, "friends", "bob")
	if err != nil {
		t.Fatal(err)
	}
	bob.find("friends")
	bob.stopped()
	bobs := bob.mustFind("#friends")
	if err := group.Rekey(ctx); err != nil {
		t.Fatal(err)
	}
	// The commit is acknowledged in bob's name: the server "loses" it.
	waiting := bob.queued()
	if len(waiting) == 0 {
		t.Fatal("no commit waits for bob")
	}
	if _, err := bob.Conn().Ack(ctx, conn.Queue{}, waiting[len(waiting)-1].Seq); err != nil {
		t.Fatal(err)
	}
	alice.say(group, "after the commit")
	bob.sees(bobs, "envelopes were lost")
	bob.sees(bobs, "came back into the conversation")
	alice.sees(group, "bob came back")
	bob.say(bobs, "I am back")
	alice.reads(group, "alice: after the commit", "bob: I am back")
	alice.say(group, "good")
	bob.await("alice's answer", func() error {
		got, err := texts(bobs)
		if err == nil && !slices.Contains(got, "alice: good") {
			err = fmt.Errorf("got %q", got)
		}
		return err
	})
}

func (p *person) mustFind(name string) *client.Conversation {
	p.t.Helper()
	v, err := p.Find(name)
	if err != nil {
		p.t.Fatal(err)
	}
	return v
}

var epochsOffline = flag.Int("epochs.offline", 200, "how many epochs TestManyEpochsOffline misses")

// Whoever missed more epochs than are kept anywhere still catches up from the queue.
// go test ./client -run ManyEpochs -epochs.offline 1000
func TestManyEpochsOffline(t *testing.T) {
	leaveToFullRun(t)
	t.Parallel()
	epochs := *epochsOffline
	c := testcluster.StartT(t, testcluster.Options{})
	alice, bob := meet(t, c, "alice", client.Settings{}), meet(t, c, "bob", client.Settings{})
	ctx := within(t, 5*time.Minute)
	group, err := alice.CreateGroup(ctx, "friends", "bob")
	if err != nil {
		t.Fatal(err)
	}
	bob.find("friends")
	bob.stopped()
	want := []string{}
	for i := range epochs {
		if err := group.Rekey(ctx); err != nil {
			t.Fatal(err)
		}
		if i%20 == 0 {
			alice.say(group, fmt.Sprintf("epoch %d", i))
			want = append(want, fmt.Sprintf("alice: epoch %d", i))
			if err := alice.Flush(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	bobs := bob.mustFind("#friends")
	bob.reads(bobs, want...)
	if _, err := bobs.Send(t.Context(), content.Text{Text: "here"}); err != nil {
		t.Fatal(err)
	}
	alice.await("bob's word", func() error {
		got, err := texts(group)
		if err == nil && !slices.Contains(got, "bob: here") {
			err = fmt.Errorf("got %q", got)
		}
		return err
	})
}
