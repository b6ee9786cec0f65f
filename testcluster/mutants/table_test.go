package main

import (
	"context"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
)

// leastRows is what the table has at least. It only goes up.
const leastRows = 590

// areas each have rows, so that no part of the house is left out.
var areas = []string{"client", "cluster", "cmd", "crypto", "fsm", "rpc"}

func houseTable(t *testing.T) (string, []row) {
	t.Helper()
	root, err := moduleRoot(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	rows, err := load(root)
	if err != nil {
		t.Fatal(err)
	}
	return root, rows
}

// The table follows the code: each row's text stands in its file, once, and its test
// exists. Whoever changes code under a row is told here which row and what to do.
func TestTableFitsTheCode(t *testing.T) {
	root, rows := houseTable(t)
	for _, problem := range verify(root, rows) {
		t.Error(problem)
	}
}

func TestTableIsLarge(t *testing.T) {
	_, rows := houseTable(t)
	if len(rows) < leastRows {
		t.Errorf("the table has %d rows and must have at least %d", len(rows), leastRows)
	}
	count := map[string]int{}
	for _, r := range rows {
		area, _, _ := strings.Cut(r.area, "_") // client_display.txt is of client too
		count[area]++
		if !strings.HasPrefix(r.file, area+"/") {
			t.Errorf("%s stands in %s.txt and changes %s", r.name, r.area, r.file)
		}
	}
	for _, area := range areas {
		if count[area] == 0 {
			t.Errorf("the table has no rows for %s", area)
		}
	}
	t.Logf("%d rows: %v", len(rows), count)
}

// A mutant that does not compile says nothing about its test. So all rows are compiled,
// though few are tried.
func TestRowsCompile(t *testing.T) {
	root, rows := houseTable(t)
	c, err := newCompiler(root)
	if err != nil {
		t.Fatal(err)
	}
	wrong, err := c.check(rows)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(wrong)) {
		t.Errorf("the mutant %s does not compile: %v", name, wrong[name])
	}
}

// A row that does not compile is found among others of its package.
func TestRowThatDoesNotCompile(t *testing.T) {
	root, rows := houseTable(t)
	c, err := newCompiler(root)
	if err != nil {
		t.Fatal(err)
	}
	area := slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return path.Dir(r.file) != "fsm" })
	area[0].new += "var unused int = \"a text\"\n"
	wrong, err := c.check(area)
	if err != nil {
		t.Fatal(err)
	}
	if wrong[area[0].name] == nil || len(wrong) != 1 {
		t.Errorf("got %v, want only %s", wrong, area[0].name)
	}
}
