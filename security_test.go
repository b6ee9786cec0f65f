package quicproquo_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	mutantName = regexp.MustCompile(`(?m)^name: (\S+)$`)
	quoted     = regexp.MustCompile("`([^`]+)`")
)

// Each attack in docs/security.md has a script, or a test of its own, and names a check
// that was taken out, as a row of the mutants; and each script is an attack there.
func TestSecurityTable(t *testing.T) {
	t.Parallel()
	mutants := mutantNames(t)
	scripts, err := filepath.Glob("testcluster/liar/testdata/attacks/*.txt")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("there are no scripts (%v)", err)
	}
	for i, file := range scripts {
		scripts[i] = strings.TrimSuffix(filepath.Base(file), ".txt")
	}
	tests := readRepository(t).tests
	told := map[string]bool{"honest": true} // the script in which nobody lies
	rows := 0
	for i, line := range readLines(t, "docs/security.md") {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| attack ") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if rows++; len(cells) != 5 {
			t.Errorf("docs/security.md:%d: %d columns, want attack, client, person, test and checks", i+1, len(cells))
			continue
		}
		found := 0
		for _, test := range quoted.FindAllStringSubmatch(cells[3], -1) {
			if told[test[1]] = true; slices.Contains(scripts, test[1]) || tests[test[1]] {
				found++
			}
		}
		if found == 0 {
			t.Errorf("docs/security.md:%d: %s is no script and no test", i+1, cells[3])
		}
		checks := quoted.FindAllStringSubmatch(cells[4], -1)
		if len(checks) == 0 {
			t.Errorf("docs/security.md:%d: no check is named that was taken out", i+1)
		}
		for _, name := range checks {
			if !mutants[name[1]] {
				t.Errorf("docs/security.md:%d: the mutants have no row %q", i+1, name[1])
			}
		}
	}
	for _, script := range scripts {
		if !told[script] {
			t.Errorf("docs/security.md does not tell of the attack %s", script)
		}
	}
	if rows < 30 {
		t.Errorf("docs/security.md has %d attacks: this test reads it wrongly", rows)
	}
}

// mutantNames are the rows of testcluster/mutants.
func mutantNames(t *testing.T) map[string]bool {
	t.Helper()
	files, err := filepath.Glob("testcluster/mutants/table/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("there is no table of mutants (%v)", err)
	}
	names := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range mutantName.FindAllSubmatch(text, -1) {
			names[string(m[1])] = true
		}
	}
	return names
}
