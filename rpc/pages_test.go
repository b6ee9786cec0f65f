package rpc

import (
	"flag"
	"fmt"
	"go/ast"
	"go/constant"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"quicproquo/schemas"
)

var update = flag.Bool("update", false, "write docs/errors.md and docs/limits.md instead of comparing them")

// docs/errors.md is the code table, docs/limits.md the limits in the source:
// `go test ./rpc -run Page -update` writes them, this test keeps them current.
func TestErrorsPage(t *testing.T) {
	var page strings.Builder
	page.WriteString(`# Error codes

Generated from schemas/codes.capnp: ` + "`go test ./rpc -run Page -update`" + `. Append only: a code keeps its number, name and meaning for ever.

*Retry* is what a client may do (docs/protocol.md, "Repeating calls"):

- **never**: the same call fails again; mend the call.
- **elsewhere**: certainly not applied; repeat at once, on another node if there is one.
- **later**: not applied; repeat after a pause, retryAfterMs if it is set.
- **sameRequestId**: may have been applied; repeat only with the same request id.

| code | name | retry | what happened | what to do |
|---|---|---|---|---|
`)
	for _, doc := range schemas.Codes() {
		fmt.Fprintf(&page, "| %s | %s | %s | %s | %s |\n", doc.Code.ID(), doc.Name, doc.Retry, doc.Meaning, doc.Hint)
	}
	comparePage(t, "../docs/errors.md", page.String())
}

func TestLimitsPage(t *testing.T) {
	var page strings.Builder
	page.WriteString(`# Limits

Generated from the source: ` + "`go test ./rpc -run Page -update`" + `. Every limit is checked before memory is allocated for what it bounds.

## The protocol (schemas/limits.go)

| limit | value | what it bounds |
|---|---|---|
`)
	for _, row := range constants(t, "../schemas/limits.go") {
		page.WriteString(row)
	}
	page.WriteString(`
## A node towards its clients (rpc/limits.go)

| limit | value | what it bounds |
|---|---|---|
`)
	for _, row := range serverLimits(t) {
		page.WriteString(row)
	}
	page.WriteString(`
A connection's calls run OpenCalls at a time before login; further ones wait their turn, and their bytes wait in QUIC's flow control. A method's own limit is checked when the method is known:

| method | ordinal | needs a session | largest request | time if none is named | class |
|---|---|---|---|---|---|
`)
	for ordinal := range uint16(len(open)) {
		for needs, tab := range map[string]*table{"no": &open, "yes": &authenticated} {
			if m := tab.find(ordinal); m != nil {
				fmt.Fprintf(&page, "| %s | @%d | %s | %s | %v | %v |\n", m.name, ordinal, needs, size(int64(m.maxBytes)), m.timeout, tariffs[ordinal].class)
			}
		}
	}
	page.WriteString(`
### Rates (rpc/rates.go)

Each class of methods has a token bucket for each device (an account that acts without a device counts as one) and one for each IPv4 address or IPv6 /64. A call over a rate gets E013 RATE_LIMITED with retryAfterMs and is not charged. The address is charged before the caller is known, and given its token back when the device is over its own rate. At most ` +
		fmt.Sprint(limiterBuckets) + ` buckets of each kind are held; one that is full is forgotten. fanOut has a token for each recipient of a batchEnqueue or publishCommit, beside the call's own. The cluster limits failed logins of a name and claims of key packages besides (docs/settings.md), across its nodes.

| class | a device | an address |
|---|---|---|
`)
	for _, r := range DefaultRates() {
		fmt.Fprintf(&page, "| %v | %s | %s |\n", r.Class, rateText(r.Device), rateText(r.Address))
	}
	page.WriteString(`
## The client library (client/limits.go)

| limit | value | what it bounds |
|---|---|---|
`)
	for _, row := range constants(t, "../client/limits.go") {
		page.WriteString(row)
	}
	comparePage(t, "../docs/limits.md", page.String())
}

func comparePage(t *testing.T, path, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("%s is not what the source says; run `go test ./rpc -run Page -update` (-want +got):\n%s", path, diff)
	}
}

// constants returns a table row for each constant of a file, which must import
// nothing but the standard library.
func constants(t *testing.T, path string) []string {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	checker := types.Config{Importer: importer.ForCompiler(fset, "source", nil)}
	pkg, err := checker.Check(file.Name.Name, fset, []*ast.File{file}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, decl := range file.Decls {
		group, ok := decl.(*ast.GenDecl)
		if !ok || group.Tok != token.CONST {
			continue
		}
		about := ""
		for _, spec := range group.Specs {
			value, ok := spec.(*ast.ValueSpec)
			if !ok {
				continue
			}
			if value.Doc != nil {
				about = oneLine(value.Doc.Text()) // holds for the lines that follow, too
			}
			name := value.Names[0].Name
			c, ok := pkg.Scope().Lookup(name).(*types.Const)
			if !ok {
				t.Fatalf("%s: %s is no constant", path, name)
			}
			rows = append(rows, fmt.Sprintf("| %s | %s | %s |\n", name, constantText(t, c, about), about))
		}
	}
	return rows
}

func constantText(t *testing.T, c *types.Const, about string) string {
	t.Helper()
	n, exact := constant.Int64Val(constant.ToInt(c.Val()))
	if !exact {
		t.Fatalf("%s is not an integer", c.Name())
	}
	switch {
	case c.Type().String() == "time.Duration":
		return time.Duration(n).String()
	case strings.Contains(about, "bytes") || strings.HasSuffix(c.Name(), "Bytes"):
		return size(n)
	}
	return fmt.Sprint(n)
}

// size writes a number of bytes for people.
func size(n int64) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}

// rateText writes a rate for people.
func rateText(r Rate) string {
	switch {
	case r.unlimited():
		return "–"
	case r.Every > time.Second:
		return fmt.Sprintf("%d at once, then one in %v", r.Burst, r.Every)
	}
	return fmt.Sprintf("%d at once, then %d a second", r.Burst, time.Second/r.Every)
}

// serverLimits are the fields of Limits with their defaults and comments.
func serverLimits(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "limits.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	defaults := reflect.ValueOf(DefaultLimits())
	var rows []string
	ast.Inspect(file, func(n ast.Node) bool {
		fields, ok := n.(*ast.StructType)
		if !ok || len(rows) > 0 {
			return true
		}
		for _, field := range fields.Fields.List {
			about := oneLine(field.Doc.Text())
			for _, name := range field.Names {
				if name.Name == "Rates" {
					continue // a table of its own
				}
				value := defaults.FieldByName(name.Name).Interface()
				text := fmt.Sprint(value)
				if n, is := value.(int64); is {
					text = size(n)
				}
				rows = append(rows, fmt.Sprintf("| %s | %s | %s |\n", name.Name, text, about))
			}
		}
		return false
	})
	return rows
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
