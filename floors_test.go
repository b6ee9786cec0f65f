package quicproquo_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// floors is the law of the house: a package imports lower floors only, never
// its own floor or up. The longest matching prefix counts. docs/architecture.md
// says what each floor is for.
var floors = map[string]float64{
	"cmd": 6,
	// The rooms under cmd: what both programs use, then those of qpq.
	"cmd/internal":                   5.2,
	"cmd/qpq/internal":               5.5,
	"cmd/qpq/internal/plain":         5.3,
	"cmd/qpqchaos/internal":          5.5,
	"cmd/qpqchaos/internal/netns":    5.3,
	"cmd/qpqchaos/internal/weakdisk": 5.3,
	"testcluster":                    5,
	"testcluster/liar":               5.1,
	"testcluster/mutants":            0.1, // a tool of its own: it reads the code and imports none of it
	"testcluster/npm":                0.1, // as alone as that
	"testcluster/vectors":            0.1, // and that
	"rpc":                            4,
	"cluster":                        3,
	// The rooms under cluster, each usable alone.
	"cluster/mesh":      2.5,
	"cluster/raftlog":   2.5,
	"cluster/snapshot":  2.5,
	"cluster/reference": 2.5,
	"cluster/datadir":   2.5,
	"cluster/diskguard": 2.5,
	"cluster/clock":     2.5,
	"fsm/planted":       0.5,
	"fsm":               2,
	"client":            2,
	// The rooms under client, each usable alone.
	"client/content":  1.5,
	"client/room":     1.5,
	"client/vault":    1.5,
	"client/internal": 1.2,
	"schemas":         1,
	"happyeyeballs":   1,
	"crypto":          1,
}

// forbidden are imports that a floor alone does not exclude.
var forbidden = []struct{ from, to, why string }{
	{"client", "quicproquo/fsm", "a client knows the wire, not the server"},
	{"client", "quicproquo/cluster", "a client knows the wire, not the server"},
	{"client", "quicproquo/rpc", "a client knows the wire, not the server"},
	{"rpc", "github.com/hashicorp/raft", "the front door knows no consensus"},
	{"rpc", "github.com/hashicorp/memberlist", "the front door knows no gossip"},
	{"cluster", "quicproquo/rpc", "a node does not know who calls"},
	{"crypto", "quicproquo/schemas", "crypto stands alone"},
	{"fsm", "github.com/hashicorp/raft", "the store is a function of its entries"},
	{"fsm", "github.com/quic-go/quic-go", "the store has no network"},
	{"cmd/qpq", "quicproquo/testcluster/liar", "a node that lies is for tests"},
	{"cmd/qpqd", "quicproquo/testcluster/liar", "a node that lies is for tests"},
	{"client", "quicproquo/crypto/mls/rogue", "a member who lies is for tests"},
	{"cmd/qpq", "quicproquo/crypto/mls/rogue", "a member who lies is for tests"},
	{"", "capnproto.org/go/capnp/v3/rpc", "the RPC runtime must not face the network (docs/decisions/0002)"},
}

type goPackage struct {
	ImportPath string
	Imports    []string
}

// The packages that are built import downwards only (go list -json ./...).
func TestImportsGoDownwards(t *testing.T) {
	const module = "quicproquo/"
	for _, p := range listPackages(t) {
		from, ok := strings.CutPrefix(p.ImportPath, module)
		if !ok {
			continue // the root package has no code
		}
		own, known := floorOf(from)
		if !known {
			t.Errorf("%s stands on no floor: add it to the table", from)
		}
		for _, imported := range p.Imports {
			checkForbidden(t, from, imported)
			to, ours := strings.CutPrefix(imported, module)
			if !ours || (strings.HasPrefix(from, "crypto/") && strings.HasPrefix(to, "crypto/")) {
				continue // the layers inside crypto are held by their own package graph
			}
			if floor, _ := floorOf(to); floor >= own {
				t.Errorf("%s (floor %v) imports %s (floor %v): imports go downwards only", from, own, to, floor)
			}
		}
	}
}

// What people run contains nothing that is made to attack or to test it
// (go list -deps).
func TestProgramsContainNoAttacker(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "./cmd/qpq", "./cmd/qpqd").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	linked := strings.Fields(string(out))
	if !slices.Contains(linked, "quicproquo/crypto/mls") {
		t.Fatal("qpq does not contain crypto/mls: this tests nothing")
	}
	for _, attacker := range []string{"quicproquo/crypto/mls/rogue", "quicproquo/testcluster/roguemember"} {
		if slices.Contains(linked, attacker) {
			t.Errorf("qpq or qpqd contains %s, which is for tests only", attacker)
		}
	}
}

func checkForbidden(t *testing.T, from, imported string) {
	t.Helper()
	for _, f := range forbidden {
		if imported == "quicproquo/fsm/planted" {
			continue // names of faults: without the tag of that name no code
		}
		inside := f.from == "" || from == f.from || strings.HasPrefix(from, f.from+"/")
		if inside && (imported == f.to || strings.HasPrefix(imported, f.to+"/")) {
			t.Errorf("%s imports %s: %s", from, imported, f.why)
		}
	}
}

func floorOf(path string) (float64, bool) {
	best, floor := -1, 0.0
	for prefix, f := range floors {
		if (path == prefix || strings.HasPrefix(path, prefix+"/")) && len(prefix) > best {
			best, floor = len(prefix), f
		}
	}
	return floor, best >= 0
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatalf("read go list: %v", err)
		}
		packages = append(packages, p)
	}
}
