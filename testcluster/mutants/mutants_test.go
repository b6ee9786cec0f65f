package main

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// head and texts make a row as the table has it.
const (
	head  = "name: a\nfile: m.go\ntest: . TestA\n"
	texts = "<<<<\nold\n====\nnew\n>>>>\n"
)

func TestParse(t *testing.T) {
	rows, err := parse("x", "# a comment\n\n"+head+texts+"\nname: b\nfile: c/m.go\ntest: ./c TestB|TestC/sub\n<<<<\n\n\told # kept\n====\n>>>>\n")
	if err != nil {
		t.Fatal(err)
	}
	want := []row{
		{name: "a", area: "x", file: "m.go", pkg: ".", pattern: "TestA", old: "old\n", new: "new\n", line: 3},
		{name: "b", area: "x", file: "c/m.go", pkg: "./c", pattern: "TestB|TestC/sub", old: "\n\told # kept\n", line: 12},
	}
	if !slices.Equal(rows, want) {
		t.Errorf("parsed\n%+v\nwant\n%+v", rows, want)
	}
	if got := rows[1].anchored(); got != "^(TestB|TestC)$/^(sub)$" {
		t.Errorf("anchored to %q", got)
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		head:                                "has no texts",
		head + "<<<<\nold\n":                "is not ended by ====",
		head + "<<<<\nold\n====\n":          "is not ended by >>>>",
		head + "<<<<\ncut\n" + head + texts: "is not ended by ====",
		head + "<<<<\n\n====\n>>>>\n":       "no text to replace",
		head + "<<<<\na\n====\na\n>>>>\n":   "the same",
		texts:                               "needs name, file and test",
		"name: a\nname: b\n":                "twice",
		"name: a b\nfile: m.go\ntest: . T\n" + texts: "blank",
		"what: a\n":   "none of name, file and test",
		"test: ./a\n": "names no test",
		"free text\n": "key: value",
	} {
		_, err := parse("x", text)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "x.txt:") {
			t.Errorf("%q: %v, want an error with %q and the line", text, err, want)
		}
	}
}

// planted is a module in which the tool's answers are known.
var planted = map[string]string{
	"go.mod": "module planted\n\ngo 1.26\n",
	"code.go": `package planted

// Even is right.
func Even(n int) bool {
	return n%2 == 0
}

// Odd is right too, and no test says so.
func Odd(n int) bool {
	return n%2 != 0
}

// Twice stands here.
func Twice() {
	Even(1)
	Even(1)
}
`,
	"code_test.go": `package planted

import "testing"

func TestEven(t *testing.T) {
	if !Even(2) || Even(3) {
		t.Fatal("even")
	}
}

func TestOdd(t *testing.T) { Odd(1) }

func TestBroken(t *testing.T) { t.Fatal("always") }

func TestSkipped(t *testing.T) { t.Skip("always") }
`,
}

func plant(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range planted {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// even is a row that changes what Even returns.
func even(name, test, to string) row {
	return row{name: name, file: "code.go", pkg: ".", pattern: test, old: "\treturn n%2 == 0\n", new: "\t" + to + "\n"}
}

// Each kind of answer: a mutant that survives is told from one that is noticed, and
// both from a row that says nothing.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	dir := plant(t)
	rows := []row{
		even("noticed", "TestEven", "return n%2 == 1"),
		even("panics", "TestEven", `panic("now")`),
		even("hangs", "TestEven", "select {}"),
		even("does-not-compile", "TestEven", "return n"),
		even("fails-anyway", "TestBroken", "return true"),
		even("is-skipped", "TestSkipped", "return true"),
		even("no-such-test", "TestNone", "return true"),
		even("in-another-test", "TestOdd", "return n%2 == 1"),
		{name: "survives", file: "code.go", pkg: ".", pattern: "TestOdd", old: "\treturn n%2 != 0\n", new: "\treturn true\n"},
	}
	want := map[string]verdict{
		"noticed": noticed, "panics": panicked, "hangs": timedOut, "does-not-compile": unfit, "fails-anyway": unfit,
		"is-skipped": unfit, "no-such-test": unfit, "in-another-test": survived, "survives": survived,
	}
	// The compiled programs lie beside the files that the overlay names.
	u := &runner{root: dir, dir: t.TempDir(), timeout: 5 * time.Second}
	var out bytes.Buffer
	results := u.tryAll(t.Context(), options{check: true, workers: 2}, rows, &out)
	got := map[string]verdict{}
	for _, r := range results {
		got[r.name] = r.verdict
	}
	if !maps.Equal(got, want) {
		t.Errorf("verdicts %v, want %v\n%s", got, want, out.String())
	}
	if report(&out, results) {
		t.Error("the report is content with survivors")
	}
	for _, part := range []string{"3 passed, 6 failed\n", "SURVIVED  survives", "does-not-compile: the mutant does not compile:"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("the report has no %q:\n%s", part, out.String())
		}
	}
	if text, err := os.ReadFile(filepath.Join(dir, "code.go")); err != nil || string(text) != planted["code.go"] {
		t.Errorf("the tree was changed: %v\n%s", err, text)
	}
	if report(&out, results[:1]) != true || !strings.HasSuffix(out.String(), "\n1 passed, 0 failed\n") {
		t.Errorf("a mutant that was noticed is no failure:\n%s", out.String())
	}
}

// A table that does not fit the code is refused, each row with what to do.
func TestVerify(t *testing.T) {
	t.Parallel()
	fits := row{name: "fits", file: "code.go", pkg: ".", pattern: "TestEven", old: "\treturn n%2 == 0\n"}
	alter := func(name string, change func(*row)) row {
		r := fits
		r.name = name
		change(&r)
		return r
	}
	for want, r := range map[string]row{
		"":                          alter("other", func(*row) {}),
		"stands in":                 fits,
		"is gone from code.go":      alter("gone", func(r *row) { r.old = "\treturn n%3 == 0\n" }),
		"is gone":                   alter("half-a-line", func(r *row) { r.old = "return n%2 == 0\n" }),
		"2 times in code.go":        alter("twice", func(r *row) { r.old = "\tEven(1)\n" }),
		"has no test TestNone":      alter("renamed", func(r *row) { r.pattern = "TestNone" }),
		"has no test TestEve":       alter("half-a-name", func(r *row) { r.pattern = "TestEve" }),
		"can't be read":             alter("moved", func(r *row) { r.file = "away.go" }),
		"is no path of code":        alter("outside", func(r *row) { r.file = "../code.go" }),
		"is no path":                alter("a-test", func(r *row) { r.file = "code_test.go" }),
		"is no package":             alter("elsewhere", func(r *row) { r.pkg = "./../x" }),
		"the test's pattern: error": alter("pattern", func(r *row) { r.pattern = "Test(" }),
	} {
		wrong := verify(plant(t), []row{fits, r})
		switch {
		case want == "" && len(wrong) != 0:
			t.Errorf("%s is refused: %q", r.name, wrong)
		case want != "" && (len(wrong) != 1 || !strings.Contains(wrong[0], want)):
			t.Errorf("%s: %q, want one problem with %q", r.name, wrong, want)
		}
	}
}

// The samples of the days go through the whole table before a row has its second turn.
func TestSample(t *testing.T) {
	var rows []row
	for c := 'a'; c <= 'z'; c++ {
		rows = append(rows, row{name: string(c)})
	}
	turns := map[string]int{}
	for day := range 13 {
		c := choice{sample: 4, day: time.Date(2026, 11, 30+day, 0, 0, 0, 0, time.UTC).Format(time.DateOnly)}
		chosen, err := c.of(rows)
		if err != nil || len(chosen) != 4 {
			t.Fatalf("day %d: %v, %v", day, chosen, err)
		}
		again, _ := c.of(rows)
		if !slices.Equal(chosen, again) {
			t.Errorf("one day has two samples: %v, %v", chosen, again)
		}
		for _, r := range chosen {
			turns[r.name]++
		}
	}
	for _, r := range rows {
		if turns[r.name] != 2 {
			t.Errorf("in 13 days of 4 the row %s had %d turns, want 2 as each of 26", r.name, turns[r.name])
		}
	}
}

func TestChoice(t *testing.T) {
	rows := []row{{name: "a", area: "x"}, {name: "b", area: "y"}, {name: "c", area: "y"}}
	for want, c := range map[string]choice{
		"abc": {all: true},
		"bc":  {area: "y"},
		"ca":  {rows: "c,a"},
		"!":   {},
		"!!":  {rows: "d"},
		"!3":  {area: "z"},
		"!4":  {sample: 1, day: "tomorrow"},
	} {
		chosen, err := c.of(rows)
		var got strings.Builder
		for _, r := range chosen {
			got.WriteString(r.name)
		}
		if (err != nil) != (want[0] == '!') || (err == nil && got.String() != want) {
			t.Errorf("%+v chose %q, %v; want %s", c, got.String(), err, want)
		}
	}
}
