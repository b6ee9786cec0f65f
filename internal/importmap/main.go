// Command importmap draws which parts of the program import which, as SVG to standard
// output: `make picture` writes docs/architecture.svg, and a test at the root holds it to
// what `go list` says.
//
// Reading order: main.go (packages become parts and arrows), layout.go (places), draw.go.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "importmap: %v\n", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	out, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", "./...").Output()
	if err != nil {
		return fmt.Errorf("list the packages: %w", err)
	}
	if _, err := os.Stdout.Write(draw(arrange(readParts(string(out))))); err != nil {
		return fmt.Errorf("write the picture: %w", err)
	}
	return nil
}

// part is a box of the picture: a package with those below it.
type part struct {
	name     string
	packages []string        // below name, in order; "" is name itself
	uses     map[string]bool // names of the parts that it imports
}

// module is the path of what is drawn.
const module = "quicproquo"

// partOf is the part that a package belongs to: the first element of its path, and two
// where the first says little.
func partOf(path string) string {
	elements := strings.Split(path, "/")
	switch {
	case len(elements) > 1 && (elements[0] == "cmd" || strings.HasPrefix(path, "crypto/mls")):
		return elements[0] + "/" + elements[1]
	default:
		return elements[0]
	}
}

// readParts reads lines of a package and its imports.
func readParts(list string) map[string]*part {
	parts := map[string]*part{}
	for line := range strings.Lines(list) {
		fields := strings.Fields(line)
		path, ours := strings.CutPrefix(fields[0], module+"/")
		if !ours {
			continue // the root has no code
		}
		name := partOf(path)
		p := parts[name]
		if p == nil {
			p = &part{name: name, uses: map[string]bool{}}
			parts[name] = p
		}
		p.packages = append(p.packages, strings.TrimPrefix(strings.TrimPrefix(path, name), "/"))
		for _, imported := range fields[1:] {
			if to, ours := strings.CutPrefix(imported, module+"/"); ours && partOf(to) != name {
				p.uses[partOf(to)] = true
			}
		}
	}
	for _, p := range parts {
		slices.Sort(p.packages)
	}
	return parts
}
