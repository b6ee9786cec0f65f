package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"quicproquo/client"
	"quicproquo/client/content"
	"quicproquo/testcluster"
)

// The programs of docs/bots.md. An example can't start a cluster by itself, so each is
// a function that TestExamples runs on a real one.

// echo answers every message with its own text, until ctx ends. Events come once, also
// over restarts: the place of the consumer "echo" is in the vault.
func echo(ctx context.Context, bot *client.Client) error {
	if err := bot.Start(); err != nil {
		return err
	}
	for e, err := range bot.Events(ctx, "echo") {
		if err != nil {
			return err
		}
		if e.Kind != client.EventMessage || e.Entry == nil || e.Entry.Mine {
			continue
		}
		where, err := bot.Find(e.Conversation)
		if err != nil {
			return err
		}
		// What is said is in the vault when Send returns, and is sent however often
		// the bot is restarted until then.
		if _, err := where.Send(ctx, content.Text{Text: e.Entry.Text}); err != nil {
			return err
		}
	}
	return nil
}

// report says something to a person and returns when the cluster has acknowledged it.
func report(ctx context.Context, c *client.Client, to, text string) error {
	conversation, err := c.DM(ctx, to)
	if err != nil {
		return err
	}
	if _, err := conversation.Send(ctx, content.Text{Text: text}); err != nil {
		return err
	}
	return c.Flush(ctx)
}

// follow writes what people say as JSON lines, until n messages have come.
func follow(ctx context.Context, c *client.Client, w io.Writer, n int) error {
	if err := c.Start(); err != nil {
		return err
	}
	for e, err := range c.Events(ctx, "follow") {
		if err != nil {
			return err
		}
		if e.Kind != client.EventMessage {
			continue
		}
		line := map[string]string{"from": e.Entry.Sender, "in": e.Title, "text": e.Entry.Text}
		if err := json.NewEncoder(w).Encode(line); err != nil {
			return err
		}
		if n--; n == 0 {
			return c.SetConsumed("follow", e.ID)
		}
	}
	return nil
}

// The examples do what they say.
func TestExamples(t *testing.T) {
	besideOthers(t)
	c := testcluster.StartT(t, testcluster.Options{})
	alice, bot := meet(t, c, "alice", client.Settings{}), meet(t, c, "echo-bot", client.Settings{})
	ctx, cancel := context.WithCancel(within(t, time.Minute))
	ended := make(chan error, 1)
	go func() { ended <- echo(ctx, bot.Client) }()
	if err := report(within(t, time.Minute), alice.Client, "echo-bot", "is anybody there?"); err != nil {
		t.Fatalf("report: %v", err)
	}
	var out bytes.Buffer
	if err := follow(within(t, time.Minute), alice.Client, &out, 1); err != nil {
		t.Fatalf("follow: %v", err)
	}
	if want := `{"from":"echo-bot","in":"echo-bot","text":"is anybody there?"}`; strings.TrimSpace(out.String()) != want {
		t.Errorf("follow printed %s, expected %s", out.String(), want)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("the echo bot ended with %v", err)
	}
}
