package mls_test

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
)

// hexBytes decodes lower-case hex in the vectors.
type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	*h = b
	return err
}

// readVectors decodes a JSON file, gzipped or not.
func readVectors(tb testing.TB, path string, into any) {
	tb.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		tb.Fatalf("read vectors: %v", err)
	}
	if strings.HasSuffix(path, ".gz") {
		zr, err := gzip.NewReader(bytes.NewReader(raw))
		if err != nil {
			tb.Fatalf("unpack %s: %v", path, err)
		}
		if raw, err = io.ReadAll(zr); err != nil {
			tb.Fatalf("unpack %s: %v", path, err)
		}
	}
	if err := json.Unmarshal(raw, into); err != nil {
		tb.Fatalf("decode %s: %v", path, err)
	}
}

// tally counts the cases that ran, by suite.
type tally struct {
	ran, passed int
	suites      map[uint16]int
}

// cases runs f for every case of a file as a subtest and counts those that passed.
func cases[C any](t *testing.T, total *tally, file string, suiteOf func(C) uint16, f func(*testing.T, C)) {
	t.Helper()
	t.Run(file, func(t *testing.T) {
		var all []C
		readVectors(t, filepath.Join("testdata", file+".json.gz"), &all)
		count := runCases(t, all, suiteOf, f)
		t.Logf("%s: %s", file, count)
		total.ran += count.ran
		total.passed += count.passed
	})
}

func runCases[C any](t *testing.T, all []C, suiteOf func(C) uint16, f func(*testing.T, C)) *tally {
	t.Helper()
	count := &tally{suites: map[uint16]int{}}
	for i, c := range all {
		count.ran++
		id := suiteOf(c)
		if t.Run(fmt.Sprintf("suite%d/%d", id, i), func(t *testing.T) { f(t, c) }) {
			count.passed++
			count.suites[id]++
		}
	}
	return count
}

func (c *tally) String() string {
	var ids []int
	for id := range c.suites {
		ids = append(ids, int(id))
	}
	sort.Ints(ids)
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d cases", c.passed, c.ran)
	for _, id := range ids {
		if id == 0 {
			continue // the file has no suites
		}
		fmt.Fprintf(&b, ", suite %d: %d", id, c.suites[uint16(id)])
	}
	return b.String()
}

// officialCases is how many cases the working group's files hold.
const officialCases = 785

// The official test vectors of the MLS working group (mls-implementations) all pass, in
// both directions where the format allows.
func TestVectors(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine at a time: go test without -short runs it, the race detector has nothing to see")
	}
	total := &tally{}
	treeMathVectors(t, total)
	cryptoBasicsVectors(t, total)
	deserializationVectors(t, total)
	keyScheduleVectors(t, total)
	pskSecretVectors(t, total)
	secretTreeVectors(t, total)
	transcriptVectors(t, total)
	messageProtectionVectors(t, total)
	messagesVectors(t, total)
	treeValidationVectors(t, total)
	treeOperationsVectors(t, total)
	treeKEMVectors(t, total)
	welcomeVectors(t, total)
	for _, file := range []string{"passive-client-welcome", "passive-client-handling-commit", "passive-client-random"} {
		cases(t, total, file, passiveCase.suite, runPassive)
	}
	if total.ran != officialCases {
		t.Errorf("ran %d cases, want all %d", total.ran, officialCases)
	}
	fmt.Printf("vectors: %d of %d cases\n", total.passed, officialCases)
}

// Further vectors in the passive-client format, from the folder that QPQ_MLS_VECTORS
// names, pass too.
func TestPassiveExtraVectors(t *testing.T) {
	dir := os.Getenv("QPQ_MLS_VECTORS")
	if dir == "" {
		fmt.Println("extra vectors: 0 of 0 cases")
		return
	}
	var files []string
	for _, pattern := range []string{"*.json", "*.json.gz"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatalf("list %s: %v", dir, err)
		}
		files = append(files, found...)
	}
	sort.Strings(files)
	total := &tally{}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			var all []passiveCase
			readVectors(t, file, &all)
			count := runCases(t, all, passiveCase.suite, runPassive)
			t.Logf("%s: %s", filepath.Base(file), count)
			total.ran += count.ran
			total.passed += count.passed
		})
	}
	fmt.Printf("extra vectors: %d of %d cases\n", total.passed, total.ran)
}
