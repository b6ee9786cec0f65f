package rpc

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"testing"

	"quicproquo/schemas"
)

// The example of docs/protocol.md is what really goes over the wire.
func TestProtocolExample(t *testing.T) {
	request := frameOf(t, healthMethod, func(r schemas.Request) { r.SetSeen(41) })
	s := newFakeStream(request)
	newConn(NewServer(newFakeNode(41), Options{}), quiet()).serveStream(s)
	want := "request   " + hexWords(request) + "\nresponse  " + hexWords(s.out.Bytes()) + "\n"
	page, err := os.ReadFile("../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		page = []byte(strings.Replace(string(page), "EXAMPLE\n", want, 1))
		if err := os.WriteFile("../docs/protocol.md", page, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if !strings.Contains(string(page), want) {
		t.Errorf("docs/protocol.md does not show the bytes of a health call:\n%s", want)
	}
}

// hexWords writes 8-byte words as they stand in memory, four in a line.
func hexWords(data []byte) string {
	var text strings.Builder
	for i := 0; i < len(data); i += 8 {
		if i > 0 {
			text.WriteString(map[bool]string{true: "\n          ", false: "  "}[i%32 == 0])
		}
		fmt.Fprintf(&text, "%016x", binary.BigEndian.Uint64(data[i:]))
	}
	return text.String()
}
