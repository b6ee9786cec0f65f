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

func (a *app) groupCommand() *cobra.Command {
	return parent("group", "Groups: make them, change them, leave them",
		a.groupCreate(), a.groupList(), a.groupMembers(),
		a.groupPeople("invite GROUP NAME…", "Add people to a group, with all their devices", "invite", "%s invited", func(ctx context.Context, v *client.Conversation, names []string) error {
			return v.Invite(ctx, names...)
		}),
		a.groupInvited(),
		a.groupPeople("uninvite GROUP NAME…", "Take back invitations of people who are not in the group yet", "uninvite", "%s is not invited any more",
			each(func(v *client.Conversation, _ context.Context, name string) error { return v.CancelInvite(name) })),
		a.groupPeople("remove GROUP NAME…", "Remove people from a group", "remove", "%s removed", each((*client.Conversation).Remove)),
		a.groupPeople("promote GROUP NAME…", "Make members admins", "promote", "%s may now change the group", each((*client.Conversation).Promote)),
		a.groupPeople("demote GROUP NAME…", "Make admins ordinary members", "demote", "%s may no longer change the group", each((*client.Conversation).Demote)),
		a.groupDo("leave GROUP", "Leave a group", 1, "leave", "left", func(ctx context.Context, v *client.Conversation, _ []string) error { return v.Leave(ctx) }),
		a.groupDo("update GROUP", "Renew our keys, so that whoever knew the old ones can't read on", 1, "update", "the keys are renewed",
			func(ctx context.Context, v *client.Conversation, _ []string) error { return v.Rekey(ctx) }),
		a.groupDo("rename GROUP TITLE", "Give a group another title", 2, "rename", "renamed",
			func(ctx context.Context, v *client.Conversation, given []string) error {
				return v.Rename(ctx, given[0])
			}),
		a.groupDo("timer GROUP DURATION", "Let messages disappear after a time; 0: keep them", 2, "timer", "the timer is set",
			func(ctx context.Context, v *client.Conversation, given []string) error {
				after, err := time.ParseDuration(given[0])
				if err != nil {
					return usage("%q is not a duration such as 24h, 30m or 0", given[0])
				}
				return v.SetTimer(ctx, after)
			}),
		a.groupDo("devices GROUP", "Add new devices of the members, remove revoked ones", 1, "devices", "the devices are up to date",
			func(ctx context.Context, v *client.Conversation, _ []string) error { return v.SyncDevices(ctx) }),
		a.groupDo("rejoin GROUP", "Come back into a conversation whose thread was lost", 1, "rejoin", "we are back; what was said meanwhile can't be read",
			func(ctx context.Context, v *client.Conversation, _ []string) error { return v.Rejoin(ctx) }),
		a.groupLink(), a.groupJoin(),
	)
}

// each makes a function for several people of one for one.
func each(f func(*client.Conversation, context.Context, string) error) func(context.Context, *client.Conversation, []string) error {
	return func(ctx context.Context, v *client.Conversation, names []string) error {
		for _, name := range names {
			if err := f(v, ctx, name); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return nil
	}
}

func example(use string) string {
	return "  qpq group " + strings.NewReplacer("GROUP", `"book club"`, "NAME…", "bob carol", "TITLE", `"film club"`, "DURATION", "24h").Replace(use)
}

// groupPeople is a command about some people of a group.
func (a *app) groupPeople(use, short, done, text string, f func(context.Context, *client.Conversation, []string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Example: example(use), Args: args(cobra.MinimumNArgs(2)),
		RunE: a.with(a.conversation(func(ctx context.Context, v *client.Conversation, names []string) error {
			if err := f(ctx, v, names); err != nil {
				return err
			}
			return a.doneIn(v, done, text, strings.Join(names, ", "))
		})),
	}
}

// groupDo is a command about a group.
func (a *app) groupDo(use, short string, n int, done, text string, f func(context.Context, *client.Conversation, []string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Example: example(use), Args: args(cobra.ExactArgs(n)),
		RunE: a.with(a.conversation(func(ctx context.Context, v *client.Conversation, given []string) error {
			if err := f(ctx, v, given); err != nil {
				return err
			}
			return a.doneIn(v, done, "%s", text)
		})),
	}
}

func (a *app) doneIn(v *client.Conversation, what, format string, values ...any) error {
	return a.print(&doneRecord{Done: what, Conversation: v.ID(), text: plain.Line(fmt.Sprintf(format, values...))})
}

func (a *app) groupCreate() *cobra.Command {
	return &cobra.Command{
		Use: "create TITLE [NAME…]", Short: "Make a group with these people, and us as its admin",
		Example: "  qpq group create \"book club\" bob carol",
		Args:    args(cobra.MinimumNArgs(1)),
		RunE: a.with(func(ctx context.Context, c *client.Client, given []string) error {
			v, err := c.CreateGroup(ctx, given[0], given[1:]...)
			if err != nil {
				return err
			}
			r, err := conversationOf(v)
			if err != nil {
				return err
			}
			return a.print(r)
		}),
	}
}

func (a *app) groupList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the groups", Example: "  qpq group list", Args: args(cobra.NoArgs),
		RunE: a.local(func(_ context.Context, c *client.Client, _ []string) error {
			return a.listConversations(c, func(r *conversationRecord) bool { return r.Kind == "group" })
		}),
	}
}

func (a *app) groupMembers() *cobra.Command {
	return &cobra.Command{
		Use: "members GROUP", Short: "List who is in a group", Example: "  qpq group members \"book club\"",
		Args: args(cobra.ExactArgs(1)),
		RunE: a.local(a.conversation(func(_ context.Context, v *client.Conversation, _ []string) error {
			members, err := v.Members()
			if err != nil {
				return err
			}
			rows := make([]*memberRecord, 0, len(members))
			for i := range members {
				rows = append(rows, memberOf(&members[i]))
			}
			return table(a, "NAME\tADMIN\tDEVICES\tVERIFIED\tACCOUNT", rows)
		})),
	}
}

func (a *app) groupInvited() *cobra.Command {
	return &cobra.Command{
		Use: "invited GROUP", Short: "List who is invited and not in the group yet, and why", Example: "  qpq group invited \"book club\"",
		Args: args(cobra.ExactArgs(1)),
		RunE: a.local(a.conversation(func(_ context.Context, v *client.Conversation, _ []string) error {
			list, err := v.Invited()
			if err != nil {
				return err
			}
			rows := make([]*invitedRecord, 0, len(list))
			for i := range list {
				rows = append(rows, &invitedRecord{
					Username: list[i].Username, Account: hex.EncodeToString(list[i].Key[:]), Since: stamp(list[i].Since), Reason: list[i].Reason, since: list[i].Since,
				})
			}
			return table(a, "NAME\tSINCE\tWHY NOT YET", rows)
		})),
	}
}

type invitedRecord struct {
	header
	Username string `json:"username"`
	Account  string `json:"account"`
	Since    string `json:"since"`
	Reason   string `json:"reason,omitempty"`
	since    time.Time
}

func (*invitedRecord) kind() string   { return "invited" }
func (r *invitedRecord) line() string { return plain.Line(r.Username) }
func (r *invitedRecord) cells() []any { return []any{r.Username, clock(r.since), r.Reason} }

type memberRecord struct {
	header
	Username string   `json:"username"`
	Account  string   `json:"account"`
	Devices  []string `json:"devices"`
	Admin    bool     `json:"admin"`
	Self     bool     `json:"self"`
	Verified bool     `json:"verified"`
	Warning  string   `json:"warning,omitempty"`
}

func memberOf(m *client.Member) *memberRecord {
	r := &memberRecord{Username: m.Username, Account: hex.EncodeToString(m.Key[:]), Admin: m.Admin, Self: m.Self, Verified: m.Verified, Devices: []string{}, Warning: m.Warning}
	for _, d := range m.Devices {
		r.Devices = append(r.Devices, hex.EncodeToString(d[:]))
	}
	return r
}

func (*memberRecord) kind() string   { return "member" }
func (r *memberRecord) line() string { return plain.Line(r.Username) }
func (r *memberRecord) cells() []any {
	name := marked(r.Username, r.Warning)
	if r.Self {
		name += " (you)"
	}
	return []any{name, yes(r.Admin), len(r.Devices), yes(r.Verified || r.Self), r.Account}
}

func (a *app) groupLink() *cobra.Command {
	var on, off bool
	cmd := &cobra.Command{
		Use: "link GROUP", Short: "Print the link that lets people into a group",
		Long: `Prints the group's link. Whoever has it can come in, until another one is made, it
is switched off, or a member is removed: treat it as a secret.`,
		Example: "  qpq group link \"book club\" --new\n  qpq group link \"book club\"\n  qpq group link \"book club\" --off",
		Args:    args(cobra.ExactArgs(1)),
		RunE: a.with(a.conversation(func(ctx context.Context, v *client.Conversation, _ []string) (err error) {
			if on && off {
				return usage("--new and --off exclude each other")
			}
			var link string
			if on || off {
				link, err = v.Link(ctx, on)
			} else if link, err = v.CurrentLink(); err == nil && link == "" {
				err = usage("the group has no link: an admin makes one with --new")
			}
			if err != nil {
				return err
			}
			return a.print(&linkRecord{Conversation: v.ID(), Link: link})
		})),
	}
	cmd.Flags().BoolVar(&on, "new", false, "make a new link; the old one ends")
	cmd.Flags().BoolVar(&off, "off", false, "let nobody in by link any more")
	return cmd
}

type linkRecord struct {
	header
	Conversation string `json:"conversation"`
	Link         string `json:"link"`
}

func (*linkRecord) kind() string { return "link" }
func (r *linkRecord) line() string {
	if r.Link == "" {
		return "the link is off"
	}
	return plain.Line(r.Link)
}

func (a *app) groupJoin() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "join", Short: "Come into a group by its link",
		Long:    "Reads the link from a file or from standard input, or asks for it: it is a secret, so it is no argument.",
		Example: "  qpq group join\n  qpq group join --link-file - < link.txt",
		Args:    args(cobra.NoArgs),
		RunE: a.with(func(ctx context.Context, c *client.Client, _ []string) error {
			link, err := a.secret("link of the group", "link-file", file, false)
			if err != nil {
				return err
			}
			v, err := c.JoinLink(ctx, string(link))
			if err != nil {
				return err
			}
			r, err := conversationOf(v)
			if err != nil {
				return err
			}
			return a.print(r)
		}),
	}
	cmd.Flags().StringVar(&file, "link-file", "", "file with the link; - is standard input (default: ask)")
	return cmd
}
