// Command qpq is the client: it talks to people in end-to-end-encrypted
// conversations through any node of a cluster.
//
// Conventions: data goes to standard output, notes to standard error; with --json
// every line of output is one object (docs/cli.md); it never asks when it does not
// run in a terminal; secrets come from prompts, files or the keyring, never from
// arguments.
//
// Files: main.go and root.go (the command, its global settings), app.go (what all
// commands share), unlock.go (secrets, trust), output.go and record.go (what is printed),
// problem.go (errors, hints, exit codes), then a file per topic of commands: account.go,
// invite.go, device.go, talk.go, recv.go, chat.go, requests.go, history.go, group.go,
// contact.go, status.go, doctor.go, bench.go, backup.go, care.go.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"syscall"
)

// version is set at build time: -ldflags "-X main.version=v1.2.3".
var version = "dev" //nolint:gochecknoglobals // the linker sets it

// memoryLimit is what Go's collector keeps the heap under where it can; beside it
// SQLite has its own. GOMEMLIMIT beats it.
const memoryLimit = 80 << 20

func main() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	os.Exit(run(os.Args[1:]))
}

// run is the whole program; it returns the exit code.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := newApp(os.Stdin, os.Stdout, os.Stderr)
	root := a.rootCommand()
	a.options.json = slices.Contains(args, "--json") // for errors before flags are read
	root.SetArgs(args)
	return a.exit(root.ExecuteContext(ctx))
}
