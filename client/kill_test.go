package client_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"quicproquo/client"
	"quicproquo/client/content"
	"quicproquo/client/internal/crashpoint"
	"quicproquo/cluster"
	"quicproquo/nodeaddr"
	"quicproquo/testcluster"
)

// kill -9 at any boundary of a transaction loses nothing, doubles nothing and uses no
// key twice. Bob is a process that says, renames, renews keys and receives; in round
// n it is killed at the n-th boundary, right before a commit or right after, until a
// round ends by itself. Each next process goes on from what the last one left.
func TestKilledAtEveryBoundary(t *testing.T) {
	if testing.Short() {
		t.Skip("other processes are killed: go test without -short runs it, the race detector has nothing to see")
	}
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{})
	alice, bob := meet(t, c, "alice", client.Settings{}), meet(t, c, "bob", client.Settings{})
	ctx := within(t, 8*time.Minute)
	dm := alice.dm(bob)
	group, err := alice.CreateGroup(ctx, "friends", "bob")
	if err != nil {
		t.Fatal(err)
	}
	if err := group.Promote(ctx, "bob"); err != nil {
		t.Fatal(err)
	}
	bob.find("alice")
	bob.find("friends")
	if err := bob.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	if err := bob.Close(); err != nil {
		t.Fatal(err)
	}
	var heard, certain []string // what alice said, what bob was told that he said
	killed, rounds := 0, 0
	for at := 1; ; at++ {
		for _, v := range []*client.Conversation{dm, group} {
			text := fmt.Sprintf("alice %d", at)
			alice.say(v, text)
			heard = append(heard, text)
		}
		if err := group.Rekey(ctx); err != nil {
			t.Fatal(err)
		}
		if err := alice.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		said, ended := runBob(t, bob, at)
		certain = append(certain, said...)
		rounds++
		if ended {
			break
		}
		killed++
	}
	if _, ended := runBob(t, bob, 0); !ended {
		t.Fatal("nobody kills bob any more, and yet he did not end")
	}
	t.Logf("%d rounds, %d kills, bob said %d things for sure", rounds, killed, len(certain))
	if killed < 20 {
		t.Errorf("only %d kills", killed)
	}
	bob.open(client.Open)
	for _, p := range []*person{alice, bob} {
		if err := p.Sync(ctx); err != nil {
			t.Fatal(err)
		}
		if err := p.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"bob", "friends"} {
		checkKilled(t, alice.mustFind(name), "bob", certain, name)
	}
	for _, name := range []string{"alice", "#friends"} {
		checkKilled(t, bob.mustFind(name), "alice", heard[:0:0], name)
		checkHeard(t, bob.mustFind(name), heard)
	}
	for _, p := range []*person{alice, bob} {
		for e, err := range p.Consume("check") {
			if err != nil {
				t.Fatal(err)
			}
			if e.Kind == client.EventInvalid || e.Kind == client.EventLoss || e.Kind == client.EventRecovered {
				t.Errorf("%s is told of %s: %s", p.name, e.Kind, e.Note)
			}
		}
	}
}

// checkKilled reports whether a sender's words stand in a conversation once each, the
// certain ones of this conversation all.
func checkKilled(t *testing.T, v *client.Conversation, sender string, certain []string, name string) {
	t.Helper()
	count := map[string]int{}
	entries, err := v.History(0, 100_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Kind == "text" && e.Sender == sender {
			if count[e.Text]++; count[e.Text] > 1 {
				t.Errorf("in %s %q of %s stands %d times", name, e.Text, sender, count[e.Text])
			}
		}
	}
	for _, text := range certain {
		if place, words, _ := strings.Cut(text, ": "); place == name && count[words] != 1 {
			t.Errorf("in %s %q stands %d times, want once", name, words, count[words])
		}
	}
}

func checkHeard(t *testing.T, v *client.Conversation, heard []string) {
	t.Helper()
	got, err := texts(v)
	if err != nil {
		t.Fatal(err)
	}
	got = slices.DeleteFunc(got, func(s string) bool { return !strings.HasPrefix(s, "alice: ") })
	want := []string{}
	for _, text := range slices.Compact(slices.Clone(heard)) {
		want = append(want, "alice: "+text)
	}
	if !slices.Equal(got, want) {
		t.Errorf("bob hears %q, want %q", got, want)
	}
}

// runBob runs a round in a process. said is what its Send has returned for, as
// "CONVERSATION: TEXT"; ended tells that it was not killed.
func runBob(t *testing.T, bob *person, at int) (said []string, ended bool) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := cluster.LoadSecrets(bob.cluster.Node(0).Dir())
	if err != nil {
		t.Fatal(err)
	}
	pin := secrets.Identity.Pin()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), "QPQ_TEST_CHILD=bob", "QPQ_TEST_DIR="+bob.profile.Dir, "QPQ_TEST_KILL="+strconv.Itoa(at))
	for _, n := range bob.cluster.Nodes() {
		address := nodeaddr.Address{Endpoint: n.Address(), Pin: &pin}
		cmd.Env = append(cmd.Env, "QPQ_TEST_SERVER_"+string(n.ID())+"="+address.String())
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	for lines := bufio.NewScanner(&out); lines.Scan(); {
		said = append(said, lines.Text())
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signal() == syscall.SIGKILL && ctx.Err() == nil {
			return said, false
		}
	}
	if err != nil {
		t.Fatalf("bob's process, to be killed at boundary %d: %v\n%s", at, err, errs.String())
	}
	return said, true
}

func init() { //nolint:gochecknoinits // TestMain is in the package that this one tests
	client.Child = func() {
		if err := beBob(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// beBob is a round of bob's. What the last one left is finished first.
func beBob() error {
	at, err := strconv.ParseInt(os.Getenv("QPQ_TEST_KILL"), 10, 64)
	if err != nil {
		return err
	}
	options, err := childOptions()
	if err != nil {
		return err
	}
	dir := os.Getenv("QPQ_TEST_DIR")
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Second)
	defer cancel()
	bob, err := client.Open(client.Profile{
		Dir: filepath.Clean(dir), Key: testKey(), Options: options, Settings: client.Settings{Invitations: client.FromEverybody},
	})
	if err != nil {
		return err
	}
	if at > 0 {
		var passed atomic.Int64
		crashpoint.Set(func(p crashpoint.Point) {
			if (p == crashpoint.BeforeCommit || p == crashpoint.AfterCommit) && passed.Add(1) == at {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {} // until it has come
			}
		})
	}
	if err := bobsRound(ctx, bob, at); err != nil {
		return err
	}
	return bob.Close()
}

func bobsRound(ctx context.Context, bob *client.Client, at int64) error {
	if err := bob.Sync(ctx); err != nil {
		return err
	}
	for _, name := range []string{"alice", "friends"} {
		v, err := bob.Find(map[string]string{"alice": "alice", "friends": "#friends"}[name])
		if err != nil {
			return err
		}
		if _, err := v.Send(ctx, content.Text{Text: fmt.Sprintf("bob %d", at)}); err != nil {
			return err
		}
		place := name
		if name == "alice" {
			place = "bob" // what alice calls it
		}
		fmt.Printf("%s: bob %d\n", place, at)
		if name == "friends" {
			if err := v.Rekey(ctx); err != nil {
				return err
			}
			if err := v.Rename(ctx, "friends"); err != nil {
				return err
			}
		}
	}
	return bob.Flush(ctx)
}

func childOptions() (o client.Options, err error) {
	var list []nodeaddr.Address
	for _, v := range os.Environ() {
		name, text, _ := strings.Cut(v, "=")
		if !strings.HasPrefix(name, "QPQ_TEST_SERVER_") {
			continue
		}
		a, err := nodeaddr.Parse(text)
		if err != nil {
			return o, err
		}
		list = append(list, a)
		o.Endpoints = append(o.Endpoints, a.Endpoint)
	}
	if o.TLS, err = nodeaddr.Trust(list, nil, nil); err != nil {
		return o, err
	}
	o.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	o.PacketConn, err = net.ListenPacket("udp", "127.0.0.1:0")
	return o, err
}
