package quicproquo_test

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// repository is what the documents can name.
type repository struct {
	files []string        // from the root, with slashes; folders too
	tests map[string]bool // functions that go test runs
	pages []string        // the documents
}

var testFunction = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w*)\(`)

func readRepository(t *testing.T) *repository {
	t.Helper()
	r := &repository{tests: map[string]bool{}}
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (file == ".git" || d.Name() == "node_modules") {
			return fs.SkipDir
		}
		file = filepath.ToSlash(file)
		r.files = append(r.files, file)
		if strings.HasSuffix(file, "_test.go") {
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			for _, m := range testFunction.FindAllSubmatch(text, -1) {
				r.tests[string(m[1])] = true
			}
		}
		if path.Ext(file) == ".md" && !strings.Contains(file, "testdata/") {
			r.pages = append(r.pages, file)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// What the documents call a test is one: TestX, FuzzX, BenchmarkX, or TestX… for all
// whose names begin so.
func TestDocumentsNameTestsThatExist(t *testing.T) {
	t.Parallel()
	r := readRepository(t)
	found := 0
	for _, page := range r.pages {
		for i, line := range readLines(t, page) {
			names := testNames(line)
			found += len(names)
			for _, name := range names {
				if !r.hasTest(name) {
					t.Errorf("%s:%d: no test is called %s: name the one that holds this now, or say that none does", page, i+1, name)
				}
			}
		}
	}
	if found < 100 {
		t.Errorf("the documents name %d tests: this test reads them wrongly", found)
	}
}

var testName = regexp.MustCompile(`\b(?:Test|Fuzz|Benchmark)[A-Z]\w*[…*]?`)

func testNames(line string) []string { return testName.FindAllString(line, -1) }

func (r *repository) hasTest(name string) bool {
	prefix := strings.TrimRight(name, "…*")
	if prefix == name {
		return r.tests[name]
	}
	for test := range r.tests {
		if strings.HasPrefix(test, prefix) {
			return true
		}
	}
	return false
}

// What the documents say lies in the repository does: the targets of links, paths in
// code that begin with a folder of the root, and file names in code that end as ours.
// Decisions are of their day: in them only links are checked.
func TestDocumentsNamePathsThatExist(t *testing.T) {
	t.Parallel()
	r := readRepository(t)
	found := 0
	for _, page := range r.pages {
		history := strings.HasPrefix(page, "docs/decisions/") || page == "CHANGELOG.md"
		fenced := false
		for i, line := range readLines(t, page) {
			fenced = fenced != strings.HasPrefix(strings.TrimSpace(line), "```")
			var missing []string
			for _, target := range linkTargets(line) {
				found++
				if !fenced && !r.has(path.Join(path.Dir(page), target)) {
					missing = append(missing, target)
				}
			}
			for _, token := range pathsInCode(line) {
				found++
				if !history && !r.hasPath(token) {
					missing = append(missing, token)
				}
			}
			for _, name := range missing {
				t.Errorf("%s:%d: the repository has no %s: name what stands there now", page, i+1, name)
			}
		}
	}
	if found < 120 {
		t.Errorf("the documents name %d paths: this test reads them wrongly", found)
	}
}

var (
	link     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	code     = regexp.MustCompile("`([^`]+)`")
	ourPath  = regexp.MustCompile(`^\.?[\w.@{},*-]+(/[\w.@{},*-]+)*/?$`)
	ourRoots = []string{"client", "cluster", "cmd", "crypto", "docs", "fsm", "rpc", "schemas", "testcluster", ".ci"}
	ourEnds  = []string{".go", ".md", ".capnp", ".txtar"}
)

// linkTargets are the files that a line links to.
func linkTargets(line string) (list []string) {
	for _, m := range link.FindAllStringSubmatch(line, -1) {
		target, _, _ := strings.Cut(m[1], "#")
		if target != "" && !strings.Contains(target, "://") && !strings.HasPrefix(target, "mailto:") {
			list = append(list, target)
		}
	}
	return list
}

// pathsInCode are the words in code that are to be paths of the repository.
func pathsInCode(line string) (list []string) {
	for _, m := range code.FindAllStringSubmatch(line, -1) {
		for _, word := range strings.Fields(m[1]) {
			word = strings.TrimPrefix(strings.Trim(word, ",;:()\"'"), "./")
			root, _, below := strings.Cut(word, "/")
			ours := below && slices.Contains(ourRoots, root) || slices.Contains(ourEnds, path.Ext(word))
			if ours && ourPath.MatchString(word) {
				list = append(list, word)
			}
		}
	}
	return list
}

// has reports whether a path or a pattern of paths is there.
func (r *repository) has(name string) bool {
	for _, file := range r.files {
		if ok, err := path.Match(name, file); ok && err == nil {
			return true
		}
	}
	return false
}

// hasPath reports whether a word in code is a path: from the root, or the end of one, as
// tables give it that say which folder they are of.
func (r *repository) hasPath(word string) bool {
	word = strings.TrimSuffix(strings.TrimSuffix(word, "/"), "/...")
	for _, name := range braces(word) {
		if !r.has(name) && !slices.ContainsFunc(r.files, func(file string) bool { return endsAs(file, name) }) {
			return false
		}
	}
	return true
}

func endsAs(file, name string) bool {
	parts, wanted := strings.Split(file, "/"), strings.Split(name, "/")
	if len(wanted) > len(parts) {
		return false
	}
	ok, err := path.Match(name, strings.Join(parts[len(parts)-len(wanted):], "/"))
	return ok && err == nil
}

// braces writes a{b,c} out: ab, ac.
func braces(word string) []string {
	before, rest, ok := strings.Cut(word, "{")
	inside, after, closed := strings.Cut(rest, "}")
	if !ok || !closed {
		return []string{word}
	}
	var list []string
	for _, part := range strings.Split(inside, ",") {
		list = append(list, braces(before+part+after)...)
	}
	return list
}

func readLines(t *testing.T, page string) []string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(string(text), "\n")
}

// The reading itself: what counts as a name, and what is noticed.
func TestNamesInDocuments(t *testing.T) {
	r := &repository{
		files: []string{"docs", "docs/a.md", "client", "client/send.go", "client/groupstate", "client/groupstate/link.go"},
		tests: map[string]bool{"TestSend": true, "FuzzSend": true},
	}
	for name, want := range map[string]bool{"TestSend": true, "FuzzSend": true, "TestSe": false, "TestSe…": true, "TestNo…": false, "BenchmarkSend": false} {
		if got := testNames("see `client." + name + "`."); !slices.Equal(got, []string{name}) || r.hasTest(name) != want {
			t.Errorf("%s: read as %q, there %v, want %v", name, got, r.hasTest(name), want)
		}
	}
	for word, want := range map[string]bool{
		"client/send.go": true, "send.go": true, "groupstate/link.go": true, "client/groupstate/": true, "./client/groupstate": true,
		"client/*.go": true, "client/{send,groupstate/link}.go": true, "client/{send,gone}.go": false,
		"gone.go": false, "client/gone": false, "tate/link.go": false, "docs/a.md": true, "docs/b.md": false,
	} {
		got := pathsInCode("it is `" + word + "`.")
		if len(got) != 1 || r.hasPath(got[0]) != want {
			t.Errorf("%s: read as %q, want there %v", word, got, want)
		}
	}
	for _, word := range []string{"node.toml", "tls/ca.pem", "/work", "a.b", "https://x.y/z.md"} {
		if got := pathsInCode("`" + word + "`"); len(got) != 0 {
			t.Errorf("%s is read as a path of ours: %q", word, got)
		}
	}
	if got := linkTargets("[a](a.md#b) [c](https://c) [d](#e) [f](decisions/)"); !slices.Equal(got, []string{"a.md", "decisions/"}) {
		t.Errorf("links are read as %q", got)
	}
}
