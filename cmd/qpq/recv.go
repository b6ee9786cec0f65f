package main

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/spf13/cobra"

	"quicproquo/client"
)

func (a *app) recvCommand() *cobra.Command {
	var follow, messages bool
	var consumer string
	var limit int
	cmd := &cobra.Command{
		Use:   "recv",
		Short: "Print what has happened since the last time",
		Long: `Fetches what waits and prints each event once: messages, edits, reactions,
receipts, who came and went. With --follow it goes on until it is stopped. Each
--consumer has a place of its own, so that a script and a person do not take each
other's events; after a crash the last events may come again, with the same id.`,
		Example: "  qpq recv\n  qpq recv --follow --json | jq -r 'select(.event==\"message\").entry.text'\n  qpq recv --consumer backup --messages",
		Args:    args(cobra.NoArgs),
	}
	cmd.RunE = func(cmd *cobra.Command, given []string) error {
		run := a.with
		if follow {
			run = a.following
		}
		return run(func(ctx context.Context, c *client.Client, _ []string) error {
			wanted := func(e *client.Event) bool { return !messages || e.Kind == client.EventMessage }
			if follow {
				if err := c.Start(); err != nil {
					return err
				}
				return ended(ctx, a.show(c, c.Events(ctx, consumer), consumer, wanted, limit))
			}
			// What is in the profile is printed even if the cluster can't be reached.
			offline := c.Sync(ctx)
			if offline == nil {
				a.settleDown(ctx, c, receiptTime)
			}
			return errors.Join(a.show(c, c.Consume(consumer), consumer, wanted, limit), offline)
		})(cmd, given)
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until stopped")
	cmd.Flags().BoolVar(&messages, "messages", false, "only messages")
	cmd.Flags().StringVar(&consumer, "consumer", "recv", "whose place to go on from")
	cmd.Flags().IntVar(&limit, "limit", 0, "end after so many events; 0: no limit")
	return cmd
}

// receiptTime is how long a command waits for the receipts of what it has fetched.
const receiptTime = 3 * time.Second

// answerTime is how long a command that has done what it was told waits for what else
// is on its way.
const answerTime = time.Second

// settleDown gives receipts and answers a moment to go out, such as the commit of
// another's wish to leave. What does not goes out with the next command.
func (a *app) settleDown(ctx context.Context, c *client.Client, moment time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, moment)
	defer cancel()
	_ = c.Flush(ctx)
}

// ended tells an end that the user asked for from a failure.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
		return nil
	}
	return err
}

// show prints events; after limit of them it ends and notes the last one's place.
func (a *app) show(c *client.Client, events iter.Seq2[client.Event, error], consumer string, wanted func(*client.Event) bool, limit int) error {
	shown, last := 0, uint64(0)
	for e, err := range events {
		if err != nil {
			return err
		}
		if !wanted(&e) {
			continue
		}
		if err := a.print(eventOf(&e)); err != nil {
			return err
		}
		if shown, last = shown+1, e.ID; shown == limit {
			break
		}
	}
	if limit > 0 && shown == limit {
		return c.SetConsumed(consumer, last)
	}
	return nil
}
