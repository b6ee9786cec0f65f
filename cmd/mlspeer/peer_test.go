package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// client talks to one peer over the protocol and fails the test on unexpected answers.
type client struct {
	t *testing.T
	p *peer
}

func newClient(t *testing.T) *client {
	t.Helper()
	return &client{t, newPeer()}
}

func (c *client) send(request map[string]any) map[string]any {
	c.t.Helper()
	line, err := json.Marshal(request)
	if err != nil {
		c.t.Fatal(err)
	}
	var out bytes.Buffer
	if err := json.NewEncoder(&out).Encode(c.p.answer(line)); err != nil {
		c.t.Fatal(err)
	}
	answer := map[string]any{}
	if err := json.Unmarshal(out.Bytes(), &answer); err != nil {
		c.t.Fatal(err)
	}
	return answer
}

func (c *client) ok(op string, args map[string]any) map[string]any {
	c.t.Helper()
	request := map[string]any{"op": op}
	for k, v := range args {
		request[k] = v
	}
	answer := c.send(request)
	if answer["ok"] != true {
		c.t.Fatalf("%s: %v", op, answer["error"])
	}
	return answer
}

func (c *client) refused(op string, args map[string]any) {
	c.t.Helper()
	request := map[string]any{"op": op}
	for k, v := range args {
		request[k] = v
	}
	if answer := c.send(request); answer["ok"] != false || answer["error"] == "" {
		c.t.Fatalf("%s: want an error, got %v", op, answer)
	}
}

func agree(t *testing.T, clients ...*client) {
	t.Helper()
	want := clients[0].ok("state", nil)["epochAuthenticator"]
	for i, c := range clients[1:] {
		if got := c.ok("state", nil)["epochAuthenticator"]; got != want {
			t.Fatalf("client %d: epoch authenticator %v, want %v", i+1, got, want)
		}
	}
}

// With grease: false a key package, a group info and what follows have no GREASE value;
// without it capabilities have. Extensions of key packages never have one.
func TestPeerGREASE(t *testing.T) {
	isGREASE := func(v uint16) bool { return v&0x0f0f == 0x0a0a && v>>8 == v&0xff }
	for _, on := range []bool{true, false} {
		args := map[string]any{"suite": 1, "identity": "01"}
		if !on {
			args["grease"] = false
		}
		c := newClient(t)
		c.ok("init", args)
		raw, err := hex.DecodeString(c.ok("keyPackage", nil)["keyPackage"].(string))
		if err != nil {
			t.Fatal(err)
		}
		kp, err := keyPackageArg(raw)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range append(slices.Clone(kp.Extensions), kp.Leaf.Extensions...) {
			if isGREASE(uint16(e.Type)) {
				t.Errorf("grease %v: an extension of type 0x%04x", on, uint16(e.Type))
			}
		}
		l := kp.Leaf.Capabilities
		found := slices.ContainsFunc(l.Suites, isGREASE)
		for _, e := range l.Extensions {
			found = found || isGREASE(uint16(e))
		}
		for _, p := range l.Proposals {
			found = found || isGREASE(uint16(p))
		}
		for _, cr := range l.Credentials {
			found = found || isGREASE(uint16(cr))
		}
		if found != on {
			t.Errorf("grease %v: capabilities have GREASE: %v", on, found)
		}
		c.ok("create", map[string]any{"groupId": "aa"})
		again := newClient(t) // a saved peer stays as it was
		again.ok("load", map[string]any{"state": c.ok("save", nil)["state"]})
		for _, p := range []*client{c, again} {
			info, err := hex.DecodeString(p.ok("state", nil)["groupInfo"].(string))
			if err != nil {
				t.Fatal(err)
			}
			m, err := message.Parse(info)
			if err != nil {
				t.Fatal(err)
			}
			has := slices.ContainsFunc(m.GroupInfo.Extensions, func(e tree.Extension) bool { return isGREASE(uint16(e.Type)) })
			if has != on {
				t.Errorf("grease %v: the group info has GREASE: %v", on, has)
			}
		}
	}
}

// Every suite, over both wire formats: create, join, talk, update, save and load, join
// from outside, remove.
func TestPeerScript(t *testing.T) {
	for _, id := range append(suite.All(), 0x0053, 0x0054) {
		for _, wire := range []string{"public", "private"} {
			t.Run(fmt.Sprintf("0x%04x/%s", uint16(id), wire), func(t *testing.T) { script(t, id, wire) })
		}
	}
}

func script(t *testing.T, id suite.ID, wire string) {
	t.Helper()
	a, b, c := newClient(t), newClient(t), newClient(t)
	for i, x := range []*client{a, b, c} {
		x.ok("init", map[string]any{"suite": id, "identity": fmt.Sprintf("0%d", i), "wire": wire, "credentials": []int{1, 2}})
	}
	a.ok("create", map[string]any{"groupId": "aabb"})
	kp := b.ok("keyPackage", nil)["keyPackage"]
	added := a.ok("commit", map[string]any{"add": []any{kp}})
	b.ok("join", map[string]any{"welcome": added["welcome"]})
	agree(t, a, b)
	if kind := a.ok("process", map[string]any{"message": added["commit"]})["kind"]; kind != "echo" {
		t.Errorf("own commit: got %v, want echo", kind)
	}

	msg := b.ok("encrypt", map[string]any{"plaintext": "c0ffee", "aad": "01"})["message"]
	saved := a.ok("save", nil)["state"]
	a = newClient(t)
	a.ok("load", map[string]any{"state": saved})
	got := a.ok("process", map[string]any{"message": msg})
	if got["kind"] != "application" || got["plaintext"] != "c0ffee" || got["sender"] != 1.0 {
		t.Errorf("application message: got %v", got)
	}
	a.refused("process", map[string]any{"message": msg})

	commit := b.ok("commit", map[string]any{"update": true})
	a.ok("process", map[string]any{"message": commit["commit"]})
	agree(t, a, b)
	export := map[string]any{"label": "test", "context": "00", "length": 32}
	if x, y := a.ok("export", export)["secret"], b.ok("export", export)["secret"]; x != y {
		t.Errorf("exported: %v and %v", x, y)
	}

	join := c.ok("externalJoin", map[string]any{"groupInfo": commit["groupInfo"]})
	a.ok("process", map[string]any{"message": join["commit"]})
	b.ok("process", map[string]any{"message": join["commit"]})
	agree(t, a, b, c)

	proposal := b.ok("propose", map[string]any{"kind": "update"})["proposal"]
	a.ok("process", map[string]any{"message": proposal})
	c.ok("process", map[string]any{"message": proposal})
	byRef := c.ok("commit", nil)["commit"]
	a.ok("process", map[string]any{"message": byRef})
	b.ok("process", map[string]any{"message": byRef})
	agree(t, a, b, c)

	psk := []any{map[string]any{"id": "0102", "secret": strings.Repeat("07", 32)}}
	a.refused("process", map[string]any{"message": "00"})
	removed := a.ok("commit", map[string]any{"remove": []int{1}})["commit"]
	c.ok("process", map[string]any{"message": removed})
	b.ok("process", map[string]any{"message": removed})
	agree(t, a, c)
	b.refused("encrypt", map[string]any{"plaintext": "00"})
	b.refused("state", nil)
	withPSK := a.ok("commit", map[string]any{"psk": psk})["commit"]
	c.refused("process", map[string]any{"message": withPSK})
}

// The loop answers line by line and survives nonsense.
func TestServeAnswersEachLine(t *testing.T) {
	var out bytes.Buffer
	in := strings.NewReader("nonsense\n{\"op\":\"state\"}\n\n{\"op\":\"init\",\"suite\":1,\"identity\":\"00\",\"wire\":\"public\"}\n{\"op\":\"nothing\"}\n")
	if err := serve(in, &out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 4 || !strings.Contains(lines[2], `"ok":true`) {
		t.Errorf("got %d answers: %v", len(lines), lines)
	}
}
