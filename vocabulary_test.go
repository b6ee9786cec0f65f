package quicproquo_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// metaphors are words that stood for things that have a name of their own.
var metaphors = regexp.MustCompile(`(?i)\b(door|doors|stranger|strangers|guest|guests|wish|wishes|wished|moot|anew|for ever|tells? whether|polite|the house|are dear|hears? of|walk of)\b`)

// spoken are the folders whose texts operators and users read: metrics, help, errors, logs.
var spoken = []string{"cmd/internal", "cmd/qpq", "cmd/qpqd", "cmd/qpqdemo"}

// What programs print says what is meant in the words of the field (docs/glossary.md has
// the few that are ours).
func TestProgramsSpeakPlainly(t *testing.T) {
	t.Parallel()
	texts := 0
	for _, dir := range spoken {
		err := filepath.WalkDir(filepath.FromSlash(dir), func(file string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
				return err
			}
			for _, s := range literals(t, file) {
				texts++
				if found := metaphors.FindString(s.text); found != "" {
					t.Errorf("%s: %q: say what %q means", s.where, s.text, found)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if texts < 1000 {
		t.Errorf("only %d texts were read: this tests little", texts)
	}
}

type literal struct {
	where token.Position
	text  string
}

// literals returns the strings of a file, imports aside.
func literals(t *testing.T, file string) (list []literal) {
	t.Helper()
	fset := token.NewFileSet()
	parsed, err := parser.ParseFile(fset, file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		if _, isImport := n.(*ast.ImportSpec); isImport {
			return false
		}
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			text, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			// Names of metrics and limits are words divided by underscores and dots.
			list = append(list, literal{fset.Position(lit.Pos()), strings.NewReplacer("_", " ", ".", " ").Replace(text)})
		}
		return true
	})
	return list
}
