package rpc

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"quicproquo/crypto/account"
	"quicproquo/crypto/identity"
	"quicproquo/schemas"
)

// docs/protocol.md names every method of the interface with its ordinal and says
// rightly whether it needs a session, names every parameter and result, every
// code, and the labels that are signed.
func TestProtocolPage(t *testing.T) {
	file, err := os.ReadFile("../docs/protocol.md")
	must(t, err)
	page := string(file)
	for _, s := range methodShapes(t) {
		heading := fmt.Sprintf("`%s @%d`", s.name, s.ordinal)
		lines := linesWith(page, heading)
		if len(lines) != 1 {
			t.Errorf("%s stands in %d lines, want 1", heading, len(lines))
			continue
		}
		if columns := strings.Split(lines[0], "|"); len(columns) > 3 {
			if says, needs := strings.Contains(columns[2], "s"), authenticated.find(s.ordinal) != nil; says != needs {
				t.Errorf("%s: the page says that it needs a session: %v; it does: %v", s.name, says, needs)
			}
		}
		for _, f := range s.fields {
			if !nodeOnly[s.name+"."+f.name] && f.name != "auth" && !strings.Contains(s.name, "Blob") && !strings.Contains(lines[0], f.name) {
				t.Errorf("the line of %s does not name its parameter %s", s.name, f.name)
			}
		}
		for _, result := range s.results {
			if !strings.Contains(s.name, "Blob") && !strings.Contains(lines[0], result) {
				t.Errorf("the line of %s does not name its result %s", s.name, result)
			}
		}
	}
	codes := codesIn(page)
	for _, doc := range schemas.Codes() {
		if !codes[doc.Code.ID()] {
			t.Errorf("the page does not name the code %s %s", doc.Code.ID(), doc.Name)
		}
	}
	for _, text := range []string{
		identity.ExporterLabel, account.Context,
		string(identity.Register([32]byte{}, [32]byte{}, "", nil)[2:16]),
		string(identity.Device([32]byte{}, [16]byte{}, [32]byte{})[2:14]),
		string(identity.HybridKey([32]byte{}, nil, nil)[2:18]),
		string(identity.Bind([32]byte{}, [32]byte{})[2:20]),
	} {
		if !strings.Contains(page, "`"+text+"`") {
			t.Errorf("the page does not give the label %q", text)
		}
	}
}

// nodeOnly are parameters that a node sets in the log and a client does not send.
var nodeOnly = map[string]bool{
	"createChannel.channelId": true, "fetchKeyPackages.oldestOnly": true,
	"uploadKeyPackages.expiresMs": true, "uploadKeyPackages.signatureKey": true,
}

func linesWith(page, text string) (lines []string) {
	for line := range strings.Lines(page) {
		if strings.Contains(line, text) {
			lines = append(lines, line)
		}
	}
	return lines
}

var codeOrRange = regexp.MustCompile(`E(\d{3})(?: to E(\d{3}))?`)

// codesIn are the codes that a page names, those of ranges too.
func codesIn(page string) map[string]bool {
	codes := map[string]bool{}
	for _, m := range codeOrRange.FindAllStringSubmatch(page, -1) {
		from, _ := strconv.Atoi(m[1]) // three digits
		to := from
		if m[2] != "" {
			to, _ = strconv.Atoi(m[2])
		}
		for ; from <= to; from++ {
			codes[fmt.Sprintf("E%03d", from)] = true
		}
	}
	return codes
}
