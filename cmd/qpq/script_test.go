package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"quicproquo/client/content"
	"quicproquo/cluster"
	"quicproquo/nodeaddr"
	"quicproquo/schemas"
	"quicproquo/testcluster"
)

// qpq is the program itself in the scripts.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"qpq": main})
}

// The scripts are what users do, each with people of its own on one real cluster.
// Commands besides testscript's own:
//
//	nodes down|up       kills or starts all nodes (only in those of alone)
//	setting NAME VALUE  changes a setting of the cluster (only in those of invited)
//	keep NAME stdout    keeps what was printed last, without its end of line, in $NAME
//
// and those of lies_test.go.
func TestScripts(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{})
	if _, err := c.WaitLeader(t.Context()); err != nil {
		t.Fatal(err)
	}
	if testing.Short() { // a process for each command, and Argon2 in each: the race detector sees more in package client
		runScripts(t, c, "testdata/script/trust.txtar")
		return
	}
	t.Run("together", func(t *testing.T) { runScripts(t, c, "testdata/script/*.txtar") })
	t.Run("alone", func(t *testing.T) { runScripts(t, c, "testdata/script/alone/*.txtar") })
	t.Run("invited", func(t *testing.T) { runScripts(t, c, "testdata/script/invited/*.txtar") })
	t.Run("lies", func(t *testing.T) { runLies(t, c) })
}

func runScripts(t *testing.T, c *testcluster.Cluster, pattern string) {
	t.Helper()
	play(t, c, pattern, func(*testscript.Env) error { return nil }, map[string]command{
		"nodes":   func(ts *testscript.TestScript, _ bool, args []string) { nodes(ts, c, args) },
		"setting": func(ts *testscript.TestScript, _ bool, args []string) { setting(ts, c, args) },
		"keep": func(ts *testscript.TestScript, _ bool, args []string) {
			if len(args) != 2 || args[1] != "stdout" {
				ts.Fatalf("usage: keep NAME stdout")
			}
			ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
		},
	})
}

// command is a command of the scripts.
type command = func(*testscript.TestScript, bool, []string)

// play runs scripts with commands of their own.
func play(t *testing.T, c *testcluster.Cluster, pattern string, more func(*testscript.Env) error, commands map[string]command) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts at %s: %v", pattern, err)
	}
	var turn sync.Mutex
	next := 0
	testscript.Run(t, testscript.Params{
		Files:               files,
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			turn.Lock()
			next++
			suffix := fmt.Sprintf("%s%d", filepath.Base(filepath.Dir(pattern))[:1], next)
			turn.Unlock()
			return errors.Join(setUp(env, c, suffix), more(env))
		},
		Cmds: commands,
	})
}

// setUp gives a script its secrets, its directories and the cluster's address.
func setUp(env *testscript.Env, c *testcluster.Cluster, suffix string) error {
	secrets, err := cluster.LoadSecrets(c.Node(0).Dir())
	if err != nil {
		return err
	}
	pin := secrets.Identity.Pin()
	for i, n := range c.Nodes() {
		env.Setenv(fmt.Sprintf("NODE%d", i+1), nodeaddr.Address{Endpoint: n.Address(), Pin: &pin}.String())
		env.Setenv(fmt.Sprintf("ADDRESS%d", i+1), n.Address())
	}
	env.Setenv("QPQ_ACCEPT_ALL", "true") // requests have a script of their own
	env.Setenv("HOSTILE", "\x1b[2Jgone\x1b[31m \u202eevil")
	for file, text := range map[string]string{
		"big": strings.Repeat("x", content.MaxText+1), "pass": "open sesame\n", "word": "correct horse\n", "ca.pem": string(secrets.Identity.AuthoritiesPEM()),
	} {
		if err := os.WriteFile(filepath.Join(env.WorkDir, file), []byte(text), 0o600); err != nil {
			return err
		}
	}
	env.Setenv("XDG_DATA_HOME", filepath.Join(env.WorkDir, "data"))
	env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "config"))
	env.Setenv("QPQ_PASSPHRASE_FILE", filepath.Join(env.WorkDir, "pass"))
	env.Setenv("QPQ_PASSWORD_FILE", filepath.Join(env.WorkDir, "word"))
	for _, name := range []string{"alice", "bob", "carol"} {
		env.Setenv(strings.ToUpper(name), name+suffix)
	}
	return nil
}

// setting changes a setting of the cluster, and waits until every node has it.
func setting(ts *testscript.TestScript, c *testcluster.Cluster, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: setting NAME VALUE")
	}
	value, err := strconv.ParseUint(args[1], 10, 64)
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ts.Check(testcluster.Await(ctx, "the setting "+args[0], func() error {
		leader, err := c.WaitLeader(ctx)
		if err != nil {
			return err
		}
		_, result, err := leader.Engine().Propose(ctx, testcluster.SettingEntry(args[0], value))
		if err == nil && result.Code != schemas.Code_ok {
			err = errors.New(result.Code.Doc().Name) // not every node knows it yet
		}
		return err
	}))
	ts.Check(c.WaitSame(ctx))
}

// nodes takes the whole cluster down or up again.
func nodes(ts *testscript.TestScript, c *testcluster.Cluster, args []string) {
	if len(args) != 1 || args[0] != "down" && args[0] != "up" {
		ts.Fatalf("usage: nodes down|up")
	}
	for _, n := range c.Nodes() {
		if args[0] == "down" {
			ts.Check(n.Kill())
		} else {
			ts.Check(n.Start())
		}
	}
	if args[0] == "up" {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_, err := c.WaitLeader(ctx)
		ts.Check(err)
	}
}
