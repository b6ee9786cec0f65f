package content_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"quicproquo/client/content"
)

// docs/content.md lists every kind of the schema's union, by number and name, and
// each has a constant that says the same.
func TestPageListsEveryKind(t *testing.T) {
	schema := read(t, "../../schemas/content.capnp")
	_, union, found := strings.Cut(schema, "body :union {")
	if !found {
		t.Fatal("the schema has no union")
	}
	union, _, _ = strings.Cut(union, "}")
	declared := regexp.MustCompile(`(?m)^\s+(\w+) @\d+ :`).FindAllStringSubmatch(union, -1)
	listed := regexp.MustCompile("(?m)^\\| (\\d+) \\| `(\\w+)` \\|").FindAllStringSubmatch(read(t, "../../docs/content.md"), -1)
	if len(declared) != len(listed) || len(declared) != len(bodies()) {
		t.Errorf("the schema has %d kinds, the page %d, the tests %d", len(declared), len(listed), len(bodies()))
	}
	for i, d := range declared {
		if i >= len(listed) || listed[i][1] != fmt.Sprint(i) || listed[i][2] != d[1] {
			t.Errorf("the page does not list %s as %d", d[1], i)
		}
		if name := content.Kind(i).String(); name != d[1] {
			t.Errorf("kind %d is %s in the schema and %s in the code", i, d[1], name)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
