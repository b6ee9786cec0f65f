package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"quicproquo/client"
	"quicproquo/schemas"
)

func (a *app) keysCommand() *cobra.Command {
	status := &cobra.Command{
		Use: "status", Short: "How many key packages wait for people who want to reach us",
		Long:    "Key packages let others begin a conversation while this device is away; each is used once. The client tops them up by itself.",
		Example: "  qpq keys status",
		Args:    args(cobra.NoArgs),
		RunE: a.with(func(ctx context.Context, c *client.Client, _ []string) error {
			k, err := c.KeysStatus(ctx)
			if err != nil {
				return err
			}
			return a.print(&keysRecord{
				Remaining: k.Remaining, Fresh: k.Fresh, Low: k.Low, HasLastResort: k.HasLastResort, Local: k.Local,
				LastResortAt: stamp(k.LastResort), OldestAt: stamp(k.Oldest), Incarnation: k.Incarnation,
			})
		}),
	}
	return parent("keys", "Key packages of this device", status)
}

type keysRecord struct {
	header
	Remaining     int    `json:"remaining"`
	Fresh         int    `json:"fresh"`
	Low           bool   `json:"low"`
	HasLastResort bool   `json:"hasLastResort"`
	Local         int    `json:"local"`
	LastResortAt  string `json:"lastResortAt,omitempty"`
	OldestAt      string `json:"oldestAt,omitempty"`
	Incarnation   uint64 `json:"incarnation"`
}

func (*keysRecord) kind() string { return "keys" }
func (r *keysRecord) line() string {
	text := fmt.Sprintf("%d key packages at the cluster, %d with private keys here; last resort: %s", r.Remaining, r.Local, yes(r.HasLastResort))
	if r.Low {
		text += " (few: any command that runs for a moment tops them up)"
	}
	return text
}

func (a *app) errorsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "errors [CODE]", Short: "Explain an error code, or list them all",
		Example: "  qpq errors E022\n  qpq errors CHANNEL_ACCESS_DENIED\n  qpq errors",
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(_ *cobra.Command, given []string) error {
			if len(given) == 0 {
				var rows []*codeRecord
				for _, d := range schemas.Codes() {
					rows = append(rows, codeOf(d))
				}
				return table(a, "CODE\tNAME\tRETRY\tWHAT HAPPENED", rows)
			}
			for _, d := range schemas.Codes() {
				if strings.EqualFold(given[0], d.Code.ID()) || strings.EqualFold(given[0], d.Name) {
					return a.print(codeOf(d))
				}
			}
			return usage("there is no code %q: `qpq errors` lists them", given[0])
		},
	}
}

type codeRecord struct {
	header
	Code    string `json:"code"`
	Name    string `json:"name"`
	Meaning string `json:"meaning"`
	Hint    string `json:"hint"`
	Retry   string `json:"retry"`
	Exit    int    `json:"exit"`
}

func codeOf(d schemas.CodeDoc) *codeRecord {
	r := &codeRecord{Code: d.Code.ID(), Name: d.Name, Meaning: d.Meaning, Hint: d.Hint, Retry: d.Retry.String(), Exit: exitOf(d.Code)}
	if d.Code == schemas.Code_ok {
		r.Exit = exitOK
	}
	return r
}

func (*codeRecord) kind() string   { return "code" }
func (r *codeRecord) cells() []any { return []any{r.Code, r.Name, r.Retry, r.Meaning} }
func (r *codeRecord) line() string {
	return fmt.Sprintf("%s %s\nwhat happened  %s\nwhat to do     %s\nretry          %s\nexit code      %d", r.Code, r.Name, r.Meaning, r.Hint, r.Retry, r.Exit)
}

func (a *app) manCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "man", Short: "Write the manual pages",
		Long:    "Writes a manual page for each command, in section 1.",
		Example: "  qpq man --dir ~/.local/share/man/man1 && man qpq-send",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			root := cmd.Root()
			root.DisableAutoGenTag = true
			// The defaults of this machine's directories do not belong on a page.
			root.PersistentFlags().Lookup("home").DefValue = "the XDG data directory"
			root.PersistentFlags().Lookup("config").DefValue = "config.toml in the XDG configuration directory"
			if err := doc.GenManTree(root, &doc.GenManHeader{Title: "QPQ", Section: "1", Source: "quicproquo", Manual: "quicproquo"}, dir); err != nil {
				return fmt.Errorf("write manual pages: %w", err)
			}
			return a.done("man", "the pages are in %s", dir)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", ".", "an existing directory")
	return cmd
}
