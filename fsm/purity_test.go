package fsm

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// rules are the files in which state is decided. They may import nothing but
// what is listed, so they have no clock, no randomness, no disk, no network, no
// log and no locks; the rest of the package is machinery around them.
var rules = map[string][]string{
	"ids.go":           {"encoding/hex", "fmt", "quicproquo/schemas"},
	"commands.go":      {"quicproquo/schemas"},
	"decode.go":        {"fmt", "quicproquo/schemas"},
	"fastdecode.go":    {"encoding/binary", "quicproquo/schemas"},
	"queue.go":         {"quicproquo/schemas"},
	"expire.go":        {"encoding/binary", "fmt"},
	"runs.go":          {},
	"username.go":      {"crypto/sha256", "quicproquo/crypto/confusable"},
	"fields.go":        {"fmt"},
	"timers.go":        {"encoding/binary", pebblePath},
	"account.go":       {"crypto/sha256", "crypto/subtle", "quicproquo/crypto/confusable", "quicproquo/crypto/identity", "quicproquo/schemas"},
	"statement.go":     {"quicproquo/crypto/identity", "quicproquo/schemas"},
	"session.go":       {"quicproquo/schemas"},
	"login.go":         {"quicproquo/schemas"},
	"device.go":        {"bytes", "quicproquo/crypto/identity", "quicproquo/schemas"},
	"fanout.go":        {"quicproquo/schemas"},
	"channel.go":       {"bytes", "quicproquo/schemas"},
	"drain.go":         {"capnproto.org/go/capnp/v3", "quicproquo/schemas"},
	"secret.go":        {"quicproquo/schemas"},
	"accountdecode.go": {"fmt", "quicproquo/schemas"},
	"settings.go":      {"math", "quicproquo/schemas"},
	"result.go":        {"encoding/binary", "fmt", "quicproquo/schemas"},
	"keyspace.go":      {"encoding/binary", "quicproquo/schemas"},
	"keys.go":          {"bytes", "crypto/sha256", "encoding/binary", "quicproquo/schemas"},
	"purge.go":         {},
	"share.go":         {"fmt", "quicproquo/schemas"},
	"contact.go":       {"fmt", "quicproquo/schemas"},
	"group.go":         {"crypto/sha256", "crypto/subtle", "math", "quicproquo/schemas"},
	"groupquota.go":    {"fmt", "quicproquo/schemas"},
	"registration.go":  {"crypto/sha256", "quicproquo/schemas"},
	"refuse.go":        {"quicproquo/schemas"},
	"nodekey.go":       {"quicproquo/schemas"},
	"groupdecode.go":   {"fmt", "quicproquo/schemas"},
	"claim.go":         {"encoding/binary", "quicproquo/schemas"},
	"keysdecode.go":    {"fmt", "quicproquo/schemas"},
	"rows.go":          {"encoding/binary", "errors", "fmt"},
	"digest.go":        {"github.com/cespare/xxhash/v2"},
	"cache.go":         {},
	"stage.go":         {"bytes", "encoding/binary", "fmt", "slices", pebblePath},
	"dedupe.go":        {"fmt", "github.com/cespare/xxhash/v2", pebblePath, "quicproquo/schemas"},
	"tx.go":            {"bytes", "capnproto.org/go/capnp/v3", "errors", "fmt", pebblePath, "quicproquo/schemas", "slices"},
	"apply.go":         {"fmt", pebblePath, "quicproquo/internal/planted", "quicproquo/schemas"}, // planted is constants unless a build asks for faults
	"read.go":          {"encoding/binary", "errors", "fmt", "log/slog", pebblePath},
}

const pebblePath = "github.com/cockroachdb/pebble/v2"

// forbidden are imports that nothing in the package may have, machinery
// included: what they give must come from the log or from the caller.
var forbidden = map[string]string{
	"time":         "log time is the batch's stamp",
	"math/rand":    "ids and salts come from the proposer",
	"math/rand/v2": "ids and salts come from the proposer",
	"crypto/rand":  "ids and salts come from the proposer",
	"os":           "the file system is Options.FS, and there is no environment",
	"net":          "there is no network",
	"runtime":      "nothing may depend on the machine",
	"unsafe":       "nothing may depend on memory layout",
}

// The package reads no clock and no environment, draws no random numbers, starts
// no goroutine, and ranges over a map only where the order can't matter.
func TestPurity(t *testing.T) {
	files, err := filepath.Glob("*.go")
	must(t, err)
	fset := token.NewFileSet()
	var parsed []*ast.File
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		must(t, err)
		parsed = append(parsed, file)
		checkImports(t, name, file)
	}
	for name := range rules {
		if _, err := os.Stat(name); err != nil {
			t.Errorf("the list of rule files names %s: %v", name, err)
		}
	}
	info := typeCheck(fset, parsed)
	for _, file := range parsed {
		checkSyntax(t, fset, file, info)
	}
}

func checkImports(t *testing.T, name string, file *ast.File) {
	t.Helper()
	allowed, isRule := rules[name]
	for _, spec := range file.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		must(t, err)
		if why, bad := forbidden[path]; bad {
			t.Errorf("%s imports %s: %s", name, path, why)
		}
		if isRule && !contains(allowed, path) {
			t.Errorf("%s imports %s, which a file of rules has no need of", name, path)
		}
	}
}

func contains(list []string, one string) bool {
	for _, s := range list {
		if s == one {
			return true
		}
	}
	return false
}

// typeCheck finds out what is a map. Imports are not resolved: the package's own
// maps have types that it writes down itself.
func typeCheck(fset *token.FileSet, files []*ast.File) *types.Info {
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}}
	config := types.Config{Error: func(error) {}, Importer: noImports{}}
	_, _ = config.Check("fsm", fset, files, info)
	return info
}

type noImports struct{}

func (noImports) Import(path string) (*types.Package, error) {
	p := types.NewPackage(path, filepath.Base(path))
	p.MarkComplete()
	return p, nil
}

// mapRanges are the functions that may range over a map, and why.
var mapRanges = map[string]string{
	"wakeAll": "every watch gets the same signal; no state is touched",
}

func checkSyntax(t *testing.T, fset *token.FileSet, file *ast.File, info *types.Info) {
	t.Helper()
	for _, decl := range file.Decls {
		fn, _ := decl.(*ast.FuncDecl)
		ast.Inspect(decl, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s: the package starts no goroutines", fset.Position(n.Pos()))
			case *ast.RangeStmt:
				if isMap(info.Types[n.X].Type) && (fn == nil || mapRanges[fn.Name.Name] == "") {
					t.Errorf("%s: ranges over a map, whose order differs between nodes", fset.Position(n.Pos()))
				}
			case *ast.GenDecl:
				checkVariables(t, fset, n, fn)
			}
			return true
		})
	}
}

func isMap(typ types.Type) bool {
	if typ == nil {
		return false
	}
	_, ok := typ.Underlying().(*types.Map)
	return ok
}

// variables are the package's variables: tables that nobody writes to, and
// sentinels.
var variables = map[string]bool{
	"commands": true, "settingTable": true, "le": true, "errRow": true, "errBroken": true,
	"timerHandlers": true, "accountRemovers": true, "deviceRemovers": true,
	"ErrClosed": true, "ErrFormatVersion": true, "ErrDamaged": true, "errAbandoned": true,
}

func checkVariables(t *testing.T, fset *token.FileSet, decl *ast.GenDecl, fn *ast.FuncDecl) {
	t.Helper()
	if decl.Tok != token.VAR || fn != nil {
		return
	}
	for _, spec := range decl.Specs {
		for _, name := range spec.(*ast.ValueSpec).Names {
			if !variables[name.Name] {
				t.Errorf("%s: %s is a variable of the package: it would be shared by stores", fset.Position(name.Pos()), name.Name)
			}
		}
	}
}

// The purity test sees what it is there to see.
func TestPurityNoticesAMapRange(t *testing.T) {
	const source = "package fsm\nfunc f(m map[int]int, l []int) { for range m {}; for range l {} }"
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "x.go", source, 0)
	must(t, err)
	info := typeCheck(fset, []*ast.File{file})
	maps := 0
	ast.Inspect(file, func(n ast.Node) bool {
		if r, ok := n.(*ast.RangeStmt); ok && isMap(info.Types[r.X].Type) {
			maps++
		}
		return true
	})
	if maps != 1 {
		t.Errorf("found %d ranges over maps, want 1", maps)
	}
}
