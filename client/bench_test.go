package client_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"quicproquo/client"
	"quicproquo/client/content"
	"quicproquo/testcluster"
)

// quantile of durations, in milliseconds.
func quantile(list []time.Duration, q float64) float64 {
	slices.Sort(list)
	return float64(list[min(int(q*float64(len(list))), len(list)-1)].Microseconds()) / 1000
}

// BenchmarkSendToShown measures the time from Send to the event at the other's
// application: two clients on different nodes of a cluster with disks, MLS and vaults
// with all their syncs, one message at a time.
func BenchmarkSendToShown(b *testing.B) {
	c := testcluster.StartT(b, testcluster.Options{Network: testcluster.Direct()})
	alice, bob := meet(b, c, "alice", client.Settings{}), meet(b, c, "bob", client.Settings{})
	to := alice.dm(bob)
	alice.say(to, "first")
	bob.reads(bob.find("alice"), "alice: first")
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	shown := make(chan time.Time, 1)
	var reader sync.WaitGroup
	reader.Go(func() {
		for e, err := range bob.Events(ctx, "bench") {
			if err != nil {
				b.Error(err)
				return
			}
			if e.Kind == client.EventMessage && strings.HasPrefix(e.Entry.Text, "timed") {
				shown <- time.Now()
			}
		}
	})
	var times []time.Duration
	for b.Loop() {
		began := time.Now()
		alice.say(to, "timed")
		times = append(times, (<-shown).Sub(began))
		time.Sleep(20 * time.Millisecond) // idle, as between people
	}
	cancel()
	reader.Wait()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(quantile(times, 0.5), "p50-ms")
	b.ReportMetric(quantile(times, 0.99), "p99-ms")
}

// BenchmarkBacklog measures how fast a client that comes back takes in what waits,
// with decryption and its vault's commits. -benchtime 10000x gives the number of
// messages.
func BenchmarkBacklog(b *testing.B) {
	c := testcluster.StartT(b, testcluster.Options{Network: testcluster.Direct()})
	alice, bob := meet(b, c, "alice", client.Settings{}), meet(b, c, "bob", client.Settings{NoReceipts: true})
	to := alice.dm(bob)
	alice.say(to, "first")
	bob.reads(bob.find("alice"), "alice: first")
	bob.stopped()
	for i := range b.N {
		alice.say(to, fmt.Sprintf("message %d, of an ordinary length for what people write to each other", i))
	}
	if err := alice.Flush(within(b, 10*time.Minute)); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	if err := bob.Sync(within(b, 10*time.Minute)); err != nil {
		b.Fatal(err)
	}
	got := 0
	for e, err := range bob.Consume("bench") {
		if err != nil {
			b.Fatal(err)
		}
		if e.Kind == client.EventMessage {
			got++
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
	if got != b.N+1 {
		b.Fatalf("%d messages arrived, expected %d", got, b.N+1)
	}
}

// BenchmarkHundred measures a group of 100 accounts: what one text and one commit cost
// in calls, and how long it takes to join.
func BenchmarkHundred(b *testing.B) {
	const members = 100
	c := testcluster.StartT(b, testcluster.Options{Network: testcluster.Direct()})
	people := make([]*person, members)
	for i := range people {
		people[i] = meet(b, c, fmt.Sprintf("person%d", i), client.Settings{KeyPackages: 4})
	}
	founder := people[0]
	ctx := within(b, 5*time.Minute)
	group, err := founder.CreateGroup(ctx, "hundred")
	if err != nil {
		b.Fatal(err)
	}
	var names []string
	for _, p := range people[1 : members-1] {
		names = append(names, p.name)
	}
	if err := group.Invite(ctx, names...); err != nil {
		b.Fatal(err)
	}
	for _, p := range people[1 : members-1] {
		if err := p.Sync(ctx); err != nil {
			b.Fatal(err)
		}
	}
	calls := func() (batches, commits uint64) {
		for _, n := range c.Nodes() {
			for _, m := range n.Server().Stats().Calls {
				switch m.Method {
				case "batchEnqueue":
					batches += m.Count
				case "publishCommit":
					commits += m.Count
				}
			}
		}
		return batches, commits
	}
	for _, p := range people[1 : members-1] {
		p.stopped() // they have computers of their own
	}
	last := people[members-1]
	if err := group.Invite(ctx, last.name); err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	if err := last.Sync(ctx); err != nil {
		b.Fatal(err)
	}
	joined := time.Since(began)
	if _, err := last.Find("#hundred"); err != nil {
		b.Fatal(err)
	}
	before, _ := calls()
	if _, err := group.Send(ctx, content.Text{Text: "to all"}); err != nil {
		b.Fatal(err)
	}
	if err := founder.Flush(ctx); err != nil {
		b.Fatal(err)
	}
	after, commitsBefore := calls()
	if err := group.Rename(ctx, "still hundred"); err != nil {
		b.Fatal(err)
	}
	_, commits := calls()
	for b.Loop() { // the figures are of one run: -benchtime 1x
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(after-before), "batchEnqueue/text")
	b.ReportMetric(float64(commits-commitsBefore), "publishCommit/commit")
	b.ReportMetric(float64(joined.Microseconds())/1000, "join-ms")
}
