package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"quicproquo/testcluster/referee"
)

// addressWord stands for the server's address in the command of a client under test.
const addressWord = "{ADDRESS}"

func serveCommand() *cobra.Command {
	var asJSON, quiet bool
	var last time.Duration
	cmd := &cobra.Command{
		Use:   "serve [-- CLIENT ARGUMENTS…]",
		Short: "Be the server of a client under test, and judge what it does",
		Long: `Serves as a cluster of three addresses that plays to a client what it must cope with,
each once: a QUIC Retry, an answer that is late, an outcome that is unknown (E032), an
answer that is lost, a node that lags (E038), a call that must wait (E013), a subscription
too many, a cluster that was restored (E049), a node that stops in order, and one that
dies. It writes down what the client does, and ends with a verdict for each rule of
docs/protocol.md that clients must follow; the exit code is 1 if one was broken.

It runs until the client ends that stands behind --, with {ADDRESS} for its address, or
until --for is over or Ctrl-C. What it plays waits for the calls that it is for: have the
client register, log in, ask whoami, look a name up, make a channel, send two messages,
read and acknowledge each, and call something more.`,
		Example: `  go run ./cmd/qpqconform serve                        # prints its address, judges at Ctrl-C
  go run ./cmd/qpqconform serve -- node docs/clients/js/talk.mjs {ADDRESS}
  go run ./cmd/qpqconform serve --quiet -- my-client --server {ADDRESS}`,
		SilenceErrors: true, SilenceUsage: true,
		RunE: func(cmd *cobra.Command, client []string) error {
			ctx, cancel := cmd.Context(), context.CancelFunc(func() {})
			if last > 0 {
				ctx, cancel = context.WithTimeout(ctx, last)
			}
			defer cancel()
			return serve(ctx, cmd.OutOrStdout(), cmd.ErrOrStderr(), client, quiet, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "end with one JSON object: verdicts, and every call that came")
	cmd.Flags().BoolVar(&quiet, "quiet", false, "play nothing: only write down and judge")
	cmd.Flags().DurationVar(&last, "for", 0, "end after so long (default: at Ctrl-C, or with the client)")
	return cmd
}

// judged is what serve prints with --json.
type judged struct {
	Verdicts []referee.Verdict `json:"verdicts"`
	Calls    []referee.Call    `json:"calls"`
	Client   string            `json:"client,omitempty"` // how its command failed
}

func serve(ctx context.Context, out, notes io.Writer, client []string, quiet, asJSON bool) (err error) {
	dir, err := os.MkdirTemp("", "qpqconform-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	r, err := referee.Start(ctx, referee.Options{Dir: dir, Quiet: quiet})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if _, err := fmt.Fprintln(notes, "serving at", r.Address()); err != nil {
		return err
	}
	var j judged
	if len(client) == 0 {
		<-ctx.Done()
	} else if err := runClient(ctx, notes, r.Address(), client); err != nil {
		j.Client = err.Error()
	}
	j.Verdicts, j.Calls = r.Verdicts(), r.Calls()
	return j.print(out, asJSON)
}

// runClient runs the client under test to its end.
func runClient(ctx context.Context, notes io.Writer, address string, client []string) error {
	args := make([]string, 0, len(client))
	for _, a := range client {
		args = append(args, strings.ReplaceAll(a, addressWord, address))
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = notes, notes
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("the client under test: %w", err)
	}
	return nil
}

func (j judged) print(out io.Writer, asJSON bool) error {
	broken, kept := 0, 0
	for i, v := range j.Verdicts {
		switch {
		case v.Broken != "":
			broken++
		case v.Seen:
			kept++
		}
		if asJSON {
			continue
		}
		if _, err := fmt.Fprintf(out, "%3d  %-22s  %s\n       %s\n", i+1, v.Section, v.Rule, v.Word()); err != nil {
			return err
		}
	}
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(j); err != nil {
			return err
		}
	} else if _, err := fmt.Fprintf(out, "\n%d calls: %d rules kept, %d broken, %d not seen\n", len(j.Calls), kept, broken, len(j.Verdicts)-kept-broken); err != nil {
		return err
	}
	switch {
	case broken > 0:
		return fmt.Errorf("the client broke %d of %d rules", broken, len(j.Verdicts))
	case j.Client != "":
		return errors.New(j.Client)
	}
	return nil
}
