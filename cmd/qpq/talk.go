package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"quicproquo/client"
	"quicproquo/client/content"
	"quicproquo/cmd/qpq/internal/plain"
)

func (a *app) dmCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "dm NAME [TEXT|-]",
		Short: "Open the conversation with a person, and say something",
		Long: `Opens the conversation of two with a person, and makes it if there is none. With a
text it sends it; - reads it from standard input.`,
		Example: "  qpq dm bob\n  qpq dm bob \"hello\"\n  date | qpq dm bob -",
		Args:    args(cobra.RangeArgs(1, 2)),
		RunE: a.with(func(ctx context.Context, c *client.Client, given []string) error {
			v, err := c.DM(ctx, given[0])
			if err != nil {
				return err
			}
			if len(given) == 2 {
				return a.speak(ctx, c, v, given[1], func(text string) content.Body { return content.Text{Text: text} })
			}
			r, err := conversationOf(v)
			if err != nil {
				return err
			}
			return a.print(r)
		}),
	}
}

func (a *app) sendCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "send CONVERSATION TEXT|-",
		Short: "Say something in a conversation",
		Long: `Sends a text; - reads it from standard input. A conversation is named by the
person's name, the group's title, or the beginning of its id. It returns when the
cluster has acknowledged the message, and says whom it is for. A message that can't
be sent now is "waiting": the command says why and exits with 3, and the message goes
out with the next command that reaches a node. One that was refused has "failed".`,
		Example: "  qpq send bob \"see you at nine\"\n  qpq send \"book club\" - < letter.txt",
		Args:    args(cobra.ExactArgs(2)),
		RunE: a.with(func(ctx context.Context, c *client.Client, given []string) error {
			v, err := c.Find(given[0])
			if err != nil {
				return err
			}
			return a.speak(ctx, c, v, given[1], func(text string) content.Body { return content.Text{Text: text} })
		}),
	}
}

func (a *app) replyCommand() *cobra.Command {
	return a.onMessage("reply CONVERSATION MESSAGE TEXT|-", "Reply to a message",
		"  qpq reply bob 17 \"yes\"", 3, func(to content.ID, text string) content.Body { return content.Reply{To: to, Text: text} })
}

func (a *app) editCommand() *cobra.Command {
	return a.onMessage("edit CONVERSATION MESSAGE TEXT|-", "Replace the text of a message of your own",
		"  qpq edit bob 17 \"what I meant\"", 3, func(to content.ID, text string) content.Body { return content.Edit{To: to, Text: text} })
}

func (a *app) deleteCommand() *cobra.Command {
	return a.onMessage("delete CONVERSATION MESSAGE", "Take back a message of your own",
		"  qpq delete bob 17", 2, func(to content.ID, _ string) content.Body { return content.Delete{To: to} })
}

func (a *app) reactCommand() *cobra.Command {
	var remove bool
	cmd := a.onMessage("react CONVERSATION MESSAGE EMOJI", "Mark a message",
		"  qpq react bob 17 👍\n  qpq react bob 17 👍 --remove", 3,
		func(to content.ID, emoji string) content.Body {
			return content.Reaction{To: to, Emoji: emoji, Remove: remove}
		})
	cmd.Flags().BoolVar(&remove, "remove", false, "take the mark back")
	return cmd
}

// onMessage is a command about an earlier message. n is how many arguments it takes.
func (a *app) onMessage(use, short, example string, n int, body func(to content.ID, text string) content.Body) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Example: example,
		Long: short + `.

A message is named by its number in this profile, as history shows it (#17), or by
its id of 32 hexadecimal digits.`,
		Args: args(cobra.ExactArgs(n)),
		RunE: a.with(func(ctx context.Context, c *client.Client, given []string) error {
			v, err := c.Find(given[0])
			if err != nil {
				return err
			}
			to, err := messageNamed(v, given[1])
			if err != nil {
				return err
			}
			text := ""
			if n == 3 {
				text = given[2]
			}
			return a.speak(ctx, c, v, text, func(text string) content.Body { return body(to, text) })
		}),
	}
}

// messageNamed finds a message by its number or its id.
func messageNamed(v *client.Conversation, name string) (id content.ID, err error) {
	if raw, err := hex.DecodeString(name); err == nil && len(raw) == len(id) {
		return content.ID(raw), nil
	}
	seq, err := strconv.ParseUint(strings.TrimPrefix(name, "#"), 10, 63)
	if err != nil {
		return id, usage("%q is neither a message's number nor its id: `qpq history` shows them", name)
	}
	list, err := v.History(seq+1, 1)
	if err != nil {
		return id, err
	}
	if len(list) == 0 || list[0].Seq != seq || list[0].Kind == "notice" {
		return id, usage("there is no message #%d in this conversation: `qpq history` shows them", seq)
	}
	return list[0].ID, nil
}

// maxInput is how much of standard input is read as a text: one byte more than a
// message takes, to tell.
const maxInput = content.MaxText + 1

// speak sends something and prints what became of it.
func (a *app) speak(ctx context.Context, c *client.Client, v *client.Conversation, text string, body func(string) content.Body) error {
	if text == "-" {
		raw, err := io.ReadAll(io.LimitReader(a.in, maxInput))
		if err != nil {
			return fmt.Errorf("read the text: %w", err)
		}
		text = strings.TrimSuffix(string(raw), "\n")
	}
	id, err := v.Send(ctx, body(text))
	if err != nil {
		return err
	}
	r := &sentRecord{Conversation: v.ID(), ID: hex.EncodeToString(id[:]), Status: "sent"}
	if err := v.Sent(ctx, id); errors.Is(err, client.ErrNotSent) {
		r.Status = "failed"
		return errors.Join(fmt.Errorf("send: %w", err), r.to(v), a.print(r))
	} else if err != nil {
		r.Status = "waiting"
		return errors.Join(fmt.Errorf("send: the message waits in the profile: %w", err), r.to(v), a.print(r))
	}
	r.SentAt = stamp(time.Now())
	if err := errors.Join(r.to(v), a.print(r)); err != nil {
		return err
	}
	a.settleDown(ctx, c, answerTime)
	return nil
}

// to notes whom the message is for.
func (r *sentRecord) to(v *client.Conversation) error {
	info, err := v.Info()
	if err != nil {
		return err
	}
	r.To, r.Members, r.group = info.Title, max(info.Members-1, 0), info.Kind == "group"
	return nil
}

// sentRecord is a message that was given to the cluster, or waits for that.
type sentRecord struct {
	header
	Conversation string `json:"conversation"`
	ID           string `json:"id"`
	Status       string `json:"status"` // sent, waiting or failed
	SentAt       string `json:"sentAt,omitempty"`
	To           string `json:"to"`      // the person's name or the group's title
	Members      int    `json:"members"` // accounts besides our own
	group        bool
}

func (*sentRecord) kind() string { return "sent" }
func (r *sentRecord) line() string {
	whom := plain.Line(r.To) + " (dm)"
	if r.group {
		members := "members"
		if r.Members == 1 {
			members = "member"
		}
		whom = fmt.Sprintf("%d %s of \"%s\"", r.Members, members, plain.Line(r.To))
	}
	return fmt.Sprintf("%s to %s: %s", map[string]string{
		"sent": "sent", "waiting": "waiting, to be sent", "failed": "failed, not sent",
	}[r.Status], whom, r.ID)
}
