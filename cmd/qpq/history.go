package main

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"quicproquo/client"
)

// local makes a command's function of work that needs no network.
func (a *app) local(f work) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, given []string) error {
		a.options.servers = nil
		return a.with(f)(cmd, given)
	}
}

func (a *app) listCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the conversations, the latest first",
		Example: "  qpq list\n  qpq list --json",
		Args:    args(cobra.NoArgs),
		RunE: a.local(func(_ context.Context, c *client.Client, _ []string) error {
			return a.listConversations(c, func(*conversationRecord) bool { return true })
		}),
	}
}

func (a *app) listConversations(c *client.Client, wanted func(*conversationRecord) bool) error {
	list, err := c.Conversations()
	if err != nil {
		return err
	}
	var rows []*conversationRecord
	for _, v := range list {
		r, err := conversationOf(v)
		if err != nil {
			return err
		}
		if wanted(r) {
			rows = append(rows, r)
		}
	}
	return table(a, conversationHeads, rows)
}

func (a *app) historyCommand() *cobra.Command {
	var limit int
	var before uint64
	cmd := &cobra.Command{
		Use: "history CONVERSATION", Short: "Print the last entries of a conversation",
		Example: "  qpq history bob\n  qpq history \"book club\" --limit 100 --before 4711",
		Args:    args(cobra.ExactArgs(1)),
		RunE: a.local(a.conversation(func(_ context.Context, v *client.Conversation, _ []string) error {
			list, err := v.History(before, limit)
			if err != nil {
				return err
			}
			return a.entries(list)
		})),
	}
	cmd.Flags().IntVar(&limit, "limit", 50, "how many")
	cmd.Flags().Uint64Var(&before, "before", 0, "those before this number; 0: the last")
	return cmd
}

func (a *app) entries(list []client.Entry) error {
	for i := range list {
		if err := a.print(entryOf(&list[i])); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) searchCommand() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use: "search WORDS…", Short: "Find messages by their words, in all conversations",
		Long: `Prints the latest messages that have all the words, or words that begin so. Case,
accents, width and how letters are composed do not count; in scripts without spaces
between words, such as Chinese and Thai, a word is found anywhere.`,
		Example: "  qpq search lunch friday",
		Args:    args(cobra.MinimumNArgs(1)),
		RunE: a.local(func(_ context.Context, c *client.Client, given []string) error {
			list, err := c.Search(strings.Join(given, " "), limit)
			if err != nil {
				return err
			}
			slices.Reverse(list) // the latest last, as everywhere
			if a.options.json {
				return a.entries(list)
			}
			for i := range list {
				r := &eventRecord{Event: string(client.EventMessage), Title: list[i].Title, Entry: entryOf(&list[i])}
				if err := a.print(r); err != nil {
					return err
				}
			}
			return nil
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", 50, "how many")
	return cmd
}

func (a *app) readCommand() *cobra.Command {
	return &cobra.Command{
		Use: "read CONVERSATION [MESSAGE]", Short: "Mark messages as read, and tell their senders",
		Long:    "Marks everything up to a message's number as read, without one everything that is there.",
		Example: "  qpq read bob\n  qpq read bob 17",
		Args:    args(cobra.RangeArgs(1, 2)),
		RunE: a.with(func(ctx context.Context, c *client.Client, given []string) error {
			v, err := c.Find(given[0])
			if err != nil {
				return err
			}
			upTo := uint64(0)
			if len(given) == 2 {
				if upTo, err = strconv.ParseUint(strings.TrimPrefix(given[1], "#"), 10, 63); err != nil {
					return usage("%q is not a message's number: `qpq history` shows them", given[1])
				}
			} else if last, err := v.History(0, 1); err != nil {
				return err
			} else if len(last) > 0 {
				upTo = last[0].Seq
			}
			if err := v.MarkRead(ctx, upTo); err != nil {
				return err
			}
			if err := c.Flush(ctx); err != nil {
				return err
			}
			return a.done("read", "read up to #%d", upTo)
		}),
	}
}
