package fsm

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"quicproquo/schemas"
)

var nodeKeyChanges = map[string]schemas.ChangeNodeKey_Change{
	"bind": schemas.ChangeNodeKey_Change_bind, "replace": schemas.ChangeNodeKey_Change_replace,
	"forget": schemas.ChangeNodeKey_Change_forget, "deny": schemas.ChangeNodeKey_Change_deny,
	"allow": schemas.ChangeNodeKey_Change_allow, "later": 99,
}

// fillChangeNodeKey: node=n1 key=k change=bind, which is the default.
func (c *call) fillChangeNodeKey(tb testing.TB, cmd schemas.Entry_command) error {
	tb.Helper()
	p, err := cmd.NewChangeNodeKey()
	must(tb, err)
	p.SetChange(nodeKeyChanges[c.arg("change", "bind")])
	must(tb, p.SetNode(string(bodyBytes(tb, strings.Trim(c.arg("node", ""), "-")))))
	return p.SetKey(idBytes(tb, c.arg("key", "-"), schemas.NodeKeySize))
}

// nodeKeyLine is a command about keys of nodes, good or refused.
func nodeKeyLine(pick func(...string) string) string {
	return fmt.Sprintf("changeNodeKey node=%s key=%s change=%s", pick("n1", "n2", "n3", "n4", "-", "x*64"),
		pick("k1", "k2", "k3", "k4", "k5", "-", "!31"), pick("bind", "bind", "replace", "forget", "deny", "deny", "allow", "later"))
}

// showNodeKeys shows what readers see of nodes' keys.
func showNodeKeys(t *testing.T, v *View) string {
	t.Helper()
	k, err := v.NodeKeys()
	must(t, err)
	var out strings.Builder
	for _, list := range []struct {
		what string
		keys []NodeKey
	}{{"bound", k.Bound}, {"expected", k.Expected}, {"denied", k.Denied}} {
		for _, one := range list.keys {
			fmt.Fprintf(&out, "%s %s %s\n", list.what, one.Node, strings.TrimRight(string(one.Key[:]), "."))
		}
	}
	return out.String()
}

// Whatever was denied and bound, a majority of the members has keys that are let in, after
// every command; and who reads is told of every change.
func TestTheLastMajorityIsNeverDenied(t *testing.T) {
	s := openTest(t, testOptions(vfs.NewMem()))
	defer closeTest(t, s)
	n, stamp := 0, uint64(1_000_000)
	do := func(line string) Result {
		t.Helper()
		n++
		c := parseCall(t, line, n)
		results, err := s.Apply([]Log{seal(t, s.Index()+1, stamp, c.frame(t))})
		must(t, err)
		return results[0][0]
	}
	for members := 1; members <= 7; members++ {
		if r := do(fmt.Sprintf("changeNodeKey node=n%d key=k%d", members, members)); r.Code != schemas.Code_ok {
			t.Fatalf("bind the key of n%d: %s", members, r.Code.ID())
		}
		select {
		case <-s.NodeKeyChanges():
		default:
			t.Errorf("nobody is told of the key of n%d", members)
		}
		denied := 0
		for i := 1; i <= members; i++ {
			r := do(fmt.Sprintf("changeNodeKey key=k%d change=deny", i))
			switch {
			case r.Code == schemas.Code_ok:
				denied++
			case r.Code != schemas.Code_nodeKeyMajority || r.Value != uint64(members):
				t.Errorf("deny the key of n%d of %d: %s %d, want E088 %d", i, members, r.Code.ID(), r.Value, members)
			}
		}
		if want := (members - 1) / 2; denied != want {
			t.Errorf("of %d members %d could be denied, want %d", members, denied, want)
		}
		for i := 1; i <= members; i++ {
			do(fmt.Sprintf("changeNodeKey key=k%d change=allow", i))
		}
		for len(s.NodeKeyChanges()) > 0 {
			<-s.NodeKeyChanges()
		}
	}
}

// The cluster remembers a bounded number of keys, and of denials.
func TestNodeKeysAreBounded(t *testing.T) {
	s := openTest(t, testOptions(vfs.NewMem()))
	defer closeTest(t, s)
	for _, tt := range []struct {
		line  string
		limit uint64
	}{
		{"changeNodeKey node=n%d key=k%d", schemas.MaxNodeKeys},
		{"changeNodeKey key=d%d%.0d change=deny", schemas.MaxDeniedKeys},
	} {
		for i := range tt.limit + 1 {
			c := parseCall(t, fmt.Sprintf(tt.line, i, i), int(s.Index())+1)
			results, err := s.Apply([]Log{seal(t, s.Index()+1, 1_000_000, c.frame(t))})
			must(t, err)
			r := results[0][0]
			if i < tt.limit && r.Code != schemas.Code_ok || i == tt.limit && (r.Code != schemas.Code_listTooLong || r.Value != tt.limit) {
				t.Fatalf("%s, number %d: %s %d; want %d and then E071", tt.line, i, r.Code.ID(), r.Value, tt.limit)
			}
		}
	}
}
