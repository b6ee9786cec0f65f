package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"quicproquo/client"
	"quicproquo/cmd/qpq/internal/chat"
)

func (a *app) chatCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "chat [CONVERSATION]",
		Short: "Talk on a full screen",
		Long: `Shows the conversations, one of them with its history, and a line to write. /help
lists the keys and commands. It works from 80×24 down to what is left of a window,
tells nothing by colour alone, and honours NO_COLOR. Without a node it works offline
and sends later.`,
		Example: "  qpq chat\n  qpq chat bob\n  NO_COLOR=1 qpq chat \"book club\"",
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			out, ok := a.out.(*os.File)
			if !ok || !term.IsTerminal(int(out.Fd())) || !term.IsTerminal(int(a.in.Fd())) {
				return usage("chat needs a terminal: use `qpq recv --follow` and `qpq send` in scripts")
			}
			if a.showing {
				a.options.logLevel = "ERROR+100" // lines of a log would break the screen
			}
			return a.following(func(ctx context.Context, c *client.Client, given []string) error {
				o := chat.Options{Client: c, In: a.in, Out: out, Environment: os.Environ()}
				if len(given) == 1 {
					o.Conversation = given[0]
					if _, err := c.Find(given[0]); err != nil {
						return err
					}
				}
				return chat.Run(ctx, o)
			})(cmd, given)
		},
	}
}
