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

func (a *app) contactCommand() *cobra.Command {
	list := &cobra.Command{
		Use: "list", Short: "List the people that this profile has met", Example: "  qpq contact list", Args: args(cobra.NoArgs),
		RunE: a.local(func(_ context.Context, c *client.Client, _ []string) error {
			contacts, err := c.Contacts()
			if err != nil {
				return err
			}
			rows := make([]*contactRecord, 0, len(contacts))
			for i := range contacts {
				rows = append(rows, contactOf(&contacts[i]))
			}
			return table(a, "NAME\tVERIFIED\tSINCE\tACCOUNT", rows)
		}),
	}
	info := a.contactDo("info NAME", "Show a person's key and the safety number that both of you see",
		func(ctx context.Context, c *client.Client, name string) (client.Contact, error) {
			return c.Contact(ctx, name)
		})
	info.Long = `Shows a person's identity key and the safety number: 60 digits that are equal on
both sides if nobody is between you. Compare them by other means, then
"qpq contact verify".`
	verify := a.contactDo("verify NAME", "Note that you have compared the safety number", verified(true))
	unverify := a.contactDo("unverify NAME", "Take that back", verified(false))
	trust := a.contactDo("trust NAME", "Take the key that the cluster has now in place of the one you knew",
		func(ctx context.Context, c *client.Client, name string) (client.Contact, error) {
			return c.Trust(ctx, name)
		})
	trust.Long = `When a name has another key than before, somebody registered it again, or the
server lies. Compare safety numbers by other means before you do this.`
	return parent("contact", "People: their keys and safety numbers", list, info, verify, unverify, trust)
}

func verified(is bool) func(context.Context, *client.Client, string) (client.Contact, error) {
	return func(ctx context.Context, c *client.Client, name string) (client.Contact, error) {
		if err := c.SetVerified(name, is); err != nil {
			return client.Contact{}, err
		}
		return c.Contact(ctx, name)
	}
}

func (a *app) contactDo(use, short string, f func(context.Context, *client.Client, string) (client.Contact, error)) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Example: "  qpq contact " + strings.Replace(use, "NAME", "bob", 1), Args: args(cobra.ExactArgs(1)),
		RunE: a.with(func(ctx context.Context, c *client.Client, given []string) error {
			found, err := f(ctx, c, given[0])
			if err != nil {
				return err
			}
			return a.print(contactOf(&found))
		}),
	}
}

type contactRecord struct {
	header
	Username     string `json:"username"`
	Account      string `json:"account"`
	SafetyNumber string `json:"safetyNumber"`
	Verified     bool   `json:"verified"`
	Since        string `json:"since"`
	since        time.Time
}

func contactOf(c *client.Contact) *contactRecord {
	return &contactRecord{
		Username: c.Username, Account: hex.EncodeToString(c.Key[:]), SafetyNumber: c.SafetyNumber,
		Verified: c.Verified, Since: stamp(c.Since), since: c.Since,
	}
}

func (*contactRecord) kind() string { return "contact" }
func (r *contactRecord) cells() []any {
	return []any{r.Username, yes(r.Verified), clock(r.since), r.Account}
}

func (r *contactRecord) line() string {
	return fmt.Sprintf("%s\naccount        %s\nsafety number  %s\nverified       %s",
		plain.Line(r.Username), r.Account, r.SafetyNumber, yes(r.Verified))
}
