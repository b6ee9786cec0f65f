package conform_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"quicproquo/cmd/qpqconform/internal/conform"
	"quicproquo/schemas"
)

// notServed are methods that have no success yet: their check is their error.
var notServed = []string{"uploadBlob", "downloadBlob"}

// noPromise are sections of docs/protocol.md that promise nothing that a client could
// try at a cluster that others use.
var noPromise = map[string]string{
	"The protocol between clients and nodes": "the whole page",
	"A node that stops":                      "no client stops a node: qpqconform serve plays it to clients, rpc's tests to nodes",
	"Conformance":                            "about these checks",
	"Codes that calls do not meet":           "as it says",
}

// notTried are codes that the checks do not bring about, and why.
var notTried = map[string]string{
	"E000": "no failure", "E028": "not in use", "E040": "for operators", "E041": "for operators", "E050": "for operators", "E051": "for operators", "E069": "for nodes", "E086": "for nodes", "E087": "for nodes", "E088": "for nodes",
	"E024": "blobs are not served", "E025": "blobs are not served", "E026": "blobs are not served", "E027": "blobs are not served",
	"E004": "a session lives 300 s at least", "E031": "a node that can't write", "E032": "a node that has lost its leader", "E037": "a node that is overloaded",
	"E019": "a node whose disk fails", "E039": "a node whose disk is full", "E048": "a node's own fault", "E042": "a cluster of two versions",
	"E012": "10,000 envelopes", "E067": "1 GiB in one account's queues", "E079": "an eighth of a queue", "E062": "100 key packages", "E080": "2,001 accounts",
	"E085": "1,001 group records", "E029": "ten devices, or as many as the cluster lets one have", "E081": "a setting of the cluster", "E082": "a setting of the cluster",
}

// Every method of the schema has a check that shows its documented success.
func TestEveryMethodHasACheck(t *testing.T) {
	var shown []string
	for _, c := range conform.Checks() {
		shown = append(shown, c.Methods...)
	}
	for _, m := range schemas.NodeService_Methods(nil, nil) {
		if has, want := slices.Contains(shown, m.MethodName), !slices.Contains(notServed, m.MethodName); has != want {
			t.Errorf("%s has a check of its success: %t, want %t", m.MethodName, has, want)
		}
	}
}

func page(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Every section of docs/protocol.md has a check, but for those that promise nothing; and
// no check names a section that there is not.
func TestEverySectionHasACheck(t *testing.T) {
	checked := map[string]bool{}
	for i, c := range conform.Checks() {
		checked[c.Section] = true
		if c.What == "" || slices.ContainsFunc(conform.Checks()[:i], func(o conform.Check) bool { return o.What == c.What }) {
			t.Errorf("check %d has no text of its own: %q", i+1, c.What)
		}
	}
	headings := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(page(t), -1) {
		headings[m[1]] = true
		if noPromise[m[1]] == "" && !checked[m[1]] {
			t.Errorf("the section %q has no check", m[1])
		}
	}
	for section := range checked {
		if !headings[section] || noPromise[section] != "" {
			t.Errorf("a check names the section %q, which docs/protocol.md has not, or which promises nothing", section)
		}
	}
}

// Every code that docs/protocol.md names is brought about by a check, or it is said why
// not.
func TestEveryCodeHasACheck(t *testing.T) {
	tried := map[string]bool{}
	for _, c := range conform.Checks() {
		for _, code := range c.Codes {
			tried[code.ID()] = true
		}
	}
	for _, m := range regexp.MustCompile(`E(\d{3})(?: to E(\d{3}))?`).FindAllStringSubmatch(page(t), -1) {
		from, _ := strconv.Atoi(m[1]) // three digits
		to := max(from, number(m[2]))
		for ; from <= to; from++ {
			id := fmt.Sprintf("E%03d", from)
			if tried[id] == (notTried[id] != "") {
				t.Errorf("%s: tried %t, and the reason why not is %q: want one of them", id, tried[id], notTried[id])
			}
		}
	}
}

func number(digits string) int {
	n, _ := strconv.Atoi(strings.TrimSpace(digits))
	return n
}
