package testcluster_test

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quicproquo/client/conn"
	"quicproquo/cluster"
	"quicproquo/testcluster"
	"quicproquo/testcluster/npm"
)

// The client in JavaScript was written from docs/protocol.md and the schemas, on other
// implementations of QUIC, TLS and Argon2id: what it does shows that these are enough.
const javaScriptClient = "../docs/clients/js"

// addressOf is what a client is given: nodes and the pin.
func addressOf(t *testing.T, c *testcluster.Cluster, nodes ...*testcluster.Node) string {
	t.Helper()
	secrets, err := cluster.LoadSecrets(nodes[0].Dir())
	fatal(t, err)
	var endpoints []string
	for _, n := range nodes {
		endpoints = append(endpoints, n.Address())
	}
	pin := secrets.Identity.Pin()
	return "qpq://" + strings.Join(endpoints, ",") + "?pin=sha256:" + hex.EncodeToString(pin[:])
}

func javaScript(t *testing.T, folder, script string, arguments ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(within(t, 2*time.Minute), "node", append([]string{script}, arguments...)...)
	cmd.Dir, cmd.Stderr = folder, os.Stderr
	return cmd
}

// What its README shows is what it prints.
func TestJavaScriptClient(t *testing.T) {
	folder := javaScriptFolder(t)
	c := testcluster.StartT(t, testcluster.Options{})
	c.LeaderT(t)
	out, err := javaScript(t, folder, "talk.mjs", addressOf(t, c, c.Nodes()...)).Output()
	if err != nil {
		t.Fatalf("node talk.mjs: %v\n%s", err, out)
	}
	readme, err := os.ReadFile(javaScriptClient + "/README.md")
	fatal(t, err)
	if !strings.Contains(string(readme), "```\n"+string(out)+"```") {
		t.Errorf("its README does not show what it printed:\n%s", out)
	}
}

// It talks with a client in Go, though the first node that it was told of is dead.
func TestJavaScriptClientTalksWithGo(t *testing.T) {
	folder := javaScriptFolder(t)
	c := testcluster.StartT(t, testcluster.Options{})
	dead, living := c.FollowersT(t)[0], c.LeaderT(t)
	gopher := newPerson(t, "gopher")
	caller := connect(t, c, living)
	register(t, caller, gopher)
	_, _, err := caller.Login(within(t, time.Minute), gopher.credentials())
	fatal(t, err)
	fatal(t, dead.Kill())

	cmd := javaScript(t, folder, "answer.mjs", addressOf(t, c, dead, living), "js", "gopher")
	printed, err := cmd.StdoutPipe()
	fatal(t, err)
	fatal(t, cmd.Start())
	if line, err := bufio.NewReader(printed).ReadString('\n'); err != nil || line != "waiting\n" {
		t.Fatalf("answer.mjs prints %q (%v), expected that it waits", line, err)
	}
	ctx := within(t, time.Minute)
	js, err := caller.ResolveUser(ctx, "js")
	fatal(t, err)
	channel, wasNew, err := caller.CreateChannel(ctx, js)
	if err != nil || wasNew {
		t.Fatalf("the channel that JavaScript made: new %t, %v", wasNew, err)
	}
	_, err = caller.Enqueue(ctx, conn.Message{To: js, Channel: channel, Payload: []byte("hello from Go")})
	fatal(t, err)
	list, err := caller.FetchWait(ctx, conn.Read{Queue: conn.Queue{Channel: channel}}, time.Minute)
	if err != nil || len(list) != 1 || string(list[0].Data) != "you said: hello from Go" {
		t.Errorf("got %v (%v), expected the answer from JavaScript", list, err)
	}
	fatal(t, cmd.Wait())
}

// A node of another cluster, or whoever has none of this cluster's certificates, is not
// talked to.
func TestJavaScriptClientRefusesAnotherCluster(t *testing.T) {
	folder := javaScriptFolder(t)
	c := testcluster.StartT(t, testcluster.Options{Nodes: 1})
	c.LeaderT(t)
	address := addressOf(t, c, c.Nodes()...)
	other := sha256.Sum256([]byte("another cluster's key"))
	at := strings.Index(address, "sha256:") + len("sha256:")
	script := "import { Client } from './qpq.mjs'; const c = new Client(process.argv[1]); c.tries = 1;" +
		"try { await c.call('health', {}); console.log('answered') } catch (e) { console.log('refused') } finally { await c.close() }"
	for _, tt := range []struct{ address, want string }{
		{address, "answered\n"},
		{address[:at] + hex.EncodeToString(other[:]), "refused\n"},
	} {
		out, err := javaScript(t, folder, "--input-type=module", "--eval", script, tt.address).Output()
		if err != nil || string(out) != tt.want {
			t.Errorf("with %s: %q (%v), expected %q", tt.address, out, err, tt.want)
		}
	}
}

// Its parts make the bytes of docs/vectors.json, which the parts in Go have made.
func TestJavaScriptClientMakesTheVectors(t *testing.T) {
	cmd := javaScript(t, javaScriptFolder(t), "--test", "vectors.test.mjs")
	page, err := filepath.Abs("../docs/vectors.json")
	fatal(t, err)
	cmd.Stderr, cmd.Env = nil, append(os.Environ(), "QPQ_VECTORS="+page)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "# pass 4\n") {
		t.Errorf("%v, expected that 4 tests pass:\n%s", err, out)
	}
}

func javaScriptFolder(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("the client is another process: go test without -short runs it, the race detector has nothing to see")
	}
	t.Parallel()
	return npm.Folder(t, javaScriptClient)
}
