package testcluster_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"quicproquo/client/conn"
	"quicproquo/fsm"
	"quicproquo/schemas"
	"quicproquo/testcluster"
)

const (
	fanOutWriters  = 3  // one at each node
	fanOutMessages = 80 // of each writer
	fanOutKillEach = 20 // messages of the first writer
)

// Writers send through every node, one by one and in batches, to accounts with no
// device and with two, while the cluster loses its leader again and again. What was
// acknowledged is in every addressed queue of every node in the end: once, in the
// order of its writer, numbered without gaps.
func TestFanOutSurvivesLeaders(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{})
	c.LeaderT(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	ann, bob, eve := newChannelRacer(ctx, t, c, "ann"), newChannelRacer(ctx, t, c, "bob"), newChannelRacer(ctx, t, c, "eve")
	devices := []conn.DeviceID{{1}, {2}}
	for _, id := range devices {
		_, err := bob.nodes[0].RegisterDevice(ctx, conn.Device{ID: id}, nil)
		fatal(t, err)
	}
	id, _, err := ann.nodes[0].CreateChannel(ctx, bob.key)
	fatal(t, err)
	for _, caller := range ann.nodes {
		caller.Observe(max(bob.nodes[0].Seen(), ann.nodes[0].Seen()))
	}

	var writers sync.WaitGroup
	for w, caller := range ann.nodes {
		writers.Go(func() {
			writeFanOut(ctx, t, caller, w, id, bob.key, eve.key, func(i int) {
				if w == 0 && i%fanOutKillEach == fanOutKillEach/2 {
					writers.Go(func() { killLeader(t, c) })
				}
			})
		})
	}
	writers.Wait()
	c.SameT(t)

	channel, err := fsm.ParseChannelID(id[:])
	fatal(t, err)
	inbox := func(i int) bool { return i%3 != 2 }
	batches := func(i int) bool { return i%3 == 0 }
	private := func(i int) bool { return i%3 == 2 }
	for _, n := range c.Nodes() {
		for _, d := range devices {
			checkFanOut(t, n, fsm.QueueID{Owner: fsm.AccountKey(bob.key), Device: fsm.DeviceID(d)}, inbox)
			checkFanOut(t, n, fsm.QueueID{Owner: fsm.AccountKey(bob.key), Device: fsm.DeviceID(d), Channel: channel}, private)
		}
		checkFanOut(t, n, fsm.QueueID{Owner: fsm.AccountKey(eve.key)}, batches)
		checkFanOut(t, n, fsm.QueueID{Owner: fsm.AccountKey(bob.key)}, func(int) bool { return false })
	}
}

// writeFanOut sends numbered messages: each third in a batch to both, in bob's
// inbox, in bob's channel. before is told of each.
func writeFanOut(
	ctx context.Context, t *testing.T, caller *conn.Conn, w int, channel conn.ChannelID, bob, eve conn.AccountKey, before func(int),
) {
	for i := range fanOutMessages {
		before(i)
		body := []byte(fmt.Sprintf("%d-%d", w, i))
		err := untilKnown(ctx, func(id []byte) (err error) {
			switch i % 3 {
			case 0:
				var outcomes []conn.Outcome
				outcomes, err = caller.BatchEnqueue(ctx, conn.Batch{
					Recipients: []conn.Recipient{{Account: bob}, {Account: eve, Header: []byte("h")}}, Payload: body, RequestID: id,
				})
				for _, o := range outcomes {
					err = errors.Join(err, o.Err)
				}
			case 1:
				_, err = caller.Enqueue(ctx, conn.Message{To: bob, Payload: body, RequestID: id})
			case 2:
				_, err = caller.Enqueue(ctx, conn.Message{To: bob, Channel: channel, Payload: body, RequestID: id})
			}
			return err
		})
		if err != nil {
			t.Errorf("writer %d, message %d: %v", w, i, err)
			return
		}
	}
}

// untilKnown makes a write, and repeats it under its request id while its outcome is
// open. A write that was certainly not applied is made anew.
func untilKnown(ctx context.Context, write func(id []byte) error) error {
	var id []byte
	for {
		err := write(id)
		var failure *conn.Error
		switch {
		case errors.As(err, &failure) && failure.Code == schemas.Code_unknownOutcome && ctx.Err() == nil:
			id = failure.RequestID
		case conn.Is(err, schemas.Code_unavailable) && ctx.Err() == nil:
		default:
			return err
		}
	}
}

// checkFanOut compares what a node's queue holds with what was sent to it: of each
// writer the messages that sent picks, in order.
func checkFanOut(t *testing.T, n *testcluster.Node, q fsm.QueueID, sent func(int) bool) {
	t.Helper()
	var want []string
	for i := range fanOutMessages {
		if sent(i) {
			want = append(want, fmt.Sprint(i))
		}
	}
	view, err := n.Engine().View()
	fatal(t, err)
	defer func() { fatal(t, view.Close()) }()
	list, err := view.Peek(q, 0, schemas.MaxFetch, schemas.MaxFetchBytes)
	fatal(t, err)
	got := map[string][]string{}
	for i, e := range list {
		if e.Seq != uint64(i+1) || e.Loss.Count != 0 {
			t.Errorf("%s: place %d of %v has number %d, loss %+v", n.ID(), i+1, q.Device, e.Seq, e.Loss)
		}
		writer, message, _ := strings.Cut(string(e.Body), "-")
		got[writer] = append(got[writer], message)
	}
	for w := range fanOutWriters {
		if !slices.Equal(got[fmt.Sprint(w)], want) {
			t.Errorf("%s: queue of device %x, channel %v: writer %d has %v, want %v", n.ID(), q.Device[:1], q.Channel, w, got[fmt.Sprint(w)], want)
		}
	}
}
