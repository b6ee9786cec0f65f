package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"

	"quicproquo/client"
	"quicproquo/cluster"
	"quicproquo/nodeaddr"
	"quicproquo/testcluster"
)

// desk is somebody with a profile of their own, at a terminal.
type desk struct {
	t       testing.TB
	dir     string // its data and configuration
	env     []string
	options client.Options

	tty  *os.File
	term *vt.SafeEmulator
	raw  tail // of what the program wrote
	cmd  *exec.Cmd
	done chan error // how the program ended
}

// tail keeps the last bytes that were written to it.
type tail struct {
	mu   sync.Mutex
	last []byte
}

const tailBytes = 6000

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, p...)
	t.last = t.last[max(0, len(t.last)-tailBytes):]
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.last)
}

// screen is the text on the terminal. The emulator's own String takes no lock.
func (d *desk) screen() string { return ansi.Strip(d.term.Render()) }

// seat registers somebody on a node.
func seat(t testing.TB, c *testcluster.Cluster, name string, node int) *desk {
	t.Helper()
	dir := t.TempDir()
	options, err := c.ClientOptions(c.Node(node))
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{t: t, dir: dir, options: options, env: append(os.Environ(), "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir, "QPQ_ACCEPT_ALL=true", "TERM=xterm-256color", "TZ=UTC")}
	for variable, text := range map[string]string{"QPQ_PASSPHRASE_FILE": "open sesame\n", "QPQ_PASSWORD_FILE": "correct horse\n"} {
		file := filepath.Join(dir, variable)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		d.env = append(d.env, variable+"="+file)
	}
	secrets, err := cluster.LoadSecrets(c.Node(0).Dir())
	if err != nil {
		t.Fatal(err)
	}
	pin := secrets.Identity.Pin()
	d.qpq("register", name, "--server", nodeaddr.Address{Endpoint: c.Node(node).Address(), Pin: &pin}.String())
	return d
}

// program is the test binary as qpq: see TestMain.
func (d *desk) program(args ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		d.t.Fatal(err)
	}
	return &exec.Cmd{Path: self, Args: append([]string{"qpq"}, args...), Env: d.env}
}

func (d *desk) qpq(args ...string) {
	d.t.Helper()
	if out, err := d.program(args...).CombinedOutput(); err != nil {
		d.t.Fatalf("qpq %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// chat opens the screen in a terminal of a size.
func (d *desk) chat(width, height int, args ...string) {
	d.t.Helper()
	d.cmd = d.program(append([]string{"chat"}, args...)...)
	tty, err := pty.StartWithSize(d.cmd, &pty.Winsize{Rows: uint16(height), Cols: uint16(width)})
	if err != nil {
		d.t.Fatal(err)
	}
	d.tty, d.term = tty, vt.NewSafeEmulator(width, height)
	d.done = make(chan error, 1)
	go func() { _, _ = io.Copy(io.MultiWriter(d.term, &d.raw), tty) }()
	go func() { _, _ = io.Copy(tty, d.term) }() // answers to the program's questions
	go func() { d.done <- d.cmd.Wait() }()
	d.t.Cleanup(func() {
		_ = d.cmd.Process.Kill()
		_ = tty.Close()
	})
}

func (d *desk) keys(text string) {
	d.t.Helper()
	if _, err := io.WriteString(d.tty, text); err != nil {
		d.t.Fatal(err)
	}
}

// sees waits until all of these stand on the screen.
func (d *desk) sees(texts ...string) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := testcluster.Await(ctx, "the screen", func() error {
		shown := d.screen()
		for _, text := range texts {
			if !strings.Contains(shown, text) {
				return fmt.Errorf("%q is not on the screen", text)
			}
		}
		return nil
	})
	if err != nil {
		d.t.Fatalf("%v:\n%s\nthe program wrote last: %q", err, d.screen(), d.raw.String())
	}
}

func (d *desk) resize(width, height int) {
	d.t.Helper()
	d.term.Resize(width, height)
	if err := pty.Setsize(d.tty, &pty.Winsize{Rows: uint16(height), Cols: uint16(width)}); err != nil {
		d.t.Fatal(err)
	}
}

// Two people at real terminals of two sizes talk through different nodes; one of the
// windows changes its size; both leave.
func TestChatInTerminals(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{})
	if _, err := c.WaitLeader(t.Context()); err != nil {
		t.Fatal(err)
	}
	alice, bob := seat(t, c, "alice", 0), seat(t, c, "bob", 1)
	alice.chat(80, 24)
	bob.chat(120, 35)
	alice.sees("qpq · alice · ●", "nobody yet")
	alice.keys("/dm bob\r")
	alice.sees(">", "bob")
	alice.keys("hello from alice\r")
	alice.sees("you: hello from alice")
	bob.sees("> alice", "alice: hello from alice")
	alice.sees("✓✓ read")
	bob.keys("hello from bob")
	alice.sees("bob is typing…")
	bob.keys("\r")
	alice.sees("bob: hello from bob")

	bob.keys("/react 👍\r")
	alice.sees("👍 bob")
	alice.keys("/edit hello again\r")
	bob.sees("alice: hello again (edited)")
	alice.keys("/group \"book club\" bob\r")
	bob.sees("#book club")
	bob.keys("\t")
	bob.sees("# book club · 2 members")
	alice.keys("/nonsense\r")
	alice.sees("! There is no command /nonsense")

	alice.resize(50, 12)
	alice.keys("a line in a small window\r")
	alice.sees("you: a line in a small window")
	bob.sees("alice: a line in a small window")
	bob.resize(80, 24)
	bob.keys("/help\r")
	bob.sees("Keys and commands", "/dm NAME")
	bob.keys("\x1b") // with a Ctrl-C at once it would be Alt+Ctrl+C
	bob.sees("Enter sends")
	for _, d := range []*desk{alice, bob} {
		d.keys("\x03")
		select {
		case err := <-d.done:
			if err != nil {
				t.Errorf("qpq chat ended with %v", err)
			}
		case <-time.After(time.Minute):
			t.Errorf("Ctrl-C did not end qpq chat:\n%s", d.screen())
		}
	}
}
