// Package demo shows the main job in one run: three node processes, three people, a
// leader that is killed, a member who is removed, and a count of what arrived.
//
// Nothing in it is staged: nodes are processes, clients are those of package client
// with their vaults on disk, and every number of the report is counted from what the
// clients have received.
//
// Reading order: demo.go (the story), person.go (one client), count.go (the report),
// thief.go (what a removed member can still read).
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"quicproquo/client"
	"quicproquo/cmd/internal/localcluster"
	"quicproquo/internal/await"
)

// Options say how the demo runs.
type Options struct {
	Nodes    int // at least three
	Messages int // how many are said altogether, at least 12
	Dir      string
	// Command starts a node's process: see localcluster.StartProcesses.
	Command func(dir string) *exec.Cmd
	// Timeline gets a line for each thing that happens.
	Timeline io.Writer
}

// Bounds of the options.
const (
	MinNodes    = 3
	MaxNodes    = 9
	MinMessages = 12
	MaxMessages = 10_000
)

// pace is the pause between two messages of one person.
const pace = 40 * time.Millisecond

// patience bounds each wait.
const patience = 30 * time.Second

// Check refuses options that tell nothing.
func (o Options) Check() error {
	if o.Nodes < MinNodes || o.Nodes > MaxNodes {
		return fmt.Errorf("--nodes %d: choose %d to %d, fewer could not lose one", o.Nodes, MinNodes, MaxNodes)
	}
	if o.Messages < MinMessages || o.Messages > MaxMessages {
		return fmt.Errorf("--messages %d: choose %d to %d", o.Messages, MinMessages, MaxMessages)
	}
	return nil
}

// demo is one run.
type demo struct {
	Options
	began  time.Time
	nodes  *localcluster.Processes
	people []*person
	log    ledger
	report Report
	mu     sync.Mutex // of Timeline
}

// Run plays the demo and returns what was counted. An error means that it could not
// be played to its end; a report that is not OK comes without one.
func Run(ctx context.Context, o Options) (Report, error) {
	if err := o.Check(); err != nil {
		return Report{}, err
	}
	d := &demo{Options: o, began: time.Now()}
	err := d.play(ctx)
	for _, p := range d.people {
		err = errors.Join(err, p.close())
	}
	if d.nodes != nil {
		err = errors.Join(err, d.nodes.Close())
	}
	return d.report, err
}

// tell adds a line to the timeline.
func (d *demo) tell(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	fmt.Fprintf(d.Timeline, "%5.1fs  %s\n", time.Since(d.began).Seconds(), fmt.Sprintf(format, args...))
}

func (d *demo) play(ctx context.Context) error {
	for _, act := range []func(context.Context) error{d.startNodes, d.enroll, d.meet, d.talkThroughCrash, d.removeCarol, d.count} {
		if err := act(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) startNodes(ctx context.Context) error {
	nodes, err := localcluster.StartProcesses(filepath.Join(d.Dir, "nodes"), d.Nodes, d.Command)
	if err != nil {
		return err
	}
	d.nodes = nodes
	for _, n := range nodes.Nodes() {
		d.tell("node %s is process %d at udp %s", n.ID, n.PID(), n.Address)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	leader, err := nodes.WaitLeader(ctx)
	if err != nil {
		return err
	}
	d.tell("%s leads; writes need %d of %d nodes", leader.ID, d.Nodes/2+1, d.Nodes)
	return nil
}

func (d *demo) enroll(ctx context.Context) error {
	nodes := d.nodes.Nodes()
	for i, name := range []string{"alice", "bob", "carol"} {
		first := nodes[i]
		p, err := newPerson(ctx, d, name, first)
		if err != nil {
			return fmt.Errorf("register %s: %w", name, err)
		}
		d.people = append(d.people, p)
		d.tell("%-5s registered on %s: OPAQUE, the node never saw the password", name, p.node())
	}
	return nil
}

func (d *demo) alice() *person { return d.people[0] }
func (d *demo) bob() *person   { return d.people[1] }
func (d *demo) carol() *person { return d.people[2] }

func (d *demo) meet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	dm, err := d.alice().DM(ctx, "bob")
	if err != nil {
		return fmt.Errorf("open the conversation of two: %w", err)
	}
	group, err := d.alice().CreateGroup(ctx, "demo", "bob", "carol")
	if err != nil {
		return fmt.Errorf("create the group: %w", err)
	}
	info, err := group.Info()
	if err != nil {
		return err
	}
	d.alice().dm, d.alice().group = dm, group
	for _, p := range d.people[1:] {
		if err := p.await(ctx, "the group", func() (err error) { p.group, err = p.Find("#demo"); return err }); err != nil {
			return err
		}
	}
	if err := d.bob().await(ctx, "the conversation", func() (err error) { d.bob().dm, err = d.bob().Find("alice"); return err }); err != nil {
		return err
	}
	d.report.Nodes, d.report.Suite = d.Nodes, fmt.Sprintf("0x%04X", info.SuiteID)
	d.tell("alice and bob have a conversation of two; alice, bob and carol a group, MLS suite %s %s", d.report.Suite, info.Suite)
	return nil
}

// talkThroughCrash lets everybody talk while the leader is killed and comes back.
func (d *demo) talkThroughCrash(ctx context.Context) error {
	// A quarter is said after the removal, one message is bob's right after the kill.
	all := d.Messages - d.afterRemoval() - 1
	var tasks sync.WaitGroup
	errs := make([]error, 4)
	for i, speech := range []struct {
		by *person
		in *client.Conversation
		to []*person
	}{
		{d.alice(), d.alice().dm, []*person{d.bob()}},
		{d.bob(), d.bob().dm, []*person{d.alice()}},
		{d.alice(), d.alice().group, []*person{d.bob(), d.carol()}},
		{d.carol(), d.carol().group, []*person{d.alice(), d.bob()}},
	} {
		tasks.Go(func() { errs[i] = d.speak(ctx, speech.by, speech.in, (all+i)/4, speech.to...) })
	}
	crash := d.crash(ctx, time.Duration(all/4)*pace/2)
	tasks.Wait()
	if err := errors.Join(append(errs, crash)...); err != nil {
		return err
	}
	return d.everybodyHas(ctx)
}

func (d *demo) afterRemoval() int { return d.Messages / 4 }

// speak says n messages, steadily.
func (d *demo) speak(ctx context.Context, p *person, in *client.Conversation, n int, to ...*person) error {
	for range n {
		if _, err := p.say(ctx, in, to...); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pace):
		}
	}
	return nil
}

// crash kills the leader in the middle, measures how long nothing is acknowledged,
// and starts it again.
func (d *demo) crash(ctx context.Context, after time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(after):
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	leader, err := d.nodes.WaitLeader(ctx)
	if err != nil {
		return err
	}
	killed := time.Now()
	if err := leader.Kill(); err != nil {
		return err
	}
	d.tell("KILL -9 of %s, the leader, while everybody talks", leader.ID)
	next, err := d.bob().say(ctx, d.bob().group, d.alice(), d.carol())
	if err != nil {
		return err
	}
	if err := d.bob().group.Sent(ctx, next); err != nil {
		return fmt.Errorf("wait for the next acknowledged message: %w", err)
	}
	d.report.FailoverMs = time.Since(killed).Milliseconds()
	leads, err := d.nodes.WaitLeader(ctx)
	if err != nil {
		return err
	}
	d.tell("%s leads now; the first message after the kill was acknowledged %d ms after it", leads.ID, d.report.FailoverMs)
	if err := leader.Start(); err != nil {
		return err
	}
	if err := d.follows(ctx, leader); err != nil {
		return err
	}
	d.tell("%s is back and has caught up", leader.ID)
	return nil
}

// follows waits until a node has all that the others had when it was asked.
func (d *demo) follows(ctx context.Context, n *localcluster.Process) error {
	var goal uint64
	return await.Until(ctx, fmt.Sprintf("%s to catch up", n.ID), func() error {
		seen, err := d.nodes.Observe(ctx)
		if err != nil {
			return err
		}
		have := uint64(0)
		for _, o := range seen {
			if o.Status == nil {
				continue
			}
			if o.ID == n.ID {
				have = o.Status.AppliedIndex
			} else if goal == 0 {
				goal = o.Status.AppliedIndex
			}
		}
		if have == 0 || have < goal {
			return fmt.Errorf("it is at %d of %d", have, goal)
		}
		return nil
	})
}

// everybodyHas waits until what was said so far has arrived everywhere.
func (d *demo) everybodyHas(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := d.everythingIsSent(ctx); err != nil {
		return err
	}
	err := await.Until(ctx, "what was said to arrive", func() error {
		if err := d.collect(); err != nil {
			return err
		}
		if missing := d.log.missing(); missing > 0 {
			return fmt.Errorf("%d receptions are missing", missing)
		}
		return nil
	})
	if err != nil && ctx.Err() != nil && d.collect() == nil {
		d.tell("WRONG: %v", err) // the count will say so
		return nil
	}
	return err
}

// everythingIsSent waits until the cluster has acknowledged what was said so far; the
// receipts take their time.
func (d *demo) everythingIsSent(ctx context.Context) error {
	return await.Until(ctx, "what was said to be acknowledged", func() error {
		n, err := d.acknowledged()
		if err == nil && n < d.log.count() {
			err = fmt.Errorf("%d messages of %d are", n, d.log.count())
		}
		return err
	})
}

// Cleanup removes what the demo has left, unless it is to be kept.
func Cleanup(dir string, keep bool) error {
	if keep {
		return nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove the demo's directory: %w", err)
	}
	return nil
}
