package rpc

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"quicproquo/schemas"
)

var update = flag.Bool("update", false, "write docs/errors.md and docs/limits.md instead of comparing them")

// docs/errors.md is the code table, docs/limits.md the limits in the source:
// `go test ./rpc -run Page -update` writes them, this test keeps them current.
func TestErrorsPage(t *testing.T) {
	var page strings.Builder
	page.WriteString(`# Error codes

Generated from schemas/codes.capnp: ` + "`go test ./rpc -run Page -update`" + `. Append only: a code keeps its number, name and meaning for ever.

*Retry* is what a client may do (docs/protocol.md, "Repeating calls"):

- **never**: the same call fails again; mend the call.
- **elsewhere**: certainly not applied; repeat at once, on another node if there is one.
- **later**: not applied; repeat after a pause, retryAfterMs if it is set.
- **sameRequestId**: may have been applied; repeat only with the same request id.

| code | name | retry | what happened | what to do |
|---|---|---|---|---|
`)
	for _, doc := range schemas.Codes() {
		fmt.Fprintf(&page, "| %s | %s | %s | %s | %s |\n", doc.Code.ID(), doc.Name, doc.Retry, doc.Meaning, doc.Hint)
	}
	comparePage(t, "../docs/errors.md", page.String())
}

func comparePage(t *testing.T, path, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("%s is not what the source says; run `go test ./rpc -run Page -update` (-want +got):\n%s", path, diff)
	}
}
