package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"quicproquo/client"
	"quicproquo/cmd/qpq/internal/plain"
)

func (a *app) requestsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "requests", Short: "List what waits for your yes or no",
		Long: `Lists conversations that people have asked you into who are not among your contacts,
invitations that claim to be a conversation that you have without proving it, and
conversations whose keys are new without a proof. Until you accept one, nothing goes
out there: no receipt, no typing, no message.`,
		Example: "  qpq requests\n  qpq requests --json",
		Args:    args(cobra.NoArgs),
		RunE: a.local(func(_ context.Context, c *client.Client, _ []string) error {
			list, err := c.Requests()
			if err != nil {
				return err
			}
			rows := make([]*requestRecord, 0, len(list))
			for i := range list {
				rows = append(rows, requestOf(&list[i]))
			}
			return table(a, "ID\tKIND\tBY\tTITLE\tMEMBERS\tASKED\tWHY", rows)
		}),
	}
}

func (a *app) acceptCommand() *cobra.Command {
	return &cobra.Command{
		Use: "accept REQUEST", Short: "Say yes to a request",
		Long: `Says yes to one of "qpq requests", named by its id or by who asks. Who asks becomes
one of your contacts. Before you accept new keys, compare the safety number by other
means: "qpq contact info NAME".`,
		Example: "  qpq accept bob\n  qpq accept 3f2a9c",
		Args:    args(cobra.ExactArgs(1)),
		RunE: a.with(func(ctx context.Context, c *client.Client, given []string) error {
			r, err := requestNamed(c, given[0])
			if err != nil {
				return err
			}
			v, err := c.Accept(ctx, r.ID)
			if err != nil {
				return err
			}
			record, err := conversationOf(v)
			if err != nil {
				return err
			}
			return a.print(record)
		}),
	}
}

func (a *app) declineCommand() *cobra.Command {
	return &cobra.Command{
		Use: "decline REQUEST", Short: "Say no to a request",
		Long: `Says no to one of "qpq requests", named by its id or by who asks. The members of a
group see that you leave it; otherwise nobody is told.`,
		Example: "  qpq decline bob",
		Args:    args(cobra.ExactArgs(1)),
		RunE: a.with(func(ctx context.Context, c *client.Client, given []string) error {
			r, err := requestNamed(c, given[0])
			if err != nil {
				return err
			}
			return c.Decline(ctx, r.ID)
		}),
	}
}

func (a *app) blockCommand() *cobra.Command {
	return &cobra.Command{
		Use: "block [NAME]", Short: "Let nothing of a person through any more",
		Long: `Declines what a person has asked, and drops what comes from them from now on:
invitations, and messages in any conversation. They are not told. Without a name it
lists who is blocked.`,
		Example: "  qpq block mallory\n  qpq block",
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: a.with(func(ctx context.Context, c *client.Client, given []string) error {
			if len(given) == 1 {
				return c.Block(ctx, given[0])
			}
			list, err := c.Blocked()
			if err != nil {
				return err
			}
			rows := make([]*blockedRecord, 0, len(list))
			for _, name := range list {
				rows = append(rows, &blockedRecord{Name: name})
			}
			return table(a, "NAME", rows)
		}),
	}
}

func (a *app) unblockCommand() *cobra.Command {
	return &cobra.Command{
		Use: "unblock NAME", Short: "Take a block back", Example: "  qpq unblock mallory",
		Args: args(cobra.ExactArgs(1)),
		RunE: a.with(func(ctx context.Context, c *client.Client, given []string) error {
			return c.Unblock(ctx, given[0])
		}),
	}
}

func (a *app) aliasCommand() *cobra.Command {
	return &cobra.Command{
		Use: "alias CONVERSATION [NAME]", Short: "Give a conversation a name of your own, on this device",
		Long: `A bare name never leads to a group that somebody else has named: write # before its
title, use its id, or give it a name of your own with this command. Without a name the
one it has is taken away.`,
		Example: "  qpq alias \"#book club\" books\n  qpq send books \"who reads what?\"\n  qpq alias books",
		Args:    args(cobra.RangeArgs(1, 2)),
		RunE: a.local(a.conversation(func(_ context.Context, v *client.Conversation, given []string) error {
			return v.SetAlias(strings.Join(given, ""))
		})),
	}
}

// requestNamed finds a request by its id, the beginning of that, or who asks.
func requestNamed(c *client.Client, name string) (*client.RequestInfo, error) {
	list, err := c.Requests()
	if err != nil {
		return nil, err
	}
	var found []*client.RequestInfo
	for i := range list {
		r := &list[i]
		if r.ID == name || strings.EqualFold("@"+r.By, "@"+strings.TrimPrefix(name, "@")) || len(name) >= 6 && strings.HasPrefix(r.ID, name) {
			found = append(found, r)
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("%q: %w", name, client.ErrNoRequest)
	case 1:
		return found[0], nil
	}
	return nil, fmt.Errorf("%q has asked several things: %w", name, client.ErrAmbiguous)
}

type requestRecord struct {
	header
	ID      string `json:"id"`
	Kind    string `json:"what"` // dm, group or keys
	By      string `json:"by"`
	Account string `json:"account"`
	Title   string `json:"title,omitempty"`
	Members int    `json:"members,omitempty"`
	At      string `json:"at"`
	Reason  string `json:"reason,omitempty"`
	Warning string `json:"warning,omitempty"`
	at      time.Time
}

func requestOf(r *client.RequestInfo) *requestRecord {
	return &requestRecord{
		ID: r.ID, Kind: r.Kind, By: r.By, Account: hex.EncodeToString(r.ByKey[:]), Title: r.Title,
		Members: r.Members, At: stamp(r.At), Reason: r.Reason, Warning: r.Warning, at: r.At,
	}
}

func (*requestRecord) kind() string { return "request" }
func (r *requestRecord) cells() []any {
	return []any{r.ID[:min(len(r.ID), 8)], r.Kind, r.By, r.Title, r.Members, clock(r.at), marked(r.Reason, r.Warning)}
}

func (r *requestRecord) line() string {
	return plain.Line(fmt.Sprintf("%s asks you into a conversation (%s)", r.By, r.ID))
}

type blockedRecord struct {
	header
	Name string `json:"name"`
}

func (*blockedRecord) kind() string   { return "blocked" }
func (r *blockedRecord) cells() []any { return []any{r.Name} }
func (r *blockedRecord) line() string { return plain.Line(r.Name) }
