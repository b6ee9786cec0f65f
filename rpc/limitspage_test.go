package rpc

import (
	"errors"
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"reflect"
	"strings"
	"testing"
	"time"

	"quicproquo/schemas"
)

// docs/limits.md lists every limit in the source, and schemas.Limits has those of
// the protocol, with their values.
func TestLimitsPage(t *testing.T) {
	var page strings.Builder
	page.WriteString(`# Limits

Generated from the source: ` + "`go test ./rpc -run Page -update`" + `. Every limit is checked before memory is allocated for what it bounds. ` + "`/metrics`" + ` of a node shows them as ` + "`qpq_limit{name=...}`" + ` (docs/operations.md); those that the cluster's nodes share, and that an operator changes while it runs, are its settings: [settings.md](settings.md).
`)
	section(&page, "The protocol (schemas/limits.go)", constants(t, "../schemas/limits.go"))
	section(&page, "A node towards its clients (rpc/limits.go)", serverLimits(t))
	page.WriteString(`
A connection's calls run OpenCalls at a time before login; further ones wait their turn, and their bytes wait in QUIC's flow control. A method's own limit is checked when the method is known:

| method | ordinal | needs a session | largest request | time if none is named | class |
|---|---|---|---|---|---|
`)
	for ordinal := range uint16(len(open)) {
		for needs, tab := range map[string]*table{"no": &open, "yes": &authenticated} {
			if m := tab.find(ordinal); m != nil {
				fmt.Fprintf(&page, "| %s | @%d | %s | %s | %v | %v |\n", m.name, ordinal, needs, size(int64(m.maxBytes)), m.timeout, m.class)
			}
		}
	}
	page.WriteString(ratesIntroduction)
	for _, r := range DefaultRates() {
		fmt.Fprintf(&page, "| %v | %s | %s |\n", r.Class, rateText(r.Device), rateText(r.Address))
	}
	section(&page, "A node's port towards strangers (cluster/mesh)",
		append(constants(t, "../cluster/mesh/options.go"), constants(t, "../cluster/mesh/admission.go")...))
	page.WriteString(`
What QUIC's library lets a server choose, and what not: [decision 0090](decisions/0090-limits-of-strangers.md).
`)
	section(&page, "A node in its cluster (cluster/limits.go)", constants(t, "../cluster/limits.go"))
	section(&page, "The client library (client/conn/limits.go)", constants(t, "../client/conn/limits.go"))
	comparePage(t, "../docs/limits.md", page.String())

	listed := map[string]float64{}
	for _, l := range schemas.Limits() {
		listed[l.Name] = l.Value
	}
	for _, row := range constants(t, "../schemas/limits.go") {
		if value, ok := listed[row.name]; ast.IsExported(row.name) && (!ok || value != row.value) {
			t.Errorf("schemas.Limits has %s as %v (%v), the source as %v", row.name, value, ok, row.value)
		}
		delete(listed, row.name)
	}
	if len(listed) > 0 {
		t.Errorf("schemas.Limits has limits that are not in the source: %v", listed)
	}
}

const ratesIntroduction = `
### Rates (rpc/rates.go)

Each class of methods has a token bucket for each device (an account that acts without a device counts as one) and one for each IPv4 address or IPv6 /64. A call over a rate gets E013 RATE_LIMITED with retryAfterMs and is not charged. The address is charged before the caller is known, and given its token back when the device is over its own rate. fanOut has a token for each recipient of a batchEnqueue or publishCommit, beside the call's own; stall one for each request of more than 4 KiB while it arrives, which is given back when it has arrived and not when it stalls: of the account on a connection with a session, of the address on others. At most 262,144 buckets of each kind are held, 10 MiB; one that is full again is forgotten.

The cluster limits failed logins of a name and claims of key packages besides, across its nodes.

| class | a device | an address |
|---|---|---|
`

func section(page *strings.Builder, title string, rows []limitRow) {
	fmt.Fprintf(page, "\n## %s\n\n| limit | value | what it bounds |\n|---|---|---|\n", title)
	for _, r := range rows {
		fmt.Fprintf(page, "| %s | %s | %s |\n", r.name, r.text, r.about)
	}
}

// limitRow is one limit: its value in pieces, bytes or seconds, and for people.
type limitRow struct {
	name, text, about string
	value             float64
}

// constants returns a row for each numeric constant of a file.
func constants(t *testing.T, path string) (rows []limitRow) {
	t.Helper()
	fset := token.NewFileSet()
	file, pkg := checkFile(t, fset, path, nil)
	for _, decl := range file.Decls {
		group, ok := decl.(*ast.GenDecl)
		if !ok || group.Tok != token.CONST {
			continue
		}
		about := oneLine(group.Doc.Text())
		for _, spec := range group.Specs {
			value, ok := spec.(*ast.ValueSpec)
			if !ok {
				continue
			}
			if value.Doc != nil {
				about = oneLine(value.Doc.Text()) // holds for the lines that follow, too
			}
			if value.Comment != nil {
				about = oneLine(value.Comment.Text())
			}
			for _, name := range value.Names {
				if c, ok := pkg.Scope().Lookup(name.Name).(*types.Const); ok {
					rows = append(rows, constantRow(t, c, about))
				}
			}
		}
	}
	return rows
}

// checkFile finds the values of a file's constants without its imports, of which
// only package time and the limits of schemas count. source is nil, or the file.
func checkFile(t *testing.T, fset *token.FileSet, path string, source any) (*ast.File, *types.Package) {
	t.Helper()
	file, err := parser.ParseFile(fset, path, source, parser.ParseComments)
	must(t, err)
	checker := types.Config{
		Error: func(error) {}, // of what the rest of the file needs
		Importer: importerFunc(func(name string) (*types.Package, error) {
			switch name {
			case "quicproquo/schemas":
				_, pkg := checkFile(t, token.NewFileSet(), "../schemas/limits.go", nil)
				return pkg, nil
			case "time":
				_, pkg := checkFile(t, token.NewFileSet(), "time.go", packageTime)
				return pkg, nil
			}
			return nil, errors.New("not needed")
		}),
	}
	pkg, _ := checker.Check(file.Name.Name, fset, []*ast.File{file}, nil)
	return file, pkg
}

// packageTime is what limits use of package time: the real one takes a second to
// check.
const packageTime = `package time

type Duration int64

const (
	Nanosecond  Duration = 1
	Microsecond          = 1000 * Nanosecond
	Millisecond          = 1000 * Microsecond
	Second               = 1000 * Millisecond
	Minute               = 60 * Second
	Hour                 = 60 * Minute
)
`

type importerFunc func(string) (*types.Package, error)

func (f importerFunc) Import(path string) (*types.Package, error) { return f(path) }

func constantRow(t *testing.T, c *types.Const, about string) limitRow {
	t.Helper()
	value, _ := constant.Float64Val(constant.ToFloat(c.Val()))
	row := limitRow{name: c.Name(), about: about, value: value, text: fmt.Sprint(value)}
	n, isInt := constant.Int64Val(constant.ToInt(c.Val()))
	switch {
	case c.Val().Kind() == constant.Unknown:
		t.Fatalf("the value of %s can't be found without its imports", c.Name())
	case c.Type().String() == "time.Duration":
		row.value, row.text = time.Duration(n).Seconds(), time.Duration(n).String()
	case strings.Contains(about, "bytes") || strings.HasSuffix(c.Name(), "Bytes") || strings.Contains(c.Name(), "Window"):
		row.text = size(n)
	case isInt:
		row.text = fmt.Sprint(n)
	}
	return row
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

// serverLimits are the fields of Limits with their defaults and comments, but
// for Rates, which has a table of its own.
func serverLimits(t *testing.T) (rows []limitRow) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "limits.go", nil, parser.ParseComments)
	must(t, err)
	defaults := reflect.ValueOf(DefaultLimits())
	ast.Inspect(file, func(n ast.Node) bool {
		fields, ok := n.(*ast.StructType)
		if !ok || len(rows) > 0 {
			return true
		}
		for _, field := range fields.Fields.List {
			for _, name := range field.Names {
				value := defaults.FieldByName(name.Name).Interface()
				row := limitRow{name: name.Name, text: fmt.Sprint(value), about: oneLine(field.Doc.Text())}
				switch value := value.(type) {
				case Rates:
					continue
				case int64:
					row.text = size(value)
				}
				rows = append(rows, row)
			}
		}
		return false
	})
	return append(rows, constants(t, "limits.go")...)
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
