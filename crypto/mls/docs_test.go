package mls

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"quicproquo/crypto/mls/rule"
)

const rulesDocument = "../../docs/rfc9420.md"

// enforcers returns, for the name of each rule, the functions that name it.
func enforcers(tb testing.TB) map[string][]string {
	tb.Helper()
	out := map[string][]string{}
	for _, dir := range []string{".", "message", "schedule", "tree"} {
		for _, path := range must(filepath.Glob(dir + "/*.go"))(tb) {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			file := must(parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution))(tb)
			for _, d := range file.Decls {
				f, ok := d.(*ast.FuncDecl)
				if !ok {
					continue
				}
				where := fmt.Sprintf("`%s` (%s)", f.Name.Name, path)
				ast.Inspect(f, func(n ast.Node) bool {
					if s, ok := n.(*ast.SelectorExpr); ok {
						if x, ok := s.X.(*ast.Ident); ok && x.Name == "rule" && !slices.Contains(out[s.Sel.Name], where) {
							out[s.Sel.Name] = append(out[s.Sel.Name], where)
						}
					}
					return true
				})
			}
		}
	}
	return out
}

// rulesTable is the table of rules as the code has it.
func rulesTable(tb testing.TB) string {
	tb.Helper()
	where := enforcers(tb)
	var b strings.Builder
	b.WriteString("| rule | § | what must hold | enforced in |\n|---|---|---|---|\n")
	for _, r := range rule.All() {
		section := strings.Replace(r.Section(), "draft-ietf-mls-extensions §", "draft ", 1)
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r, strings.TrimPrefix(section, "RFC 9420 §"), r.Text(), strings.Join(where[r.String()], ", "))
	}
	return b.String()
}

// The document's table of rules is the code's: every rule, what it says, and every
// function that enforces it. QPQ_UPDATE_DOCS=1 writes it.
func TestRulesTableIsTrue(t *testing.T) {
	text := string(must(os.ReadFile(rulesDocument))(t))
	before, table, found := strings.Cut(text, "| rule | § |")
	if !found {
		t.Fatal("the document has no table of rules")
	}
	got, want := "| rule | § |"+table, rulesTable(t)
	if os.Getenv("QPQ_UPDATE_DOCS") != "" {
		if err := os.WriteFile(rulesDocument, []byte(before+want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have := strings.Split(strings.TrimSpace(got), "\n")
	for _, line := range strings.Split(strings.TrimSpace(want), "\n") {
		if !slices.Contains(have, line) {
			t.Errorf("the document lacks %s", line)
		}
		have = slices.DeleteFunc(have, func(l string) bool { return l == line })
	}
	for _, line := range have {
		t.Errorf("the document has, but the code does not: %s", line)
	}
}
