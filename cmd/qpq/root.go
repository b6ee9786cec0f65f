package main

import (
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"quicproquo/cmd/internal/settings"
)

// environment is where settings come from besides flags and files.
func environment() settings.Source {
	return settings.Source{EnvPrefix: "QPQ_", Help: "qpq --help"}
}

// Groups of commands in the help.
const (
	groupStart = "start"
	groupTalk  = "talk"
	groupCare  = "care"
)

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "qpq",
		Short: "Talk to people, in private, through any node",
		Long: `qpq is a client of a quicproquo cluster: conversations of two and groups, end to
end encrypted with post-quantum MLS. The servers see ciphertext only, and any of
them may fail.

New here? "go run ./cmd/qpqdemo" shows everything on this machine. To talk for real:

  qpq register alice --server 'qpq://HOST:PORT?pin=sha256:…'
  qpq dm bob "hello"
  qpq chat

Settings come from flags, then from the environment (--server is QPQ_SERVER),
then from what the profile remembers, then from the configuration file, whose
keys are the flags' names. Exit codes: 0 ok, 1 a mistake of the user,
2 unexpected, 3 input/output or no quorum, 4 untrusted key, 5 rate limit.`,
		Version:           version,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: false},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			a.began = true
			return a.settle(cmd)
		},
	}
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.notes)
	a.register(root.PersistentFlags())
	root.AddGroup(&cobra.Group{ID: groupStart, Title: "Begin:"}, &cobra.Group{ID: groupTalk, Title: "Talk:"}, &cobra.Group{ID: groupCare, Title: "Look after it:"})
	add := func(group string, list ...*cobra.Command) {
		for _, c := range list {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	root.AddCommand(demoCommand())
	add(groupStart, a.registerCommand(), a.loginCommand(), a.logoutCommand(), a.whoamiCommand(), a.passwdCommand(), a.inviteCommand(), a.deviceCommand())
	add(groupTalk, a.dmCommand(), a.sendCommand(), a.replyCommand(), a.reactCommand(), a.editCommand(), a.deleteCommand(),
		a.recvCommand(), a.chatCommand(), a.listCommand(), a.requestsCommand(), a.acceptCommand(), a.declineCommand(), a.blockCommand(), a.unblockCommand(), a.aliasCommand(), a.historyCommand(), a.searchCommand(), a.readCommand(), a.groupCommand(), a.contactCommand())
	add(groupCare, a.keysCommand(), a.statusCommand(), a.doctorCommand(), a.benchCommand(), a.exportCommand(), a.importCommand(), a.takeOverCommand(), a.rekeyCommand(),
		a.errorsCommand(), a.manCommand())
	return root
}

// demoCommand says where the demo has gone: it starts nodes, which this program does not
// contain.
func demoCommand() *cobra.Command {
	return &cobra.Command{
		Use: "demo", Hidden: true, DisableFlagParsing: true, PersistentPreRunE: func(*cobra.Command, []string) error { return nil },
		RunE: func(*cobra.Command, []string) error {
			return usage("the demo is a program of its own: run `go run ./cmd/qpqdemo` in the source's directory, or qpqdemo where it is installed")
		},
	}
}

func (a *app) register(flags *pflag.FlagSet) {
	o := &a.options
	flags.StringVar(&o.profile, "profile", "default", "which of this machine's profiles: each is an account's device")
	flags.StringVar(&o.home, "home", dataHome(), "directory of the profiles")
	flags.StringVar(&o.config, "config", filepath.Join(configHome(), "config.toml"), "configuration file")
	flags.StringArrayVar(&o.servers, "server", nil, "a node, or several divided by commas: HOST:PORT or qpq://HOST:PORT,HOST:PORT?pin=sha256:…; the others are learned from it")
	flags.StringVar(&o.ca, "ca", "", "PEM file of the cluster's certificate authority (default: the pin of a server, else the system's authorities)")
	flags.StringVar(&o.passphraseFile, "passphrase-file", "", "file whose first line unlocks the profile; - is standard input (default: ask)")
	flags.BoolVar(&o.keyring, "keyring", false, "unlock the profile with the operating system's keyring instead of a passphrase")
	flags.BoolVar(&o.json, "json", false, "print one JSON object a line")
	flags.DurationVar(&o.timeout, "timeout", 30*time.Second, "how long a command may take; what it wanted stays in the profile")
	flags.StringVar(&o.logLevel, "log-level", "error", "what goes to standard error: debug, info, warn or error")
	flags.BoolVar(&o.noReceipts, "no-receipts", false, "do not tell others what was delivered and read")
	flags.BoolVar(&o.acceptAll, "accept-all", false, "take everybody's invitations without asking: for bots")
	flags.IntVar(&o.padding, "padding", 256, "messages are padded to multiples of so many bytes; -1: not at all")
}

// settle gives the flags their values from environment and files.
func (a *app) settle(cmd *cobra.Command) error {
	where := environment()
	required := cmd.Flags().Changed("config")
	if path, ok := os.LookupEnv(where.EnvName("config")); ok && !required {
		a.options.config, required = path, true
	}
	config, err := settings.ReadFile(a.options.config, required)
	if err != nil {
		return usage("%w", err)
	}
	// The profile's own file is known when it is known which profile.
	first := pflag.NewFlagSet("profile", pflag.ContinueOnError)
	first.AddFlag(cmd.Flags().Lookup("profile"))
	first.AddFlag(cmd.Flags().Lookup("home"))
	known := func(key string) bool { return cmd.Root().PersistentFlags().Lookup(key) != nil }
	where.Known = known
	if err := where.Fill(first, config); err != nil {
		return usage("%w", err)
	}
	if err := checkProfile(a.options.profile); err != nil {
		return err
	}
	own, err := settings.ReadFile(filepath.Join(a.dir(), savedFile), false)
	if err != nil {
		return usage("%w", err)
	}
	if err := where.Fill(cmd.Flags(), own, config); err != nil {
		return usage("%w", err)
	}
	if a.options.padding == 0 {
		return usage("--padding 0: choose a number of bytes, or -1 for none")
	}
	return nil
}

// checkProfile keeps a profile's name from being a path.
func checkProfile(name string) error {
	if name == "" || name == "." || name == ".." || len(name) > 64 || name != filepath.Base(name) || os.IsPathSeparator(name[0]) {
		return usage("--profile %q: choose a name that can be a directory's", name)
	}
	return nil
}

// dataHome and configHome follow the XDG base directories, on other systems what
// is usual there.
func dataHome() string {
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "qpq")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ".qpq"
	}
	if runtime.GOOS == "linux" {
		return filepath.Join(home, ".local", "share", "qpq")
	}
	if dir, err := os.UserConfigDir(); err == nil {
		return filepath.Join(dir, "qpq", "profiles")
	}
	return filepath.Join(home, ".qpq")
}

func configHome() string {
	dir, err := os.UserConfigDir()
	if err != nil {
		return dataHome()
	}
	return filepath.Join(dir, "qpq")
}

// args wraps a check of arguments so that its error names the command's usage.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, list []string) error {
		if err := check(cmd, list); err != nil {
			return usage("%w: the command is `%s`", err, cmd.UseLine())
		}
		return nil
	}
}

// parent makes a command that only has others.
func parent(use, short string, list ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: args(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error {
		return usage("%s what? `%s --help` lists its commands", cmd.CommandPath(), cmd.CommandPath())
	}}
	cmd.AddCommand(list...)
	return cmd
}
