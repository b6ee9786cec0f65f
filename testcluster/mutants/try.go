package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// verdict is what came of a row.
type verdict string

const (
	noticed  verdict = "noticed"  // the test failed, as it must
	panicked verdict = "panicked" // so did the program: noticed
	timedOut verdict = "timed out"
	survived verdict = "SURVIVED" // the test passed without the check
	unfit    verdict = "BAD ROW"  // it says nothing: does not compile, no test ran, fails without the mutant
	notTried verdict = "not tried"
)

func (v verdict) passed() bool { return v == noticed || v == panicked || v == timedOut }

// result is a row's verdict, with the reason of a bad one.
type result struct {
	row
	verdict verdict
	detail  string
	took    time.Duration
}

// runner tries rows on the code under root, with files of its own in dir.
type runner struct {
	root    string
	dir     string
	timeout time.Duration // of a test
}

// try applies one mutant (by an overlay: the tree stays as it is) and runs its test.
func (u *runner) try(ctx context.Context, r row) (res result) {
	res = result{row: r}
	start := time.Now()
	defer func() { res.took = time.Since(start) }()
	overlay, err := u.overlay(&r)
	if err != nil {
		res.verdict, res.detail = unfit, err.Error()
		return res
	}
	program := filepath.Join(u.dir, r.name+".test")
	defer func() { _ = os.Remove(program) }()
	if out, err := u.build(ctx, program, r.pkg, overlay); err != nil {
		res.verdict, res.detail = unfit, "the mutant does not compile: "+tail(out)
		return res
	}
	out, err := u.run(ctx, program, r.pkg, r.anchored(), overlay)
	if ctx.Err() != nil {
		res.verdict = notTried
		return res
	}
	res.verdict, res.detail = judge(out, err)
	return res
}

// check runs a row's test on the code as it is. It returns nil if that passes.
func (u *runner) check(ctx context.Context, program string, r *row) error {
	out, err := u.run(ctx, program, r.pkg, r.anchored(), "")
	switch v, detail := judge(out, err); {
	case v == unfit:
		return errors.New(detail)
	case v != survived:
		return fmt.Errorf("the test fails without the mutant too: %s", tail(out))
	}
	return nil
}

// overlay writes the mutated file and the map that go build takes.
func (u *runner) overlay(r *row) (string, error) {
	mutated, err := r.mutate(u.root)
	if err != nil {
		return "", err
	}
	file := filepath.Join(u.dir, r.name+".go")
	if err := os.WriteFile(file, []byte(mutated), 0o600); err != nil {
		return "", err
	}
	replace := map[string]string{filepath.Join(u.root, r.file): file}
	unneeded, err := u.external(r)
	if err != nil {
		return "", err
	}
	for _, test := range unneeded {
		replace[test] = "" // as if it were not there
	}
	text, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		return "", err
	}
	name := filepath.Join(u.dir, r.name+".json")
	return name, os.WriteFile(name, text, 0o600)
}

// build compiles a package's tests, so that a mutant that does not compile is told from
// one that is noticed.
func (u *runner) build(ctx context.Context, program, pkg, overlay string) ([]byte, error) {
	args := []string{"test", "-c", "-ldflags", "-s -w", "-o", program}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, pkg)...)
	cmd.Dir = u.root
	return cmd.CombinedOutput()
}

// run runs tests of a built program where go test would. What the tests build
// themselves has the mutant too.
func (u *runner) run(ctx context.Context, program, pkg, pattern, overlay string) ([]byte, error) {
	// The program ends itself in time and says where it was; the context is for
	// programs that do not.
	ctx, cancel := context.WithTimeout(ctx, u.timeout+10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "-test.run", pattern, "-test.count=1", "-test.v",
		"-test.timeout", u.timeout.String())
	cmd.Dir = filepath.Join(u.root, pkg)
	cmd.Env = os.Environ()
	if overlay != "" {
		cmd.Env = append(cmd.Env, "GOFLAGS="+strings.TrimSpace(os.Getenv("GOFLAGS")+" -overlay="+overlay))
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	// Tests start programs of their own: all end together.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		out.WriteString("\npanic: test timed out after " + u.timeout.String() + "\n")
	}
	return out.Bytes(), err
}

var (
	failedTest = regexp.MustCompile(`(?m)^\s*--- FAIL: `)
	skipped    = regexp.MustCompile(`(?m)^--- SKIP: `)
	passedTest = regexp.MustCompile(`(?m)^--- PASS: `)
)

// judge reads what a run of tests printed and how it ended.
func judge(out []byte, err error) (verdict, string) {
	switch {
	case bytes.Contains(out, []byte("panic: test timed out")):
		return timedOut, "the test did not end in time"
	case err != nil && !failedTest.Match(out) && !bytes.Contains(out, []byte("\n=== RUN")) && !bytes.HasPrefix(out, []byte("=== RUN")):
		return unfit, "the tests could not start: " + tail(out)
	case err != nil && bytes.Contains(out, []byte("panic: ")):
		return panicked, ""
	case err != nil:
		return noticed, ""
	case bytes.Contains(out, []byte("testing: warning: no tests to run")):
		return unfit, "no test has that name: no tests to run"
	case skipped.Match(out) && !passedTest.Match(out):
		return unfit, "its test is skipped here: " + tail(out)
	}
	return survived, ""
}

// tail is the end of what a command printed, on one line.
func tail(out []byte) string {
	const most = 600
	text := strings.Join(strings.Fields(string(out)), " ")
	if len(text) > most {
		text = "… " + text[len(text)-most:]
	}
	return text
}
