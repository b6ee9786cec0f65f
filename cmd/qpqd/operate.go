package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"quicproquo/cluster"
	"quicproquo/crypto/account"
	"quicproquo/fsm"
	"quicproquo/schemas"
)

// operateTime bounds a command that writes.
const operateTime = 30 * time.Second

// operate has the cluster, one of whose nodes has its directory at or below dir, carry out
// commands of its operator's, one after the other.
func operate(ctx context.Context, dir string, commands ...func(schemas.Entry_command) error) ([]fsm.Result, error) {
	peers, identity, err := readNode(dir)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, operateTime)
	defer cancel()
	results := make([]fsm.Result, 0, len(commands))
	for _, command := range commands {
		id := make([]byte, schemas.RequestIDSize)
		_, _ = rand.Read(id) // never fails
		entry, err := schemas.BuildEntry(id, schemas.Caller{Kind: schemas.Actor_Kind_node}, command)
		if err != nil {
			return results, err
		}
		conn, err := openSocket()
		if err != nil {
			return results, err
		}
		result, err := cluster.Operate(ctx, conn, identity, peers, slog.New(slog.DiscardHandler), entry)
		if err != nil {
			return results, exitError{exitIO, err}
		}
		if result.Code != schemas.Code_ok {
			return results, refusedBy(result)
		}
		results = append(results, result)
	}
	return results, nil
}

// refusedBy tells a refusal of the log's.
func refusedBy(r fsm.Result) error {
	doc := r.Code.Doc()
	value := ""
	if r.Value != 0 {
		value = fmt.Sprintf(" (value: %d)", r.Value)
	}
	return fmt.Errorf("%s %s: %s %s%s", r.Code.ID(), doc.Name, doc.Meaning, doc.Hint, value)
}

func setCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "set NAME=VALUE...",
		Short: "Change settings of the whole cluster",
		Long: `Changes cluster settings: limits that every node applies alike. They are part of
the replicated state, so a change takes effect on all nodes at the same place of the log.
All are taken, or none. docs/settings.md lists them; some values have names.

Works from any machine that has one node's directory, whether or not that node runs.`,
		Example: `  qpqd set registration=token
  qpqd set --dir /var/lib/qpqd registration_burst=100 registration_hourly=50`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, given []string) error {
			values, err := readSettings(given)
			if err != nil {
				return err
			}
			if _, err := operate(cmd.Context(), dir, func(to schemas.Entry_command) error { return fillSettings(to, values) }); err != nil {
				return err
			}
			for _, v := range values {
				fmt.Fprintf(cmd.OutOrStdout(), "%s\t%d\n", v.name, v.value)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", devDir, "a node's directory, or one that holds several")
	return cmd
}

type settingValue struct {
	name  string
	value uint64
}

// readSettings reads NAME=VALUE; a value is a number, or one of the setting's words.
func readSettings(given []string) ([]settingValue, error) {
	known := map[string]fsm.Setting{}
	for _, s := range fsm.Settings() {
		known[s.Name] = s
	}
	values := make([]settingValue, 0, len(given))
	for _, g := range given {
		name, text, ok := strings.Cut(g, "=")
		s, is := known[name]
		switch {
		case !ok:
			return nil, fmt.Errorf("%q: write NAME=VALUE", g)
		case !is:
			return nil, fmt.Errorf("%q: there is no cluster setting of this name; docs/settings.md lists them", name)
		case name == fsm.SettingFeatureLevel:
			return nil, errors.New("feature_level: the leader raises it by itself once every node knows more")
		}
		value, err := settingOf(&s, text)
		if err != nil {
			return nil, err
		}
		values = append(values, settingValue{name, value})
	}
	return values, nil
}

func settingOf(s *fsm.Setting, text string) (uint64, error) {
	for i, word := range s.Words {
		if word == text {
			return uint64(i), nil
		}
	}
	value, err := strconv.ParseUint(text, 10, 64)
	if err != nil || value < s.Min || value > s.Max {
		words := ""
		if s.Words != nil {
			words = ", or " + strings.Join(s.Words, ", ")
		}
		return 0, fmt.Errorf("%s=%s: want a number from %d to %d (%s)%s", s.Name, text, s.Min, s.Max, s.Unit, words)
	}
	return value, nil
}

func fillSettings(to schemas.Entry_command, values []settingValue) error {
	p, err := to.NewChangeSettings()
	if err != nil {
		return err
	}
	list, err := p.NewSettings(int32(len(values)))
	if err != nil {
		return err
	}
	for i, v := range values {
		list.At(i).SetValue(v.value)
		if err := list.At(i).SetName(v.name); err != nil {
			return err
		}
	}
	return nil
}

// maxInvites is how many tokens one call of `qpqd invite` makes at most.
const maxInvites = 1000

func inviteCommand() *cobra.Command {
	var dir, end string
	var uses uint32
	var count int
	var life time.Duration
	cmd := &cobra.Command{
		Use:   "invite",
		Short: "Make invite tokens, with which people register",
		Long: `Makes invite tokens and prints them, one a line. Who has one can register while
the cluster's setting registration is "token", and is not held up by others'
registrations while it is "open". The cluster keeps only a hash of each: a token that is
lost can't be shown again.

Works from any machine that has one node's directory, whether or not that node runs.`,
		Example: `  qpqd set registration=token
  qpqd invite                        # one token for one account, good for a week
  qpqd invite --uses 30 --for 24h    # one for a class
  qpqd invite --end TOKEN            # take one back
  qpq register alice --invite TOKEN --server …`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if end != "" {
				return endInvite(cmd.Context(), dir, end)
			}
			if count < 1 || count > maxInvites || uses < 1 || uses > schemas.MaxInviteUses || life < 0 {
				return fmt.Errorf("--count is 1 to %d, --uses 1 to %d, and --for no time that is over", maxInvites, schemas.MaxInviteUses)
			}
			return makeInvites(cmd, dir, count, uses, life)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", devDir, "a node's directory, or one that holds several")
	cmd.Flags().Uint32Var(&uses, "uses", 1, "how many accounts each token is good for")
	cmd.Flags().IntVar(&count, "count", 1, "how many tokens to make")
	cmd.Flags().DurationVar(&life, "for", 0, "how long they are good (default a week; the setting invite_max_secs bounds it)")
	cmd.Flags().StringVar(&end, "end", "", "take this token back")
	return cmd
}

func makeInvites(cmd *cobra.Command, dir string, count int, uses uint32, life time.Duration) error {
	for range count {
		token := account.NewInvite()
		results, err := operate(cmd.Context(), dir, fillInvite(token, uses, life))
		if err != nil {
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), token.Text())
		if count == 1 {
			expires := time.UnixMilli(int64(numberOf(results[0])))
			fmt.Fprintf(cmd.ErrOrStderr(), "for %d account(s), until %s:  qpq register NAME --invite %s\n", uses, expires.Format(time.RFC1123), token.Text())
		}
	}
	return nil
}

func endInvite(ctx context.Context, dir, text string) error {
	token, err := account.ParseInvite(text)
	if err != nil {
		return err
	}
	_, err = operate(ctx, dir, fillInvite(token, 0, 0))
	return err
}

func fillInvite(token account.Invite, uses uint32, life time.Duration) func(schemas.Entry_command) error {
	return func(to schemas.Entry_command) error {
		i, err := to.NewCreateInvite()
		if err != nil {
			return err
		}
		i.SetUses(uses)
		i.SetTtlSecs(uint32(min(life/time.Second, 1<<32-1)))
		hash := token.Hash()
		return i.SetInviteHash(hash[:])
	}
}

// numberOf reads a result that is one number; 0 for another.
func numberOf(r fsm.Result) uint64 {
	msg, err := schemas.Unmarshal(r.Data)
	if err != nil {
		return 0
	}
	root, err := msg.Root()
	if err != nil {
		return 0
	}
	return root.Struct().Uint64(0)
}
