// Command mlspeer is a test peer: it speaks JSON lines on stdin and stdout and drives
// package mls for interoperability tests. One request {"op": …} per line, one answer
// {"ok": true, …} or {"ok": false, "error": …} per line; byte strings are lower-case
// hex. It keeps everything in memory and must never be used with real secrets.
//
// Reading order: main.go, peer.go, ops.go.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
)

// maxLine bounds a request, in bytes: a welcome for a thousand members fits.
const maxLine = 64 << 20

func main() {
	if err := serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "mlspeer:", err)
		os.Exit(1)
	}
}

// serve answers requests until the input ends.
func serve(in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 64<<10), maxLine)
	encoder := json.NewEncoder(out)
	p := newPeer()
	for lines.Scan() {
		if len(lines.Bytes()) == 0 {
			continue
		}
		if err := encoder.Encode(p.answer(lines.Bytes())); err != nil {
			return fmt.Errorf("write answer: %w", err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	return nil
}
