package main_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quicproquo/client/conn"
	"quicproquo/crypto/account"
	"quicproquo/fsm"
	"quicproquo/schemas"
)

// An operator decides who registers, from a node's directory, while the cluster runs: by
// invitation, with tokens that it makes and takes back. What is misspelt, or out of range,
// is refused with a sentence.
func TestOperatorDecidesWhoRegisters(t *testing.T) {
	t.Parallel()
	binary := buildBinary(t)
	root := filepath.Join(t.TempDir(), "cluster")
	address := freePorts(t, 1)[0]
	if out, err := exec.CommandContext(t.Context(), binary, "init", "--out", root, "--node", "n1="+address).CombinedOutput(); err != nil {
		t.Fatalf("init: %v\n%s", err, out)
	}
	start(t, binary, "run", "--dir", filepath.Join(root, "n1"), "--listen", address)
	awaitStatus(t, binary, root, "leader", func(members []member) bool { return count(members, "leader") == 1 })
	qpqd := func(args ...string) (string, error) {
		out, err := exec.CommandContext(t.Context(), binary, append(args, "--dir", root)...).CombinedOutput()
		return string(out), err
	}
	// The leader raises the rules to this build's within seconds.
	for deadline := time.Now().Add(waitTime); ; {
		out, err := qpqd("set", "registration=token", "registration_burst=7")
		if err == nil {
			if out != "registration\t1\nregistration_burst\t7\n" {
				t.Errorf("set says %q", out)
			}
			break
		}
		if !strings.Contains(out, "E040") || time.Now().After(deadline) {
			t.Fatalf("set: %v\n%s", err, out)
		}
	}
	if out, err := qpqd("settings"); err != nil || !strings.Contains(strings.Join(strings.Fields(out), " "), " registration 1 (token) * 0 0, 1 or 2 registration_burst 7 * 1000 accounts registration_hourly 1000 1000 ") || strings.Count(out, "\n") != len(fsm.Settings())+3 {
		t.Errorf("settings: %v\n%s; want every setting, and what was set", err, out)
	}
	if out, err := qpqd("settings", "--json"); err != nil || !strings.Contains(out, `{"name":"registration_burst","value":7,"default":1000,"unit":"accounts"}`) {
		t.Errorf("settings --json: %v\n%s; want what was set", err, out)
	}
	for _, c := range []struct{ args, want string }{
		{"set registratoin=open", "no cluster setting of this name"},
		{"set registration=3", "want a number from 0 to 2"},
		{"set registration", "write NAME=VALUE"},
		{"set feature_level=1", "the leader raises it by itself"},
		{"invite --uses 0", "--uses 1 to 10000"},
		{"invite --end x", "this is no invite token"},
		{"invite --for 99999h", "E084 INVITE_TERMS"},
		{"invite --end aaaaaaaaaaaaaaaaaaaaaaaaaa", "E083 INVITE_INVALID"},
	} {
		if out, err := qpqd(strings.Fields(c.args)...); err == nil || !strings.Contains(out, c.want) {
			t.Errorf("qpqd %s: %v\n%s; want %q", c.args, err, out, c.want)
		}
	}
	invite := func(args ...string) account.Invite {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), binary, append([]string{"invite", "--dir", root}, args...)...).Output()
		if err != nil {
			t.Fatalf("invite: %v", err)
		}
		token, err := account.ParseInvite(string(out))
		if err != nil {
			t.Fatalf("invite printed %q: %v", out, err)
		}
		return token
	}
	c := newClient(t, binary, root)
	ctx, cancel := context.WithTimeout(t.Context(), waitTime)
	defer cancel()
	password := func() []byte { return []byte("a password of some length") }
	ended := invite()
	if out, err := qpqd("invite", "--end", ended.Text()); err != nil {
		t.Fatalf("take a token back: %v\n%s", err, out)
	}
	if err := c.Register(ctx, "alice", password()); !conn.Is(err, schemas.Code_inviteRequired) {
		t.Errorf("without a token: %v, want E082", err)
	}
	if err := c.RegisterInvited(ctx, "alice", password(), ended); !conn.Is(err, schemas.Code_inviteInvalid) {
		t.Errorf("with a token that was taken back: %v, want E083", err)
	}
	if err := c.RegisterInvited(ctx, "alice", password(), invite()); err != nil {
		t.Errorf("with a token: %v", err)
	}
	if _, _, err := c.CreateInvite(ctx, 1, 0); !conn.Is(err, schemas.Code_notPermitted) {
		t.Errorf("a member invites where none may: %v, want E047", err)
	}
}
