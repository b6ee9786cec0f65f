package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"quicproquo/client"
	"quicproquo/crypto/account"
	"quicproquo/schemas"
)

// inviteRecord is a token that lets people register.
type inviteRecord struct {
	header
	Token   string `json:"token"`
	Uses    int    `json:"uses"`
	Expires string `json:"expiresAt"`
}

func (*inviteRecord) kind() string   { return "invite" }
func (r *inviteRecord) line() string { return r.Token }

func (a *app) inviteCommand() *cobra.Command {
	var uses int
	var life time.Duration
	var end string
	cmd := &cobra.Command{
		Use: "invite", Short: "Make a token with which somebody registers",
		Long: `Makes an invite token and prints it: whoever has it can make an account on a cluster
that takes new ones by invitation only. Whether members may, and how many accounts a day, a
setting of the cluster says (member_invites_daily). The cluster keeps only a hash of the
token: one that is lost can't be shown again.`,
		Example: "  qpq invite\n  qpq invite --uses 3 --for 24h\n  qpq invite --end TOKEN   # take one back",
		Args:    args(cobra.NoArgs),
		RunE: a.with(func(ctx context.Context, c *client.Client, _ []string) error {
			if end != "" {
				token, err := account.ParseInvite(end)
				if err != nil {
					return usage("--end: %w", err)
				}
				if err := c.EndInvite(ctx, token); err != nil {
					return err
				}
				return a.done("invite", "the token is taken back")
			}
			if uses < 1 || uses > schemas.MaxInviteUses || life < 0 {
				return usage("--uses is 1 to %d, and --for no time that is over", schemas.MaxInviteUses)
			}
			token, expires, err := c.CreateInvite(ctx, uses, life)
			if err != nil {
				return err
			}
			return a.print(&inviteRecord{Token: token.Text(), Uses: uses, Expires: expires.UTC().Format(time.RFC3339)})
		}),
	}
	cmd.Flags().IntVar(&uses, "uses", 1, "how many accounts the token is good for")
	cmd.Flags().DurationVar(&life, "for", 0, "how long it is good (default a week)")
	cmd.Flags().StringVar(&end, "end", "", "take this token back")
	return cmd
}
