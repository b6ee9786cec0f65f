package main

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// tableDir is where the rows stand, from the module's root.
const tableDir = "testcluster/mutants/table"

// load reads the whole table, in the order of its files.
func load(root string) ([]row, error) {
	files, err := filepath.Glob(filepath.Join(root, tableDir, "*.txt"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s has no table: run it in the module's root", filepath.Join(root, tableDir))
	}
	var rows []row
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		more, err := parse(strings.TrimSuffix(filepath.Base(file), ".txt"), string(text))
		if err != nil {
			return nil, err
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

// verify returns what is wrong with the rows against the code, a sentence each.
func verify(root string, rows []row) []string {
	v := verifier{root: root, names: map[string]string{}, tests: map[string][]string{}}
	var wrong []string
	for i := range rows {
		r := &rows[i]
		for _, problem := range v.problems(r) {
			wrong = append(wrong, fmt.Sprintf("%s/%s.txt:%d: %s: %s", tableDir, r.area, r.line, r.name, problem))
		}
	}
	return wrong
}

// verifier remembers what rows share: names seen, tests of a package.
type verifier struct {
	root  string
	names map[string]string
	tests map[string][]string
}

func (v *verifier) problems(r *row) []string {
	var wrong []string
	if other, taken := v.names[r.name]; taken {
		wrong = append(wrong, "the name stands in "+other+" too")
	}
	v.names[r.name] = fmt.Sprintf("%s.txt:%d", r.area, r.line)
	if _, err := r.mutate(v.root); err != nil {
		wrong = append(wrong, err.Error())
	}
	if err := v.namesATest(r); err != nil {
		wrong = append(wrong, err.Error())
	}
	return wrong
}

// mutate returns the row's file with the new text.
func (r *row) mutate(root string) (string, error) {
	if !fs.ValidPath(r.file) || path.Ext(r.file) != ".go" || strings.HasSuffix(r.file, "_test.go") {
		return "", fmt.Errorf("%s is no path of code from the module's root", r.file)
	}
	content, err := os.ReadFile(filepath.Join(root, r.file))
	if err != nil {
		return "", fmt.Errorf("the row's file can't be read (has it moved? then move the row): %w", err)
	}
	at, n := wholeLines(string(content), r.old)
	switch {
	case n == 0:
		return "", fmt.Errorf("its text is gone from %s. If the check lives on in other words, copy these; if it moved, change file; only a check that is needed no more takes its row with it", r.file)
	case n > 1:
		return "", fmt.Errorf("its text stands %d times in %s: take more lines, so that it is unique", n, r.file)
	}
	return string(content[:at]) + r.new + string(content[at+len(r.old):]), nil
}

// wholeLines counts where a text of whole lines stands; at is the last place.
func wholeLines(content, text string) (at, n int) {
	for from := 0; from < len(content); {
		i := strings.Index(content[from:], text)
		if i < 0 {
			break
		}
		if i += from; i == 0 || content[i-1] == '\n' {
			at, n = i, n+1
		}
		from = i + 1
	}
	return at, n
}

// namesATest tells whether the package has a test whose name fits the pattern. Subtests
// are known only once it has run.
func (v *verifier) namesATest(r *row) error {
	if r.pkg != "." && (!strings.HasPrefix(r.pkg, "./") || !fs.ValidPath(r.pkg[2:])) {
		return fmt.Errorf("%q is no package as \"./client\" is one", r.pkg)
	}
	pattern, err := regexp.Compile(r.topLevel())
	if err != nil {
		return fmt.Errorf("the test's pattern: %w", err)
	}
	tests, err := v.testsOf(r.pkg)
	if err != nil {
		return err
	}
	for _, test := range tests {
		if pattern.MatchString(test) {
			return nil
		}
	}
	return fmt.Errorf("package %s has no test %s: if it was renamed, rename it here; a row needs a test that fails", r.pkg, r.pattern)
}

var testFunction = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Example)\w*)\(`)

func (v *verifier) testsOf(pkg string) ([]string, error) {
	if tests, known := v.tests[pkg]; known {
		return tests, nil
	}
	files, err := filepath.Glob(filepath.Join(v.root, pkg, "*_test.go"))
	if err != nil {
		return nil, err
	}
	tests := []string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for _, m := range testFunction.FindAllSubmatch(text, -1) {
			tests = append(tests, string(m[1]))
		}
	}
	v.tests[pkg] = tests
	return tests, nil
}
