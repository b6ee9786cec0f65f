package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"quicproquo/client"
	"quicproquo/client/vault"
)

const backupWhat = "passphrase of the backup"

func (a *app) exportCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "export FILE|-", Short: "Write an encrypted backup of the profile",
		Long: `Writes everything that the profile holds, sealed under a passphrase of its own: the
identity, conversations, history. A profile that is restored from it comes back
into its conversations with new keys. An existing file is not overwritten.`,
		Example: "  qpq export alice.qpqbackup\n  qpq export - --backup-passphrase-file pass | ssh host 'cat > alice.qpqbackup'",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, given []string) error {
			v, err := a.vault()
			if err != nil {
				return err
			}
			secret, err := a.secret("new "+backupWhat, "backup-passphrase-file", file, true)
			if err == nil {
				err = a.export(v, given[0], secret)
			}
			return errors.Join(err, v.Close())
		},
	}
	passwordFlag(cmd, &file, "backup-passphrase-file", backupWhat)
	return cmd
}

// vault opens the profile's file alone: nothing is sent.
func (a *app) vault() (*vault.Vault, error) {
	if !a.exists() {
		return nil, fmt.Errorf("profile %q: %w", a.options.profile, client.ErrNotRegistered)
	}
	key, err := a.key()
	if err != nil {
		return nil, err
	}
	v, err := vault.Open(a.dir(), key)
	if err != nil {
		return nil, fmt.Errorf("open vault: %w", err)
	}
	return v, nil
}

func (a *app) export(v *vault.Vault, file string, secret []byte) error {
	w := a.out
	if file != "-" {
		f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return fmt.Errorf("write backup: %w", err)
		}
		defer f.Close()
		w = f
	}
	if err := v.Export(w, vault.Passphrase(secret), a.progress("export")); err != nil {
		if file != "-" {
			err = errors.Join(err, os.Remove(file))
		}
		return fmt.Errorf("write backup: %w", err)
	}
	if f, ok := w.(*os.File); ok && file != "-" {
		if err := f.Sync(); err != nil {
			return fmt.Errorf("write backup: %w", err)
		}
		return a.done("export", "the backup is in %s; keep its passphrase, nobody can restore it without", file)
	}
	a.note("the backup is written; keep its passphrase, nobody can restore it without")
	return nil
}

func (a *app) importCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "import FILE|-", Short: "Make a profile from a backup",
		Long: `Makes a new profile from what export wrote. The passphrase of the backup and a new
one for the profile are needed. An existing profile is never overwritten. Do not
go on using the old profile beside the restored one: they are one device, and the old
one stops as soon as the restored one reaches the cluster. Each
conversation comes back with new keys, which its members see, since those of the
backup may have been used meanwhile.`,
		Example: "  qpq --profile restored import alice.qpqbackup",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			if a.exists() {
				return fmt.Errorf("profile %q: %w", a.options.profile, vault.ErrExists)
			}
			var r io.Reader = a.in
			if given[0] != "-" {
				f, err := os.Open(given[0])
				if err != nil {
					return fmt.Errorf("read backup: %w", err)
				}
				defer f.Close()
				r = f
			}
			return a.restore(cmd.Context(), r, file)
		},
	}
	passwordFlag(cmd, &file, "backup-passphrase-file", backupWhat)
	return cmd
}

// restore makes the profile from a backup, which is opened with its own passphrase;
// then the profile gets a passphrase of this machine.
func (a *app) restore(_ context.Context, r io.Reader, file string) error {
	secret, err := a.secret(backupWhat, "backup-passphrase-file", file, false)
	if err != nil {
		return err
	}
	next, err := a.newKey()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(a.dir()), 0o700); err != nil {
		return fmt.Errorf("make the profiles' directory: %w", err)
	}
	again := append([]byte(nil), secret...) // a key serves one call
	if err := vault.Import(a.dir(), r, vault.Passphrase(secret), a.progress("import")); err != nil {
		clear(again)
		return fmt.Errorf("restore backup: %w", err)
	}
	v, err := vault.Open(a.dir(), vault.Passphrase(again))
	if err != nil {
		return fmt.Errorf("open restored profile: %w", err)
	}
	if err := errors.Join(v.Rekey(next), v.Close()); err != nil {
		return fmt.Errorf("set the profile's passphrase: %w", err)
	}
	if err := a.remember(); err != nil {
		return err
	}
	return a.done("import", "profile %s is restored; its conversations are rejoined with the next command that reaches the cluster", a.options.profile)
}

func (a *app) takeOverCommand() *cobra.Command {
	return &cobra.Command{
		Use: "take-over", Short: "Go on with this copy of a profile, in the place of another",
		Long: `A profile's directory that was copied is one device twice. The cluster knows which
copy is in use; the other one stops at its first call, and says so. This command
makes this copy the one in use, and the other stops. Every conversation comes back
with new keys, which its members see, since the other copy may have used those that
are here. What waits to be sent is encrypted again. Importing a backup does the
same by itself.`,
		Example: "  qpq take-over\n  qpq --profile copied take-over",
		Args:    args(cobra.NoArgs),
		RunE: a.with(func(ctx context.Context, c *client.Client, _ []string) error {
			if err := c.TakeOver(); err != nil {
				return err
			}
			switch err := c.Sync(ctx); {
			case errors.Is(err, client.ErrNotLoggedIn), errors.Is(err, client.ErrNoServer):
				return a.done("take-over", "this copy of the profile takes over with the next command that reaches the cluster")
			case err != nil:
				return err
			}
			if err := c.Flush(ctx); err != nil {
				return err
			}
			return a.done("take-over", "this copy of the profile is the one in use now; the other one stops")
		}),
	}
}

func (a *app) rekeyCommand() *cobra.Command {
	var file string
	var keyring bool
	cmd := &cobra.Command{
		Use: "rekey", Short: "Change the profile's passphrase on this machine",
		Long:    "Asks for the passphrase and a new one, or moves the secret to the operating system's keyring.",
		Example: "  qpq rekey\n  qpq rekey --to-keyring",
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			v, err := a.vault()
			if err != nil {
				return err
			}
			key := vault.Keyring(keyringService, a.dir())
			if !keyring {
				secret, failed := a.secret("new passphrase for the profile on this machine", "new-passphrase-file", file, true)
				if failed != nil {
					return errors.Join(failed, v.Close())
				}
				key = vault.Passphrase(secret)
			}
			if err := errors.Join(v.Rekey(key), v.Close()); err != nil {
				return fmt.Errorf("change the profile's key: %w", err)
			}
			a.options.keyring = keyring
			if err := a.remember(); err != nil {
				return err
			}
			return a.done("rekey", "the profile has another key now; older backups keep theirs")
		},
	}
	passwordFlag(cmd, &file, "new-passphrase-file", "new passphrase of the profile")
	cmd.Flags().BoolVar(&keyring, "to-keyring", false, "keep the secret in the operating system's keyring")
	return cmd
}

// progressPause is the time between two looks of a progress line.
const progressPause = 200 * time.Millisecond

// progress shows how far long work is, on a terminal only.
func (a *app) progress(what string) vault.Progress {
	if !a.showing || a.options.json {
		return nil
	}
	var last time.Time
	return func(done, total int64) {
		if done < total && time.Since(last) < progressPause {
			return
		}
		last = time.Now()
		const width = 30
		filled := 0
		if total > 0 {
			filled = int(done * width / total)
		}
		fmt.Fprintf(a.notes, "\r%s [%-*s] %d of %d KiB", what, width, bar(filled), done>>10, total>>10)
		if done >= total {
			fmt.Fprintln(a.notes)
		}
	}
}

func bar(n int) string {
	const full = "##############################"
	return full[:max(0, min(n, len(full)))]
}
