package quicproquo_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// layers is the law of imports, from the top down: a package imports packages
// of lower layers only, never of its own layer or above. Every package has its
// place here by its full name; docs/architecture.md says what each is for.
var layers = []struct {
	name     string
	packages []string
}{
	// Each a program for us: it reads the code, imports none of it and is in no other program.
	{"tools", []string{"internal/importmap", "internal/slowest", "testcluster/mutants"}},
	{"programs", []string{"cmd/mlspeer", "cmd/qpq", "cmd/qpqchaos", "cmd/qpqconform", "cmd/qpqd", "cmd/qpqdemo"}},
	{"parts of programs", []string{"cmd/qpq/internal/bench", "cmd/qpq/internal/chat", "cmd/qpqchaos/internal/chaos", "cmd/qpqchaos/internal/crowd", "cmd/qpqconform/internal/conform", "cmd/qpqdemo/internal/demo"}},
	{"clusters of programs", []string{"cmd/internal/localcluster"}},
	{"helpers of programs", []string{
		"cmd/internal/keysource", "cmd/internal/node", "cmd/internal/settings", "cmd/qpq/internal/plain",
		"cmd/qpqchaos/internal/netns", "cmd/qpqchaos/internal/weakdisk", "cmd/qpqconform/internal/wire",
	}},
	{"referees of clients", []string{"testcluster/referee"}},
	{"attackers", []string{"testcluster/liar"}},
	{"test clusters", []string{"testcluster"}},
	{"parts of test clusters", []string{"testcluster/keypool", "testcluster/npm", "testcluster/roguemember", "testcluster/vectors"}},
	{"client server", []string{"rpc"}},
	{"node", []string{"cluster"}},
	{"parts of a node", []string{
		"cluster/clock", "cluster/datadir", "cluster/diskguard", "cluster/keyring", "cluster/mesh", "cluster/raftlog",
		"cluster/reference", "cluster/snapshot",
	}},
	{"store", []string{"fsm"}},
	{"client", []string{"client"}},
	{"parts of the client", []string{"client/conn", "client/content", "client/groupstate", "client/vault"}},
	{"helpers of the client", []string{
		"client/internal/crashpoint", "client/internal/pace", "client/internal/patience", "client/internal/resume",
		"client/internal/scripted", "client/internal/senders", "client/internal/turnstile",
	}},
	{"MLS members who lie", []string{"crypto/mls/rogue"}},
	{"MLS groups", []string{"crypto/mls"}},
	{"MLS messages", []string{"crypto/mls/message"}},
	{"MLS key schedule", []string{"crypto/mls/schedule"}},
	{"MLS trees", []string{"crypto/mls/tree"}},
	{"wire, addresses, cipher suites", []string{"crypto/suite", "nodeaddr", "schemas"}},
	{"foundations", []string{
		"crypto/account", "crypto/codec", "crypto/confusable", "crypto/identity", "crypto/mls/interop",
		"crypto/mls/rule", "crypto/mls/treemath", "crypto/tlsid", "happyeyeballs", "internal/await", "internal/process",
	}},
	// Constants, unless a build asks for faults.
	{"faults", []string{"internal/planted"}},
}

// forbidden are imports that the layers alone do not exclude.
var forbidden = []struct{ from, to, why string }{
	{"client", "quicproquo/fsm", "a client knows the wire, not the server"},
	{"client", "quicproquo/cluster", "a client knows the wire, not the server"},
	{"client", "quicproquo/rpc", "a client knows the wire, not the server"},
	{"rpc", "github.com/hashicorp/raft", "the client server knows no consensus"},
	{"rpc", "github.com/hashicorp/memberlist", "the client server knows no gossip"},
	{"cluster", "quicproquo/rpc", "a node does not know who calls"},
	{"crypto", "quicproquo/schemas", "crypto stands alone"},
	{"crypto", "quicproquo/happyeyeballs", "crypto stands alone"},
	{"fsm", "github.com/hashicorp/raft", "the store is a function of its entries"},
	{"fsm", "github.com/quic-go/quic-go", "the store has no network"},
	{"cmd/qpq", "quicproquo/testcluster/liar", "a node that lies is for tests"},
	{"cmd/qpqd", "quicproquo/testcluster/liar", "a node that lies is for tests"},
	{"client", "quicproquo/crypto/mls/rogue", "a member who lies is for tests"},
	{"cmd/qpq", "quicproquo/crypto/mls/rogue", "a member who lies is for tests"},
	{"", "capnproto.org/go/capnp/v3/rpc", "the RPC runtime must not face the network (docs/decisions/0002)"},
}

const module = "quicproquo/"

type goPackage struct {
	ImportPath string
	Imports    []string
}

// The packages that are built import downwards only (go list -json ./...).
func TestImportsGoDownwards(t *testing.T) {
	packages := listPackages(t)
	for _, wrong := range breaches(packages) {
		t.Error(wrong)
	}
	for _, l := range layers {
		for _, name := range l.packages {
			if !slices.ContainsFunc(packages, func(p goPackage) bool { return p.ImportPath == module+name }) {
				t.Errorf("layer %q names %s, which is no package: take it out of the table", l.name, name)
			}
		}
	}
}

// The law notices an import of a higher layer, one of the same layer, one that
// it names as forbidden, and a package that has no place.
func TestTheLawNoticesEachBreach(t *testing.T) {
	for name, broken := range map[string]goPackage{
		"up":          {module + "cluster", []string{module + "rpc"}},
		"same layer":  {module + "cluster/mesh", []string{module + "cluster/raftlog"}},
		"inside MLS":  {module + "crypto/mls/tree", []string{module + "crypto/mls/message"}},
		"forbidden":   {module + "crypto/mls", []string{module + "schemas"}},
		"the runtime": {module + "rpc", []string{"capnproto.org/go/capnp/v3/rpc"}},
		"no place":    {module + "cluster/attic", nil},
	} {
		if len(breaches([]goPackage{broken})) == 0 {
			t.Errorf("%s: %s importing %v is taken for lawful", name, broken.ImportPath, broken.Imports)
		}
	}
	if wrong := breaches([]goPackage{{module + "rpc", []string{module + "cluster", "fmt"}}}); len(wrong) != 0 {
		t.Errorf("an import downwards is refused: %v", wrong)
	}
}

// breaches are the imports that the law has no room for, one sentence each.
func breaches(packages []goPackage) []string {
	var wrong []string
	for _, p := range packages {
		from, ours := strings.CutPrefix(p.ImportPath, module)
		if !ours {
			continue // the root package has no code
		}
		own := layerOf(from)
		if own < 0 {
			wrong = append(wrong, from+" has no layer: give it a place in the table")
			continue
		}
		for _, imported := range p.Imports {
			if why := forbiddenFor(from, imported); why != "" {
				wrong = append(wrong, fmt.Sprintf("%s imports %s: %s", from, imported, why))
			}
			to, ours := strings.CutPrefix(imported, module)
			if !ours {
				continue
			}
			if layer := layerOf(to); layer >= 0 && layer <= own {
				wrong = append(wrong, fmt.Sprintf("%s (%s) imports %s (%s): imports go downwards only",
					from, layers[own].name, to, layers[layer].name))
			}
		}
	}
	return wrong
}

// layerOf is a package's place in the table, counted from the top, or -1.
func layerOf(path string) int {
	for i, l := range layers {
		if slices.Contains(l.packages, path) {
			return i
		}
	}
	return -1
}

func forbiddenFor(from, imported string) string {
	for _, f := range forbidden {
		inside := f.from == "" || from == f.from || strings.HasPrefix(from, f.from+"/")
		if inside && (imported == f.to || strings.HasPrefix(imported, f.to+"/")) {
			return f.why
		}
	}
	return ""
}

// links is what a program may contain besides Go itself: at most so many modules, and
// nothing of what is named (packages by the beginning of their path). A program that is
// made to attack or to test is in none that people run.
var links = []struct {
	program string
	modules int
	without []string
}{
	{"cmd/qpqd", 76, append([]string{
		"quicproquo/client", "quicproquo/crypto/mls/rogue", "quicproquo/testcluster",
		"github.com/ncruces/go-sqlite3", "github.com/zalando/go-keyring", "charm.land",
	}, testTools...)},
	{"cmd/qpq", 50, append(append([]string{"quicproquo/crypto/mls/rogue", "quicproquo/testcluster"}, server...), testTools...)},
	{"client", 25, append(append([]string{
		"quicproquo/cmd", "quicproquo/crypto/mls/rogue", "quicproquo/testcluster", "github.com/spf13", "charm.land",
	}, server...), testTools...)},
	{"cmd/qpqdemo", 81, append([]string{"quicproquo/crypto/mls/rogue", "quicproquo/testcluster"}, testTools...)},
}

// server is what a client has no use for.
var server = []string{
	"quicproquo/cluster", "quicproquo/fsm", "quicproquo/rpc", "github.com/hashicorp", "github.com/cockroachdb",
	"go.etcd.io", "github.com/prometheus", "capnproto.org/go/capnp/v3/rpc",
}

var testTools = []string{"pgregory.net/rapid", "github.com/anishathalye/porcupine", "github.com/hanwen/go-fuse", "github.com/vishvananda"}

// Each program contains what it needs and nothing else (go list -deps).
func TestWhatProgramsLink(t *testing.T) {
	t.Parallel()
	for _, l := range links {
		packages, modules := linked(t, l.program)
		if !slices.Contains(packages, "github.com/quic-go/quic-go") {
			t.Fatalf("%s does not contain quic-go: this tests nothing", l.program)
		}
		for _, p := range packages {
			for _, no := range l.without {
				if p == no || strings.HasPrefix(p, no+"/") {
					t.Errorf("%s contains %s", l.program, p)
				}
			}
		}
		if modules > l.modules {
			t.Errorf("%s is built of %d modules, at most %d are allowed", l.program, modules, l.modules)
		}
		t.Logf("%s: %d packages of %d modules besides this one", l.program, len(packages), modules)
	}
}

// linked returns a program's packages and how many modules besides this one they are of.
func linked(t *testing.T, program string) (packages []string, modules int) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{.ImportPath}} {{with .Module}}{{.Path}}{{end}}", "./"+program).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	seen := map[string]bool{"quicproquo": true}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		packages = append(packages, fields[0])
		if len(fields) > 1 && !seen[fields[1]] {
			seen[fields[1]] = true
			modules++
		}
	}
	return packages, modules
}

// The picture in docs/architecture.md shows what imports what today.
func TestPictureIsCurrent(t *testing.T) {
	t.Parallel()
	drawn, err := exec.CommandContext(t.Context(), "go", "run", "./internal/importmap").Output()
	if err != nil {
		t.Fatalf("draw it: %v", err)
	}
	kept, err := os.ReadFile("docs/architecture.svg")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(drawn, kept) {
		t.Error("docs/architecture.svg is not what the imports are now: run `make picture` and commit the result")
	}
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
