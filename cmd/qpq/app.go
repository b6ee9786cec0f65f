package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"quicproquo/client"
	"quicproquo/client/vault"
	"quicproquo/nodeaddr"
)

// app is one run of the program.
type app struct {
	in         *os.File
	out, notes io.Writer
	terminal   bool // somebody can be asked
	showing    bool // notes go to a terminal
	options    options
	began      bool // a command runs: its arguments were good
	// keep makes key remember the passphrase in again, for a command that unlocks
	// the profile twice.
	keep  bool
	again []byte
}

func newApp(in, out, notes *os.File) *app {
	return &app{
		in: in, out: out, notes: notes,
		terminal: term.IsTerminal(int(in.Fd())) && term.IsTerminal(int(notes.Fd())),
		showing:  term.IsTerminal(int(notes.Fd())),
	}
}

// options are the settings that all commands have.
type options struct {
	profile, home, config string
	servers               []string
	ca                    string
	passphraseFile        string
	keyring               bool
	json                  bool
	timeout               time.Duration
	logLevel              string
	noReceipts            bool
	acceptAll             bool
	padding               int
}

// note writes a line for people to standard error.
func (a *app) note(format string, args ...any) { fmt.Fprintf(a.notes, format+"\n", args...) }

// savedFile is what a profile remembers of how it is used: no secrets.
const savedFile = "profile.toml"

// saved is the content of savedFile; its keys are those of the global settings.
type saved struct {
	Server  []string `toml:"server,omitempty"`
	CA      string   `toml:"ca,omitempty"`
	Keyring bool     `toml:"keyring,omitempty"`
}

// dir is the profile's directory.
func (a *app) dir() string { return filepath.Join(a.options.home, a.options.profile) }

// remember keeps how the cluster is reached, so that it need not be said again.
func (a *app) remember() error {
	s := saved{Server: a.options.servers, Keyring: a.options.keyring}
	if a.options.ca != "" {
		path, err := filepath.Abs(a.options.ca)
		if err != nil {
			return fmt.Errorf("remember the CA file: %w", err)
		}
		s.CA = path
	}
	raw, err := toml.Marshal(s)
	if err != nil {
		return fmt.Errorf("remember the servers: %w", err)
	}
	file := filepath.Join(a.dir(), savedFile)
	if err := os.WriteFile(file+".new", raw, 0o600); err != nil {
		return fmt.Errorf("remember the servers: %w", err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		return fmt.Errorf("remember the servers: %w", err)
	}
	return nil
}

// connection returns how the cluster is reached; without servers the zero value.
func (a *app) connection() (client.Options, error) {
	logger, err := a.logger()
	if err != nil || len(a.options.servers) == 0 {
		return client.Options{Logger: logger}, err
	}
	addresses, err := a.addresses()
	if err != nil {
		return client.Options{}, err
	}
	trust, err := a.trust(addresses)
	if err != nil {
		return client.Options{}, err
	}
	conn, err := net.ListenPacket("udp", ":0")
	if err != nil {
		return client.Options{}, fmt.Errorf("open a UDP socket: %w", err)
	}
	return client.Options{
		Endpoints: nodeaddr.Endpoints(addresses), TLS: trust, PacketConn: conn, Logger: logger,
	}, nil
}

func (a *app) addresses() (list []nodeaddr.Address, err error) {
	for _, text := range a.options.servers {
		some, err := nodeaddr.ParseList(text)
		if err != nil {
			return nil, usage("%w", err)
		}
		list = append(list, some...)
	}
	return list, nil
}

func (a *app) logger() (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(a.options.logLevel)); err != nil {
		return nil, usage("--log-level %q is none of debug, info, warn, error", a.options.logLevel)
	}
	return slog.New(slog.NewTextHandler(a.notes, &slog.HandlerOptions{Level: level})), nil
}

// exists reports whether the profile has a vault.
func (a *app) exists() bool {
	_, err := os.Stat(filepath.Join(a.dir(), "vault.key"))
	return err == nil || !errors.Is(err, fs.ErrNotExist)
}

// profileSettings is what a client of this program needs to know.
func (a *app) profileSettings(key vault.Key, options client.Options) client.Profile {
	who := client.FromContacts
	if a.options.acceptAll {
		who = client.FromEverybody
	}
	return client.Profile{
		Dir: a.dir(), Key: key, Options: options,
		Settings: client.Settings{NoReceipts: a.options.noReceipts, Padding: a.options.padding, Invitations: who},
	}
}

// open opens the profile. The caller closes the client.
func (a *app) open() (*client.Client, error) {
	if !a.exists() {
		return nil, fmt.Errorf("profile %q: %w", a.options.profile, client.ErrNotRegistered)
	}
	key, err := a.key()
	if err != nil {
		return nil, err
	}
	options, err := a.connection()
	if err != nil {
		return nil, err
	}
	c, err := client.Open(a.profileSettings(key, options))
	debug.FreeOSMemory() // what Argon2id took: as much as all the rest needs
	return c, err
}

// create opens the profile, or makes one with an empty vault.
func (a *app) create() (*client.Client, error) {
	if a.exists() {
		return a.open()
	}
	if len(a.options.servers) == 0 {
		return nil, client.ErrNoServer // before a vault is made
	}
	options, err := a.connection()
	if err != nil {
		return nil, err
	}
	key, err := a.newKey()
	if err != nil {
		return nil, errors.Join(err, options.PacketConn.Close())
	}
	if err := os.MkdirAll(a.dir(), 0o700); err != nil {
		return nil, errors.Join(fmt.Errorf("make the profile's directory: %w", err), options.PacketConn.Close())
	}
	c, err := client.Create(a.profileSettings(key, options))
	if err != nil {
		return nil, err
	}
	if err := a.remember(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// work is what a command does with an open profile.
type work func(ctx context.Context, c *client.Client, args []string) error

// with makes a command's function of work on the profile, within --timeout.
func (a *app) with(f work) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		ctx, cancel := context.WithTimeout(cmd.Context(), a.options.timeout)
		defer cancel()
		return a.using(ctx, args, f)
	}
}

// following is with for commands that run until they are stopped.
func (a *app) following(f work) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error { return a.using(cmd.Context(), args, f) }
}

func (a *app) using(ctx context.Context, args []string, f work) error {
	c, err := a.open()
	if err != nil {
		return err
	}
	return errors.Join(f(ctx, c, args), c.Close())
}

// conversation returns work on the conversation that the first argument names.
func (a *app) conversation(f func(context.Context, *client.Conversation, []string) error) work {
	return func(ctx context.Context, c *client.Client, args []string) error {
		v, err := c.Find(args[0])
		if err != nil {
			return err
		}
		return f(ctx, v, args[1:])
	}
}
