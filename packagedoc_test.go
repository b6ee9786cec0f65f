package quicproquo_test

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// listedAbove is up to how many files a package needs no list of them.
const listedAbove = 8

var fileName = regexp.MustCompile(`[A-Za-z0-9_]+\.go\b`)

// A package of many files lists all of them in its documentation, in reading order, and no
// package's documentation names a file that is not there.
func TestPackageDocsListTheirFiles(t *testing.T) {
	t.Parallel()
	listing := 0
	for _, p := range listPackages(t) {
		dir := filepath.FromSlash("./" + strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, "quicproquo"), "/"))
		files, tests, doc := readPackage(t, dir)
		named := fileName.FindAllString(doc, -1)
		for _, wrong := range wrongInDoc(files, tests, named) {
			t.Errorf("the documentation of package %s %s", p.ImportPath, wrong)
		}
		if len(files) > listedAbove {
			listing++
		}
	}
	if listing < 10 {
		t.Errorf("only %d packages have more than %d files: this tests little", listing, listedAbove)
	}
}

// The check sees a file that is not listed, one that is listed and gone, and lets small
// packages say as much as they like.
func TestPackageDocsAreRead(t *testing.T) {
	t.Parallel()
	nine := []string{"a.go", "b.go", "c.go", "d.go", "doc.go", "e.go", "f.go", "g.go", "h.go"}
	all := []string{"a.go", "b.go", "c.go", "d.go", "e.go", "f.go", "g.go", "h.go"}
	for _, c := range []struct {
		files, named []string
		want         string
	}{
		{nine, all, ""},
		{nine, all[1:], "does not list a.go"},
		{nine, append([]string{"gone.go"}, all...), "names gone.go, which is not there"},
		{nine[:2], []string{"a_test.go"}, ""},
		{nine[:2], []string{"gone.go"}, "names gone.go, which is not there"},
	} {
		if got := strings.Join(wrongInDoc(c.files, []string{"a_test.go"}, c.named), "; "); got != c.want {
			t.Errorf("files %v, named %v: got %q, want %q", c.files, c.named, got, c.want)
		}
	}
}

// wrongInDoc says what is wrong about the names in the documentation of a package of
// those files and tests.
func wrongInDoc(files, tests, named []string) (wrong []string) {
	for _, n := range named {
		if !slices.Contains(files, n) && !slices.Contains(tests, n) {
			wrong = append(wrong, "names "+n+", which is not there")
		}
	}
	if len(files) <= listedAbove {
		return wrong
	}
	for _, f := range files {
		if f != "doc.go" && !slices.Contains(named, f) {
			wrong = append(wrong, "does not list "+f)
		}
	}
	return wrong
}

var generated = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)

// readPackage returns the names of a directory's files, without what is generated, those of
// its tests, and the documentation of its package.
func readPackage(t *testing.T, dir string) (files, tests []string, doc string) {
	t.Helper()
	entries, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range entries {
		if strings.HasSuffix(file, "_test.go") {
			tests = append(tests, filepath.Base(file))
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if generated.Match(text) {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, text, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		doc += parsed.Doc.Text()
		files = append(files, filepath.Base(file))
	}
	return files, tests, doc
}
