package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What go test prints without -v comes through: packages, and what failed tests said; the
// slowest tests are listed, whole ones only.
func TestReport(t *testing.T) {
	t.Parallel()
	var in strings.Builder
	add := func(format string, args ...any) { fmt.Fprintf(&in, format+"\n", args...) }
	for i := range 12 {
		add(`{"Action":"output","Package":"quicproquo/a","Test":"Test%d","Output":"noise of a test that passes\n"}`, i)
		add(`{"Action":"pass","Package":"quicproquo/a","Test":"Test%d/sub","Elapsed":99}`, i)
		add(`{"Action":"pass","Package":"quicproquo/a","Test":"Test%d","Elapsed":%d}`, i, i)
	}
	add(`{"Action":"output","Package":"quicproquo/a","Output":"PASS\n"}`)
	add(`{"Action":"output","Package":"quicproquo/a","Output":"ok  \tquicproquo/a\t1.0s\n"}`)
	add(`{"Action":"output","Package":"quicproquo/b","Test":"TestBad","Output":"why it failed\n"}`)
	add(`{"Action":"fail","Package":"quicproquo/b","Test":"TestBad","Elapsed":70.25}`)
	add(`{"Action":"output","Package":"quicproquo/b","Output":"FAIL\tquicproquo/b\t1.0s\n"}`)
	add(`go: a line that is no JSON`)

	file := filepath.Join(t.TempDir(), "slowest")
	var out strings.Builder
	if err := run([]string{file}, strings.NewReader(in.String()), &out); err != nil {
		t.Fatal(err)
	}
	want := "ok  \tquicproquo/a\t1.0s\nwhy it failed\nFAIL\tquicproquo/b\t1.0s\ngo: a line that is no JSON\n"
	if out.String() != want {
		t.Errorf("printed\n%s\nwant\n%s", out.String(), want)
	}
	list, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(list), "\n"), "\n")
	if len(lines) != listed || strings.TrimSpace(lines[0]) != "70.2s  b  TestBad" || strings.TrimSpace(lines[1]) != "11.0s  a  Test11" {
		t.Errorf("%d tests are listed, want %d, the slowest first:\n%s", len(lines), listed, list)
	}
	if err := run(nil, strings.NewReader(""), &out); err == nil {
		t.Error("without a file it has nothing to say")
	}
}
