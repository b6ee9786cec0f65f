package rpc

import (
	"flag"
	"fmt"
	"os"
	"regexp"
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

*Retry* is whether and when a client may send the same call again (docs/protocol.md, "Repeating calls"); in brackets the word that schemas/codes.capnp and programs use. A code that a client does not know is *no*.

| code | name | retry | what happened | what to do |
|---|---|---|---|---|
`)
	for _, doc := range schemas.Codes() {
		fmt.Fprintf(&page, "| %s | %s | %s | %s | %s |\n", doc.Code.ID(), doc.Name, retryText(t, doc), doc.Meaning, doc.Hint)
	}
	comparePage(t, "../docs/errors.md", page.String())
}

// saysWhen matches hints that name a moment.
var saysWhen = regexp.MustCompile(`(?i)\b(when|wait|later|then)\b`)

// retryText says whether and when.
func retryText(t *testing.T, doc schemas.CodeDoc) string {
	t.Helper()
	if doc.Code == schemas.Code_ok {
		return "–"
	}
	when, known := map[schemas.Retry]string{
		schemas.Retry_never:         "no: it fails again",
		schemas.Retry_elsewhere:     "at once, on another node; after a pause when all refuse. It was not applied",
		schemas.Retry_later:         "after retryAfterMs, without it after a pause of seconds. It was not applied",
		schemas.Retry_sameRequestId: "at once, on any node, with the same request id only. It may have been applied",
	}[doc.Retry]
	if !known {
		t.Errorf("%s has a retry rule that this page can't explain: %s", doc.Code.ID(), doc.Retry)
	}
	if doc.Retry == schemas.Retry_later && !saysWhen.MatchString(doc.Hint) {
		t.Errorf("%s may be repeated later: its hint must say when that makes sense", doc.Code.ID())
	}
	return when + " (" + doc.Retry.String() + ")"
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
