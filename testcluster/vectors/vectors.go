// Package vectors keeps docs/vectors.json: for each subject of the protocol inputs and the
// bytes that come of them, so that whoever writes a client can check each step alone. Each
// subject is made by the test of the package that it belongs to, and compared in every run.
package vectors

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"testing"
)

var write = flag.Bool("vectors", false, "write docs/vectors.json instead of comparing it")

// Hex is bytes, written in hexadecimal.
type Hex []byte

// MarshalText writes lower-case digits.
func (h Hex) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

// UnmarshalText reads digits.
func (h *Hex) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// load reads the file; one that is to be written need not be there.
func load(tb testing.TB, file string) map[string]json.RawMessage {
	tb.Helper()
	all := map[string]json.RawMessage{}
	data, err := os.ReadFile(file)
	if *write && os.IsNotExist(err) {
		return all
	}
	if err == nil {
		err = json.Unmarshal(data, &all)
	}
	if err != nil {
		tb.Fatalf("read vectors: %v", err)
	}
	return all
}

// Read reads a subject of the file, for vectors that are drawn once and kept. It reports
// whether there is one.
func Read(tb testing.TB, file, subject string, into any) bool {
	tb.Helper()
	all := load(tb, file)
	if all[subject] == nil {
		return false
	}
	if err := json.Unmarshal(all[subject], into); err != nil {
		tb.Fatalf("read vectors of %s: %v", subject, err)
	}
	return true
}

// Check compares a subject of the file with what a test made, or writes it there when the
// test has the flag -vectors; then run packages one at a time (-p 1).
func Check(tb testing.TB, file, subject string, made any) {
	tb.Helper()
	got, err := json.Marshal(made)
	if err != nil {
		tb.Fatal(err)
	}
	all := load(tb, file)
	if *write {
		all[subject] = got
		data, err := json.MarshalIndent(all, "", "  ")
		if err == nil {
			err = os.WriteFile(file, append(data, '\n'), 0o644)
		}
		if err != nil {
			tb.Fatalf("write vectors: %v", err)
		}
		return
	}
	var want bytes.Buffer
	if err := json.Compact(&want, all[subject]); err != nil {
		tb.Fatalf("%s has no subject %q: go test -p 1 -run Vectors ./... -vectors", file, subject)
	}
	if !bytes.Equal(got, want.Bytes()) {
		tb.Errorf("%s says of %s\n%s\nwant what this code makes\n%s", file, subject, want.Bytes(), got)
	}
}
