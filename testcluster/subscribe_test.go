package testcluster_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"testing"
	"time"

	"quicproquo/client/conn"
	"quicproquo/testcluster"
)

// mailbox is an account with a session, and a client for it.
func mailbox(tb testing.TB, c *testcluster.Cluster, name string, nodes ...*testcluster.Node) (conn.AccountKey, *conn.Conn) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), time.Minute)
	defer cancel()
	who := newChannelRacer(ctx, tb, c, name)
	caller, err := c.Client(nodes...)
	fatal(tb, err)
	tb.Cleanup(func() {
		if err := caller.Close(); err != nil {
			tb.Error(err)
		}
	})
	caller.Observe(who.nodes[0].Seen())
	caller.SetSession(who.nodes[0].Session())
	return who.key, caller
}

// sendAll sends the numbers from 1 to n in order, each until it is known to have
// been taken.
func sendAll(ctx context.Context, caller *conn.Conn, to conn.AccountKey, n int, pause time.Duration) error {
	for i := 1; i <= n; i++ {
		m := conn.Message{To: to, Payload: []byte(strconv.Itoa(i))}
		for {
			_, err := caller.Enqueue(ctx, m)
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return err
			}
			if e, is := errors.AsType[*conn.Error](err); is && e.RequestID != nil {
				m.RequestID = e.RequestID // or it might be there twice
			}
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(pause)
	}
	return nil
}

// A subscription gives every envelope once and in order, while the leader dies,
// and the node that it is on, and the client moves from node to node.
func TestSubscriptionOutlivesNodes(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{})
	c.LeaderT(t)
	key, caller := mailbox(t, c, "receiver")
	_, sender := mailbox(t, c, "sender")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	const envelopes = 400
	sent := make(chan error, 1)
	go func() { sent <- sendAll(ctx, sender, key, envelopes, 20*time.Millisecond) }()

	kills := map[int]func() *testcluster.Node{
		50:  c.Leader,
		150: func() *testcluster.Node { return at(c, caller.Endpoint()) },
		250: c.Leader,
		300: func() *testcluster.Node { return at(c, caller.Endpoint()) },
	}
	got, killed := 0, 0
	for e, err := range caller.Subscribe(ctx, conn.Subscription{}) {
		if err != nil {
			t.Fatalf("after %d envelopes: %v", got, err)
		}
		if got++; string(e.Data) != strconv.Itoa(got) || e.Seq != uint64(got) {
			t.Fatalf("envelope %d is %d %q", got, e.Seq, e.Data)
		}
		if got%10 == 0 { // some are acknowledged, some are there still when it moves
			if _, err := caller.Ack(ctx, conn.Queue{}, e.Seq); err != nil {
				t.Errorf("ack %d: %v", e.Seq, err)
			}
		}
		if kill := kills[got]; kill != nil {
			if n := kill(); n != nil {
				killed++
				go func() { fatalLater(t, n.Restart()) }()
			}
		}
		if got == envelopes {
			break
		}
	}
	fatal(t, <-sent)
	if killed < 3 {
		t.Errorf("only %d nodes were killed", killed)
	}
	c.SameT(t)
}

func fatalLater(t *testing.T, err error) {
	if err != nil {
		t.Error(err)
	}
}

// at is the node with an address.
func at(c *testcluster.Cluster, address string) *testcluster.Node {
	for _, n := range c.Nodes() {
		if n.Address() == address {
			return n
		}
	}
	return nil
}

// A node that is stopped in good order sends its subscribers away at once.
func TestSubscriptionLeavesStoppingNode(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{})
	c.LeaderT(t)
	key, caller := mailbox(t, c, "receiver")
	_, sender := mailbox(t, c, "sender")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	got := make(chan string)
	go func() {
		defer close(got)
		for e, err := range caller.Subscribe(ctx, conn.Subscription{}) {
			if err != nil {
				if ctx.Err() == nil {
					t.Error(err)
				}
				return
			}
			got <- string(e.Data)
		}
	}()
	fatal(t, sendAll(ctx, sender, key, 1, 0))
	if one := <-got; one != "1" {
		t.Fatalf("got %q", one)
	}
	node := at(c, caller.Endpoint())
	began := time.Now()
	fatal(t, node.Stop(ctx))
	fatal(t, sendAll(ctx, sender, key, 1, 0))
	if one := <-got; one != "1" {
		t.Fatalf("got %q", one)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v to get on elsewhere", took)
	}
	if next := caller.Endpoint(); next == node.Address() {
		t.Error("the client is on the node that was stopped")
	}
	cancel()
	for range got {
	}
}

// From the sender's acknowledgement, given by one node, to the envelope at a
// subscriber of another that follows, on a cluster that has nothing else to do.
func BenchmarkFollowerDelivery(b *testing.B) {
	c := testcluster.StartT(b, testcluster.Options{Network: testcluster.Direct(), Logger: slog.New(slog.DiscardHandler)})
	leader := c.LeaderT(b)
	followers := c.FollowersT(b)
	for _, from := range []struct {
		name string
		node *testcluster.Node
	}{{"leader", leader}, {"follower", followers[1]}} {
		b.Run("from="+from.name+"/subscribe", func(b *testing.B) {
			key, caller := mailbox(b, c, fmt.Sprint("s-receiver-", from.name, b.N), followers[0])
			_, sender := mailbox(b, c, fmt.Sprint("s-sender-", from.name, b.N), from.node)
			arrived := make(chan time.Time, 1)
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			go func() {
				for _, err := range caller.Subscribe(ctx, conn.Subscription{}) {
					if err != nil {
						return
					}
					arrived <- time.Now()
				}
			}()
			benchDelivery(ctx, b, sender, key, func() time.Time { return <-arrived })
		})
		b.Run("from="+from.name+"/fetchWait", func(b *testing.B) {
			key, caller := mailbox(b, c, fmt.Sprint("w-receiver-", from.name, b.N), followers[0])
			_, sender := mailbox(b, c, fmt.Sprint("w-sender-", from.name, b.N), from.node)
			arrived := make(chan time.Time, 1)
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			go func() {
				for {
					list, err := caller.FetchWait(ctx, conn.Read{}, time.Minute)
					now := time.Now()
					if err != nil {
						return
					}
					for _, e := range list {
						if _, err := caller.Ack(ctx, conn.Queue{}, e.Seq); err != nil {
							return
						}
						arrived <- now
					}
				}
			}()
			benchDelivery(ctx, b, sender, key, func() time.Time { return <-arrived })
		})
	}
}

func benchDelivery(ctx context.Context, b *testing.B, sender *conn.Conn, to conn.AccountKey, arrival func() time.Time) {
	b.Helper()
	var late []time.Duration
	body := make([]byte, bodySize)
	for range b.N {
		time.Sleep(20 * time.Millisecond)
		_, err := sender.Enqueue(ctx, conn.Message{To: to, Payload: body})
		fatal(b, err)
		acknowledged := time.Now()
		late = append(late, max(arrival().Sub(acknowledged), 0))
	}
	slices.Sort(late)
	b.ReportMetric(float64(late[len(late)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(late[len(late)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(0, "ns/op")
}
