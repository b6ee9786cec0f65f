// Command slowest reads what `go test -json` prints, prints what `go test` prints without
// -v, and writes the slowest ten tests into the file that it is given: .ci/run shows them.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// listed is how many tests are named.
const listed = 10

// longestLine bounds a line of JSON, in bytes: go test splits what is longer.
const longestLine = 1 << 20

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "slowest: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string, in io.Reader, out io.Writer) error {
	if len(args) != 1 {
		return fmt.Errorf("usage: go test -json … | slowest FILE")
	}
	r := &report{out: out, output: map[testName][]string{}}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, longestLine)
	for lines.Scan() {
		r.line(lines.Bytes())
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read what go test prints: %w", err)
	}
	if err := os.WriteFile(args[0], []byte(r.slowest()), 0o600); err != nil {
		return fmt.Errorf("write the slowest tests: %w", err)
	}
	return nil
}

// testName is a test of a package; an empty one is the package itself.
type testName struct{ Package, Test string }

// event is a line of go test -json (cmd/test2json).
type event struct {
	testName
	Action  string
	Elapsed float64 // seconds
	Output  string
}

type took struct {
	testName
	seconds float64
}

// report is what has been read.
type report struct {
	out    io.Writer
	output map[testName][]string // of tests that run
	times  []took
}

// line takes one; what is no JSON is printed as it is.
func (r *report) line(raw []byte) {
	var e event
	if json.Unmarshal(raw, &e) != nil {
		fmt.Fprintf(r.out, "%s\n", raw)
		return
	}
	switch e.Action {
	case "output", "build-output":
		if e.Test == "" && !verbose(e.Output) {
			fmt.Fprint(r.out, e.Output)
		} else if e.Test != "" {
			r.output[e.testName] = append(r.output[e.testName], e.Output)
		}
	case "fail", "pass", "skip":
		if e.Action == "fail" {
			fmt.Fprint(r.out, strings.Join(r.output[e.testName], ""))
		}
		delete(r.output, e.testName)
		if e.Test != "" && !strings.Contains(e.Test, "/") {
			r.times = append(r.times, took{e.testName, e.Elapsed})
		}
	}
}

// verbose reports whether a package's line is one that go test leaves out without -v.
func verbose(line string) bool {
	return line == "PASS\n" || strings.HasPrefix(line, "testing: warning") || strings.HasPrefix(line, "=== ")
}

func (r *report) slowest() string {
	slices.SortStableFunc(r.times, func(a, b took) int { return cmp.Compare(b.seconds, a.seconds) })
	var b strings.Builder
	for _, t := range r.times[:min(listed, len(r.times))] {
		fmt.Fprintf(&b, "%7.1fs  %s  %s\n", t.seconds, strings.TrimPrefix(t.Package, "quicproquo/"), t.Test)
	}
	return b.String()
}
