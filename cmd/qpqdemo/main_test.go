package main

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"quicproquo/cmd/qpqdemo/internal/demo"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"qpqdemo": main})
}

// The scripts are what users do. `exits CODE ARGS` runs qpqdemo and demands its exit code.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": func(ts *testscript.TestScript, _ bool, args []string) {
				want, err := strconv.Atoi(args[0])
				ts.Check(err)
				var exit *exec.ExitError
				got := 0
				if err := ts.Exec("qpqdemo", args[1:]...); errors.As(err, &exit) {
					got = exit.ExitCode()
				} else {
					ts.Check(err)
				}
				if got != want {
					ts.Fatalf("exit code %d, want %d", got, want)
				}
			},
		},
	})
}

// A report that is not OK is printed all the same, and is an error.
func TestVerdict(t *testing.T) {
	t.Parallel()
	good := demo.Report{Nodes: 3, Suite: "0x004F", Sent: 12, FailoverMs: 1500, OK: true}
	bad := good
	bad.OK, bad.Lost = false, 1
	for _, c := range []struct {
		report demo.Report
		json   bool
		want   string
		err    error
	}{
		{good, false, "All is well", nil},
		{bad, false, "SOMETHING IS WRONG", errFault},
		{good, true, `"ok":true`, nil},
		{bad, true, `"lost":1,`, errFault},
	} {
		var out strings.Builder
		if err := verdict(&out, c.report, c.json); !errors.Is(err, c.err) || !strings.Contains(out.String(), c.want) {
			t.Errorf("%+v: ended with %v, want %v, and printed\n%s\nwant %s", c.report, err, c.err, out.String(), c.want)
		}
	}
	if err := verdict(brokenPipe{}, good, true); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a report that could not be printed ended with %v", err)
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, fmt.Errorf("write: %w", io.ErrClosedPipe) }
