// Command mutants takes checks out of the code, one at a time, and demands that a test
// notices each: `go run ./testcluster/mutants -all`.
//
// The rows stand in table/AREA.txt (a file, a text of it, the text that replaces it, the
// test that must fail); docs/testing.md has their format. The tree is not touched: the
// go command's -overlay puts the changed file in the original's place.
//
// Files: row.go (the format), table.go and compile.go (rows against the code), choose.go (which rows),
// try.go (one row), lean.go (what it need not compile), report.go (many, and what they came to).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := command(ctx, os.Args[1:], os.Stdout)
	if err != nil {
		fmt.Fprintf(os.Stderr, "mutants: %v\n", err)
		os.Exit(1) //nolint:gocritic // stop only ends the wait for signals
	}
}

// errFailed ends the program with exit code 1 after everything is printed.
var errFailed = errors.New("not every mutant was noticed")

// options are the flags.
type options struct {
	choice
	list    bool
	check   bool
	workers int
	budget  time.Duration
	timeout time.Duration
}

func parseFlags(args []string, out io.Writer) (options, error) {
	var o options
	set := flag.NewFlagSet("mutants", flag.ContinueOnError)
	set.SetOutput(out)
	set.BoolVar(&o.all, "all", false, "try every row")
	set.StringVar(&o.rows, "rows", "", "try the rows of these names, divided by commas")
	set.StringVar(&o.area, "file", "", "try the rows of one file of the table: client for client.txt")
	set.IntVar(&o.sample, "sample", 0, "try this many rows, chosen by the day")
	set.StringVar(&o.day, "day", time.Now().UTC().Format(time.DateOnly), "the day that chooses the sample, YYYY-MM-DD")
	set.BoolVar(&o.list, "list", false, "print the chosen rows (all, if none are chosen) and try none")
	set.BoolVar(&o.check, "check", true, "run each test on the code as it is first: it must pass there")
	set.IntVar(&o.workers, "j", 2, "rows that are tried at once")
	set.DurationVar(&o.budget, "for", 0, "begin no row after this time; 0 is no limit")
	set.DurationVar(&o.timeout, "timeout", 2*time.Minute, "what one test may take")
	err := set.Parse(args)
	if err == nil && set.NArg() > 0 {
		err = fmt.Errorf("%q is no flag: rows are named with -rows", set.Arg(0))
	}
	return o, err
}

func command(ctx context.Context, args []string, out io.Writer) error {
	o, err := parseFlags(args, out)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	rows, err := load(root)
	if err != nil {
		return err
	}
	if wrong := verify(root, rows); len(wrong) > 0 {
		return fmt.Errorf("the table does not fit the code:\n%s", strings.Join(wrong, "\n"))
	}
	return chosen(ctx, o, root, rows, out)
}

// chosen lists or tries the rows that the flags choose.
func chosen(ctx context.Context, o options, root string, rows []row, out io.Writer) error {
	o.all = o.all || o.list
	rows, err := o.of(rows)
	if err != nil {
		return err
	}
	if o.list {
		list(out, rows)
		return nil
	}
	dir, err := os.MkdirTemp("", "mutants-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	u := &runner{root: root, dir: dir, timeout: o.timeout}
	results := u.tryAll(ctx, o, inOrder(rows), out)
	if !report(out, results) {
		return errFailed
	}
	return nil
}

func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	mod := strings.TrimSpace(string(out))
	if mod == "" || mod == os.DevNull {
		return "", errors.New("there is no go.mod here: run it in the module")
	}
	return filepath.Dir(mod), nil
}
