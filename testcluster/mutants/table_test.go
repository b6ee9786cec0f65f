package main

import (
	"context"
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
