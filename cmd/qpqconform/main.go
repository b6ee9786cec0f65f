// Command qpqconform tells whether a cluster, or a client, does what docs/protocol.md
// says: it tries a live cluster through its public protocol, and serves as a cluster that
// a client of somebody else's has to cope with.
//
// Files: main.go (a run against a cluster), serve.go (the reference server).
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"quicproquo/cmd/qpqconform/internal/conform"
	"quicproquo/crypto/account"
	"quicproquo/nodeaddr"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := rootCommand().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "qpqconform:", err)
		os.Exit(1)
	}
}

func rootCommand() *cobra.Command {
	var servers []string
	var pin, invite, only string
	var asJSON, listed bool
	cmd := &cobra.Command{
		Use:   "qpqconform --server ADDRESS [--pin PIN]",
		Short: "Try whether a cluster does what docs/protocol.md says",
		Long: `Makes a numbered list of checks of a live cluster, through its public protocol alone:
each method with its documented success and its errors, request ids, what was seen, queues,
subscriptions, key packages, groups, limits, certificates. Every check names the section of
docs/protocol.md that it stands for; the exit code is 1 if one failed.

One node's address is enough: the others are learned from it, and what is written on one
is read on each other. The run makes accounts of its own, four at a time, named conform… ,
and deletes them. It goes by the cluster's rates, so that it takes a few minutes on one
that has them.

"qpqconform serve" is the reverse: a server for a client under test.`,
		Example: `  go run ./cmd/qpqconform --server "$(qpqd pin)"
  go run ./cmd/qpqconform --server 10.0.0.1:4430 --server 10.0.0.2:4430 --pin sha256:…
  go run ./cmd/qpqconform --server "$(qpqd pin)" --run 'Groups|request id' --json`,
		Args: cobra.NoArgs, SilenceErrors: true, SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if listed {
				return listChecks(cmd.OutOrStdout())
			}
			options, err := readOptions(servers, pin, invite)
			if err != nil {
				return err
			}
			pattern, err := regexp.Compile(only)
			if err != nil {
				return fmt.Errorf("--run: %w", err)
			}
			return run(cmd.Context(), cmd.OutOrStdout(), options, pattern, asJSON)
		},
	}
	cmd.Flags().StringArrayVar(&servers, "server", nil, "a node as HOST:PORT, or an address line as qpqd pin prints it; repeat for more")
	cmd.Flags().StringVar(&pin, "pin", "", "the cluster's pin, sha256:HEX, if no address has it")
	cmd.Flags().StringVar(&invite, "invite", "", "an invite token for six accounts, where registration needs one")
	cmd.Flags().StringVar(&only, "run", "", "only the checks whose text or section matches this pattern")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.Flags().BoolVar(&listed, "list", false, "print the checks and make none")
	cmd.AddCommand(serveCommand())
	return cmd
}

func listChecks(out io.Writer) error {
	for i, c := range conform.Checks() {
		if _, err := fmt.Fprintf(out, "%3d  %-27s  %s\n", i+1, c.Section, c.What); err != nil {
			return err
		}
	}
	return nil
}

// readOptions reads which cluster is tried.
func readOptions(servers []string, pin, invite string) (o conform.Options, err error) {
	known := false
	if pin != "" {
		raw, err := hex.DecodeString(strings.TrimPrefix(pin, "sha256:"))
		if err != nil || len(raw) != sha256.Size || !strings.HasPrefix(pin, "sha256:") {
			return o, fmt.Errorf("--pin %s: a pin is sha256: and 64 hexadecimal digits, as qpqd pin prints it", pin)
		}
		o.Pin, known = [sha256.Size]byte(raw), true
	}
	for _, s := range servers {
		addresses, err := nodeaddr.ParseList(s)
		if err != nil {
			return o, fmt.Errorf("--server: %w", err)
		}
		for _, a := range addresses {
			o.Servers = append(o.Servers, a.Endpoint)
			switch {
			case a.Pin == nil:
			case known && *a.Pin != o.Pin:
				return o, errors.New("the addresses have different pins: give nodes of one cluster")
			default:
				o.Pin, known = *a.Pin, true
			}
		}
	}
	if len(o.Servers) == 0 {
		return o, errors.New("name a node: --server HOST:PORT --pin sha256:…, or the line that qpqd pin prints")
	}
	if !known {
		return o, errors.New("name the cluster's pin: --pin sha256:…, as qpqd pin prints it")
	}
	if invite != "" {
		token, err := account.ParseInvite(invite)
		if err != nil {
			return o, fmt.Errorf("--invite: %w", err)
		}
		o.Invite = token[:]
	}
	return o, nil
}

// cleanTime bounds the deletion of a run's accounts.
const cleanTime = time.Minute

// summary is a run in numbers; with --json it comes with its results.
type summary struct {
	Nodes     []string         `json:"nodes"`
	Checks    int              `json:"checks"`
	Failed    int              `json:"failed"`
	Skipped   int              `json:"skipped"`
	Seconds   float64          `json:"seconds"`
	Results   []conform.Result `json:"results,omitempty"`
	CleanedUp bool             `json:"cleanedUp"`
}

// run makes the checks, prints them and cleans up.
func run(ctx context.Context, out io.Writer, o conform.Options, only *regexp.Regexp, asJSON bool) error {
	begin := time.Now()
	w, err := conform.Open(ctx, o)
	if err != nil {
		return err
	}
	results := conform.Run(ctx, w, only, func(r conform.Result) {
		if !asJSON {
			_, _ = fmt.Fprintf(out, "%3d  %-27s  %s\n       %s\n", r.Number, r.Section, r.What, r.Verdict())
		}
	})
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTime)
	defer cancel()
	leftover := w.Close(clean)
	s := summary{Nodes: w.Nodes(), Checks: len(results), Seconds: time.Since(begin).Seconds(), CleanedUp: leftover == nil}
	for _, r := range results {
		switch {
		case r.Skipped:
			s.Skipped++
		case !r.OK:
			s.Failed++
		}
	}
	if err := s.print(out, results, asJSON); err != nil {
		return err
	}
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted: not all checks were made")
	case s.Failed > 0:
		return fmt.Errorf("%d of %d checks failed", s.Failed, s.Checks)
	case leftover != nil:
		return fmt.Errorf("the run's accounts are still there: %w", leftover)
	case s.Checks == 0:
		return errors.New("no check matches --run")
	}
	return nil
}

func (s summary) print(out io.Writer, results []conform.Result, asJSON bool) error {
	if asJSON {
		s.Results = results
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(s)
	}
	_, err := fmt.Fprintf(out, "\n%d checks of %d node(s) in %.0f s: %d ok, %d failed, %d not tried\n",
		s.Checks, len(s.Nodes), s.Seconds, s.Checks-s.Failed-s.Skipped, s.Failed, s.Skipped)
	return err
}
