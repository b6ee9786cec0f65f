package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// waitTime bounds every wait of these tests; elections take about two seconds.
const waitTime = 60 * time.Second

// buildBinary builds qpqd as a user would, once.
func buildBinary(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("runs processes that are built as users build them: go test without -short runs it, the race detector sees nothing of them")
	}
	built.once.Do(func() {
		if out, err := exec.Command("go", "build", "-o", built.dir, ".").CombinedOutput(); err != nil {
			built.err = fmt.Errorf("build qpqd: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, "qpqd")
}

// built is the binary of all tests.
var built struct {
	once sync.Once
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "qpqd-test-")
	if err == nil {
		err = os.Chmod(dir, 0o755) // another user runs it in one test
	}
	if err != nil {
		panic(err)
	}
	built.dir = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// process is a running qpqd.
type process struct {
	cmd  *exec.Cmd
	logs bytes.Buffer
	done chan struct{}
}

func start(t *testing.T, binary string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(binary, args...), done: make(chan struct{})}
	p.cmd.Stderr, p.cmd.Stdout = &p.logs, &p.logs
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %v: %v", args, err)
	}
	go func() { _ = p.cmd.Wait(); close(p.done) }()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("%v printed:\n%s", args, tail(p.logs.String()))
		}
	})
	return p
}

func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.done:
	case <-time.After(waitTime):
		t.Fatalf("the process did not end after %v", s)
	}
}

func tail(s string) string {
	lines := strings.Split(s, "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}

type member struct {
	ID           string `json:"id"`
	State        string `json:"state"`
	AppliedIndex uint64 `json:"appliedIndex"`
	Address      string `json:"address"`
	Configured   string `json:"configuredAddress"`
	Key          string `json:"key"`
	Denied       bool   `json:"denied"`
}

// status runs `qpqd status --json`; a cluster without a leader exits with 3 but
// prints its rows all the same.
func status(ctx context.Context, binary, dir string) ([]member, error) {
	out, err := exec.CommandContext(ctx, binary, "status", "--json", "--dir", dir).Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, err
	}
	var members []member
	if jsonErr := json.Unmarshal(out, &members); jsonErr != nil {
		return nil, fmt.Errorf("status printed %q: %w", out, errors.Join(jsonErr, err))
	}
	return members, nil
}

// awaitStatus polls until ok accepts the members.
func awaitStatus(t *testing.T, binary, dir, what string, ok func([]member) bool) []member {
	t.Helper()
	var last []member
	var err error
	for deadline := time.Now().Add(waitTime); time.Now().Before(deadline); {
		if last, err = status(t.Context(), binary, dir); err == nil && ok(last) {
			return last
		}
	}
	t.Fatalf("no %s in %v; last: %+v, %v", what, waitTime, last, err)
	return nil
}

// count tells how many members are in a state.
func count(members []member, state string) int {
	n := 0
	for _, m := range members {
		if m.State == state {
			n++
		}
	}
	return n
}

// whole: one leader, all others followers, everybody at the same index.
func whole(members []member) bool {
	for _, m := range members {
		if m.AppliedIndex != members[0].AppliedIndex {
			return false
		}
	}
	return count(members, "leader") == 1 && count(members, "follower") == len(members)-1
}

func leaderOf(members []member) string {
	for _, m := range members {
		if m.State == "leader" {
			return m.ID
		}
	}
	return ""
}

// freePorts finds UDP ports on loopback that were free a moment ago.
func freePorts(t *testing.T, n int) []string {
	t.Helper()
	var addresses []string
	for range n {
		conn, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		addresses = append(addresses, conn.LocalAddr().String())
	}
	return addresses
}

// Three processes made by `init` and `run`: one leads, two follow at the same
// index; kill -9 of the leader lets the others elect and go on; the killed one
// rejoins after its restart; SIGTERM stops each with exit code 0.
func TestThreeProcessesSurviveKill9(t *testing.T) {
	binary := buildBinary(t)
	root := filepath.Join(t.TempDir(), "cluster")
	args := []string{"init", "--out", root}
	ids := []string{"n1", "n2", "n3"}
	for i, address := range freePorts(t, 3) {
		args = append(args, "--node", ids[i]+"="+address)
	}
	if out, err := exec.CommandContext(t.Context(), binary, args...).CombinedOutput(); err != nil {
		t.Fatalf("init: %v\n%s", err, out)
	}
	processes := map[string]*process{}
	run := func(id string) {
		processes[id] = start(t, binary, "run", "--dir", filepath.Join(root, id))
	}
	for _, id := range ids {
		run(id)
	}
	members := awaitStatus(t, binary, root, "whole cluster", whole)

	leader := leaderOf(members)
	processes[leader].signal(t, syscall.SIGKILL)
	members = awaitStatus(t, binary, root, "new leader", func(m []member) bool {
		return count(m, "leader") == 1 && leaderOf(m) != leader && count(m, "unreachable") == 1
	})
	t.Logf("killed %s, %s leads now", leader, leaderOf(members))

	run(leader)
	awaitStatus(t, binary, root, "whole cluster after the restart", whole)

	for _, id := range ids {
		processes[id].signal(t, syscall.SIGTERM)
		if code := processes[id].cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("%s ended with exit code %d after SIGTERM, want 0", id, code)
		}
	}
}

// `qpqd dev` brings up three nodes that `qpqd status` shows; stopped and started
// again it goes on with the same data; a second one on the same directory is
// refused with the directory's name.
func TestDevKeepsItsData(t *testing.T) {
	binary := buildBinary(t)
	dir := filepath.Join(t.TempDir(), "qpq-dev")
	first := start(t, binary, "dev", "--dir", dir)
	before := awaitStatus(t, binary, dir, "whole cluster", whole)
	if len(before) != 3 {
		t.Fatalf("dev runs %d nodes, want 3", len(before))
	}
	second := start(t, binary, "dev", "--dir", dir)
	select {
	case <-second.done:
	case <-time.After(waitTime):
		t.Fatal("a second dev on the same directory keeps running")
	}
	if second.cmd.ProcessState.ExitCode() == 0 || !strings.Contains(second.logs.String(), "qpqd:") {
		t.Errorf("a second dev on the same directory must fail with a reason, got %q", second.logs.String())
	}
	first.signal(t, os.Interrupt)
	if code := first.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d after Ctrl-C, want 0", code)
	}
	if open := openToOthers(t, dir, false); len(open) > 0 {
		t.Errorf("other users have access to %v", open)
	}
	openToOthers(t, dir, true) // as earlier versions left it
	start(t, binary, "dev", "--dir", dir)
	// A leader is elected before it commits the first entry of its term, and only
	// then do the nodes know how far their logs are committed.
	awaitStatus(t, binary, dir, "whole cluster that continues after the restart", func(after []member) bool {
		return whole(after) && after[0].AppliedIndex > before[0].AppliedIndex
	})
	for _, name := range openToOthers(t, dir, false) {
		if strings.Contains(name, "/store") {
			t.Errorf("after the start other users have access to %s still", name)
		}
	}
}

// openToOthers returns the files below a directory that others than its owner may read;
// with open it lets them read the store's.
func openToOthers(t *testing.T, dir string, open bool) (list []string) {
	t.Helper()
	files := 0
	if err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files++
		info, err := entry.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			list = append(list, name)
		}
		if err == nil && open && strings.Contains(name, "/store/") {
			err = os.Chmod(name, 0o644)
		}
		return err
	}); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if files < 10 {
		t.Fatalf("%s has %d files; want those of three nodes", dir, files)
	}
	return list
}

// `qpqd run --metrics` serves the node's numbers over HTTP until SIGTERM.
func TestRunServesMetrics(t *testing.T) {
	binary := buildBinary(t)
	root := filepath.Join(t.TempDir(), "cluster")
	address := freePorts(t, 1)[0]
	if out, err := exec.CommandContext(t.Context(), binary, "init", "--out", root, "--node", "n1="+address).CombinedOutput(); err != nil {
		t.Fatalf("init: %v\n%s", err, out)
	}
	// The UDP port's number is as good for TCP.
	p := start(t, binary, "run", "--dir", filepath.Join(root, "n1"), "--metrics", address)
	awaitStatus(t, binary, root, "leader", whole)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/metrics", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	page, err := io.ReadAll(response.Body)
	if err != nil || !strings.Contains(string(page), `qpq_raft_leader{node="n1"} 1`) {
		t.Errorf("got %v, %s", err, page)
	}
	p.signal(t, syscall.SIGTERM)
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
}

// Mistakes get an answer that says what to do.
func TestMistakesAreExplained(t *testing.T) {
	binary := buildBinary(t)
	empty := t.TempDir()
	good := filepath.Join(empty, "good")
	port := freePorts(t, 1)[0]
	if out, err := exec.CommandContext(t.Context(), binary, "init", "--out", good, "--node", "n1="+port).CombinedOutput(); err != nil {
		t.Fatalf("init: %v\n%s", err, out)
	}
	for _, c := range []struct {
		name string
		args []string
		env  string
		want string
		code int
	}{
		{"status of nothing", []string{"status", "--dir", empty + "/none"}, "", "qpqd dev", 1},
		{"run without directory", []string{"run"}, "", "required flag", 1},
		{"run in an empty directory", []string{"run", "--dir", empty}, "", "qpqd init", 1},
		{"init over an old cluster", []string{"init", "--out", good, "--node", "n1=" + port}, "", "exists already", 1},
		{"init without nodes", []string{"init", "--out", empty + "/x"}, "", "--node n1=HOST:PORT", 1},
		{"init with a broken node", []string{"init", "--out", empty + "/x", "--node", "n1"}, "", "ID=HOST:PORT", 1},
		{"init with one id twice", []string{"init", "--out", empty + "/x", "--node", "a=h:1", "--node", "a=h:2"}, "", "twice", 1},
		{"bad log level", []string{"run", "--dir", good + "/n1", "--log-level", "loud"}, "", "debug, info, warn or error", 1},
		{"bad value in the environment", []string{"run", "--dir", good + "/n1"}, "QPQD_CACHE_MIB=lots", "QPQD_CACHE_MIB", 1},
		{"bad log store", []string{"run", "--dir", good + "/n1", "--log-store", "paper"}, "", "paper", 3},
		{"migrate to nowhere", []string{"migrate-log", "--dir", good + "/n1", "--to", "paper"}, "", "paper", 3},
		{"unknown command", []string{"fly"}, "", "unknown command", 1},
	} {
		cmd := exec.CommandContext(t.Context(), binary, c.args...)
		if c.env != "" {
			cmd.Env = append(os.Environ(), c.env)
		}
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != c.code || !strings.Contains(string(out), c.want) {
			t.Errorf("%s: %v, printed %q; want exit code %d and %q", c.name, err, out, c.code, c.want)
		}
	}
	file := filepath.Join(good, "n1", "node.toml")
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(raw, "hartbeat-timeout = \"1s\"\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), binary, "run", "--dir", good+"/n1").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "hartbeat-timeout") {
		t.Errorf("a misspelt setting must be refused by name, got %v, %q", err, out)
	}
}

// A node that may not read its directory, or what lies in it, says which file it
// is, and leaves everything as it was. Tests may run as root, whom nothing is
// forbidden: the node then runs as nobody.
func TestUnreadableDirectoryIsRefused(t *testing.T) {
	binary := buildBinary(t)
	out := filepath.Join(t.TempDir(), "cluster")
	if text, err := exec.CommandContext(t.Context(), binary, "init", "--out", out, "--node", "n1="+freePorts(t, 1)[0]).CombinedOutput(); err != nil {
		t.Fatalf("init: %v\n%s", err, text)
	}
	dir := filepath.Join(out, "n1")
	const nobody = 65534
	as := &syscall.SysProcAttr{}
	if os.Geteuid() == 0 {
		as.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
		// Down to the node's directory everybody may pass: it alone is in the way.
		for at := dir; at != os.TempDir() && at != "/"; at = filepath.Dir(at) {
			if err := os.Chmod(at, 0o711); err != nil {
				t.Fatal(err)
			}
		}
		chownAll(t, dir, nobody)
	}
	for _, c := range []struct{ name, file string }{
		{"the directory", "."},
		{"its settings", "node.toml"},
		{"its certificate", filepath.Join("tls", "node.pem")},
		{"the cluster's key", "cluster.key"},
		{"its store", "store"},
		{"its log", "raft"},
	} {
		file := filepath.Join(dir, c.file)
		before, err := os.Stat(file)
		if errors.Is(err, os.ErrNotExist) { // made by the first start
			if err := os.Mkdir(file, 0o700); err != nil {
				t.Fatal(err)
			}
			chownAll(t, file, nobody)
			before, err = os.Stat(file)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, 0); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), waitTime)
		cmd := exec.CommandContext(ctx, binary, "run", "--dir", dir)
		cmd.SysProcAttr = as
		text, err := cmd.CombinedOutput()
		cancel()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() <= 0 ||
			!strings.Contains(string(text), "permission denied") || !strings.Contains(string(text), file) ||
			strings.Contains(string(text), "panic") {
			t.Errorf("%s: %v, printed %q; want a refusal that names %s", c.name, err, text, file)
		}
		if after, err := os.Stat(file); err != nil || after.Mode().Perm() != 0 {
			t.Errorf("%s is not as it was: %v, %v", c.name, after, err)
		}
		if err := os.Chmod(file, before.Mode().Perm()); err != nil {
			t.Fatal(err)
		}
	}
}

// chownAll gives a tree to a user; only root can.
func chownAll(t *testing.T, root string, id int) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	if err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Chown(path, id, id))
	}); err != nil {
		t.Fatal(err)
	}
}
