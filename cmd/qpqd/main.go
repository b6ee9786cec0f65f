// Command qpqd is the server: one node of a replicated messaging cluster, and
// the commands that its operators need.
//
// Files: main.go (signals, exit codes), config.go (flag > environment > file),
// then one file a command: dev.go, init.go, run.go, status.go, pin.go, operate.go (set, invite), settings.go,
// nodekeys.go (deny, trust, replace), rotate.go, migrate.go;
// metrics.go is what run and dev show to Prometheus, pprof.go the profiles of a node.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set at build time: -ldflags "-X main.version=v1.2.3".
var version = "dev" //nolint:gochecknoglobals // the linker sets it

// Exit codes, the same as the client's: 1 the user's mistake, 2 unexpected,
// 3 input/output or no quorum.
const (
	exitUser       = 1
	exitUnexpected = 2
	exitIO         = 3
)

func main() {
	// What a node writes is nobody else's: libraries make files as open as they are let.
	syscall.Umask(0o077)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := rootCommand().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "qpqd:", err)
		os.Exit(exitCode(err))
	}
}

// exitError carries an exit code with an error.
type exitError struct {
	code int
	err  error
}

func (e exitError) Error() string { return e.err.Error() }
func (e exitError) Unwrap() error { return e.err }

func exitCode(err error) int {
	var coded exitError
	if errors.As(err, &coded) {
		return coded.code
	}
	return exitUser
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "qpqd",
		Short: "A node of a quicproquo cluster, and the tools to run one",
		Long: `qpqd runs end-to-end-encrypted messaging that never goes down: three or more
nodes form one replicated server, and any of them may fail.

New here? Run "qpqd dev" for a whole cluster on this machine, then
"qpqd status" in another terminal.`,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(devCommand(), initCommand(), runCommand(), statusCommand(), pinCommand(), setCommand(), settingsCommand(), inviteCommand(),
		denyCommand(), trustCommand(), replaceCommand(), rotateCommand(), migrateCommand())
	return root
}
