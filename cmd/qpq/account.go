package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"quicproquo/client"
	"quicproquo/cmd/qpq/internal/plain"
	"quicproquo/crypto/account"
)

const passwordWhat = "password of the account"

// passwordFlag adds the flag that gives an account's password without a terminal.
func passwordFlag(cmd *cobra.Command, to *string, name, what string) {
	cmd.Flags().StringVar(to, name, "", "file whose first line is the "+what+"; - is standard input (default: ask)")
}

func (a *app) registerCommand() *cobra.Command {
	var file, token string
	cmd := &cobra.Command{
		Use:   "register NAME",
		Short: "Make an account, and this machine its first device",
		Long: `Makes an account under a name that nobody has, a profile on this machine that
holds its keys, and logs in. Two secrets are asked for: the passphrase unlocks
the profile on this machine, the password logs in to the cluster, which never
sees it. The address of the cluster is remembered. A cluster that takes new accounts by
invitation only wants a token, which its operator or a member gives you.`,
		Example: `  qpq register alice --server 'qpq://10.0.0.1:4430?pin=sha256:…'
  qpq register bob --invite nb2wy3dpfqqho33snrsccidxmu --server …
  qpq --profile work --keyring register alice-work --server chat.example.com:4430
  QPQ_PASSPHRASE_FILE=pass qpq register bot --password-file word --server …`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			var invite account.Invite
			if token != "" {
				var err error
				if invite, err = account.ParseInvite(token); err != nil {
					return usage("--invite: %w", err)
				}
			}
			return a.enroll(cmd, file, true, func(ctx context.Context, c *client.Client, password []byte) error {
				return c.RegisterInvited(ctx, given[0], password, invite)
			})
		},
	}
	cmd.Flags().StringVar(&token, "invite", "", "invite token")
	passwordFlag(cmd, &file, "password-file", passwordWhat)
	return cmd
}

func (a *app) loginCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "login",
		Short: "Open a session of this profile's account",
		Long: `Opens a session of this device. The password is the account's, not the profile's
passphrase.`,
		Example: "  qpq login\n  qpq login --password-file word",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.enroll(cmd, file, false, func(ctx context.Context, c *client.Client, password []byte) error {
				return c.Login(ctx, c.Account().Username, password)
			})
		},
	}
	passwordFlag(cmd, &file, "password-file", passwordWhat)
	return cmd
}

// enroll opens the profile, asks for the account's password, and does one thing.
func (a *app) enroll(cmd *cobra.Command, file string, isNew bool, f func(context.Context, *client.Client, []byte) error) error {
	open := a.open
	if isNew {
		open = a.create
	}
	c, err := open()
	if err != nil {
		return err
	}
	err = func() error {
		if isNew && c.Account().Registered {
			return fmt.Errorf("%s: %w", c.Account().Username, client.ErrRegistered)
		}
		what := passwordWhat
		if isNew {
			what = "new " + passwordWhat
		}
		password, err := a.secret(what, "password-file", file, isNew)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), a.options.timeout)
		defer cancel()
		if err := f(ctx, c, password); err != nil {
			return err
		}
		if err := a.remember(); err != nil {
			return err
		}
		return a.print(accountOf(c.Account()))
	}()
	return errors.Join(err, c.Close())
}

// accountRecord is who this profile is.
type accountRecord struct {
	header
	Username   string `json:"username"`
	Account    string `json:"account"`
	Device     string `json:"device"`
	Registered bool   `json:"registered"`
	LoggedIn   bool   `json:"loggedIn"`
	Expires    string `json:"sessionExpiresAt,omitempty"`
}

func (*accountRecord) kind() string { return "account" }

func accountOf(who client.Account) *accountRecord {
	return &accountRecord{
		Username: who.Username, Account: hex.EncodeToString(who.Key[:]), Device: hex.EncodeToString(who.Device[:]),
		Registered: who.Registered, LoggedIn: who.LoggedIn,
	}
}

func (r *accountRecord) line() string {
	state := "logged in"
	if !r.LoggedIn {
		state = "logged out"
	}
	return fmt.Sprintf("%s  account %s  device %s  %s", plain.Line(r.Username), r.Account, r.Device, state)
}

func (a *app) logoutCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:     "logout",
		Short:   "End this device's session, or all sessions of the account",
		Long:    "Ends the session on every node. Conversations and keys stay in the profile.",
		Example: "  qpq logout\n  qpq logout --all",
		Args:    args(cobra.NoArgs),
		RunE: a.with(func(ctx context.Context, c *client.Client, _ []string) error {
			ended, err := c.Logout(ctx, all)
			if err != nil {
				return err
			}
			return a.print(&doneRecord{Done: "logout", Count: ended, text: fmt.Sprintf("%d sessions ended", ended)})
		}),
	}
	cmd.Flags().BoolVar(&all, "all", false, "end the sessions of all devices")
	return cmd
}

func (a *app) whoamiCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "whoami",
		Short:   "Tell who this profile is",
		Long:    "Asks the cluster who the session is; without a session it tells what the profile knows.",
		Example: "  qpq whoami\n  qpq whoami --json",
		Args:    args(cobra.NoArgs),
		RunE: a.with(func(ctx context.Context, c *client.Client, _ []string) error {
			who := c.Account()
			if !who.Registered {
				return client.ErrNotRegistered
			}
			r := accountOf(who)
			if who.LoggedIn {
				seen, err := c.Conn().Whoami(ctx)
				if err != nil {
					return err
				}
				if seen.Account != who.Key || seen.Username != who.Username {
					return fmt.Errorf("the cluster takes us for %s: %w", seen.Username, client.ErrUntrustedKey)
				}
				r.Expires = stamp(seen.Expires)
			}
			return a.print(r)
		}),
	}
}

func (a *app) passwdCommand() *cobra.Command {
	var old, replacement string
	cmd := &cobra.Command{
		Use:   "passwd",
		Short: "Change the account's password",
		Long: `Sets a new password; all other sessions of the account end. The passphrase of the
profile on this machine is another thing: "qpq rekey" changes that.`,
		Example: "  qpq passwd\n  qpq passwd --password-file old --new-password-file new",
		Args:    args(cobra.NoArgs),
		RunE: a.following(func(ctx context.Context, c *client.Client, _ []string) error {
			was, err := a.secret(passwordWhat, "password-file", old, false)
			if err != nil {
				return err
			}
			next, err := a.secret("new "+passwordWhat, "new-password-file", replacement, true)
			if err != nil {
				clear(was)
				return err
			}
			ctx, cancel := context.WithTimeout(ctx, a.options.timeout)
			defer cancel()
			if err := c.ChangePassword(ctx, was, next); err != nil {
				return err
			}
			return a.done("passwd", "the password is changed; all other sessions of the account have ended")
		}),
	}
	passwordFlag(cmd, &old, "password-file", passwordWhat)
	passwordFlag(cmd, &replacement, "new-password-file", "new "+passwordWhat)
	return cmd
}
