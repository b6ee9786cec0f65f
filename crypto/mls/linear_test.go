package mls

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// hostileChild names, in a child's environment, the input to read, its size, and how
// often.
const hostileChild = "QPQ_MLS_HOSTILE"

// What an input makes us do grows with its bytes and no faster: the statements that are
// executed while it is read are counted, by a build of this test that counts them, for
// two sizes. Time has no part in it.
func TestHostileCostIsLinear(t *testing.T) {
	if testing.Short() {
		t.Skip("a second build of the test is made: go test without -short runs it")
	}
	const n = 64 << 10
	binary := filepath.Join(t.TempDir(), "counting.test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-covermode=atomic",
		"-coverpkg=quicproquo/crypto/mls/...,quicproquo/crypto/codec", "-o", binary, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	for _, c := range hostileInputs {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			once, short := statements(t, binary, c.name, n)
			twice, long := statements(t, binary, c.name, 2*n)
			t.Logf("%d statements for %d bytes, %d for %d", once, short, twice, long)
			if once == 0 || short == 0 {
				t.Fatal("nothing was counted")
			}
			if growth := float64(long) / float64(short); float64(twice) > 1.25*growth*float64(once) {
				t.Errorf("an input %.1f times as long costs %.1f times as many statements", growth, float64(twice)/float64(once))
			}
			// A blank place of a sparse tree is a byte, and its two hashes are the most: 52.
			if once > 80*short {
				t.Errorf("%d statements for %d bytes, want at most 80 for each", once, short)
			}
		})
	}
}

// statements counts what is executed to read an input of about n bytes once, and says how
// many they are: what one child executes that reads it three times, but for what one
// executes that reads it once.
func statements(t *testing.T, binary, name string, n int) (sum, length int) {
	t.Helper()
	once, _ := executed(t, binary, name, n, 1)
	thrice, length := executed(t, binary, name, n, 3)
	return (thrice - once) / 2, length
}

func executed(t *testing.T, binary, name string, n, times int) (sum, length int) {
	t.Helper()
	profile := filepath.Join(t.TempDir(), "profile")
	child := exec.CommandContext(t.Context(), binary, "-test.run", "^TestHostileChild$", "-test.coverprofile", profile)
	child.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %d", hostileChild, name, n, times))
	out, err := child.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if _, err := fmt.Sscan(string(out), &length); err != nil {
		t.Fatalf("the child said %q, want a number of bytes first", out)
	}
	f, err := os.Open(profile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		_, numbers, _ := strings.Cut(lines.Text(), " ")
		var size, times int
		if _, err := fmt.Sscan(numbers, &size, &times); err == nil {
			sum += size * times
		}
	}
	return sum, length
}

// The child's part: make an input and read it.
func TestHostileChild(t *testing.T) {
	var name string
	var n, times int
	if _, err := fmt.Sscan(os.Getenv(hostileChild), &name, &n, &times); err != nil {
		return // it is no child
	}
	for _, c := range hostileInputs {
		if c.name != name {
			continue
		}
		h := c.make(t, n)
		fmt.Println(len(h.input))
		for range times {
			_ = h.read(h.input)
		}
	}
}
