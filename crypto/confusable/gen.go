//go:build ignore

// Gen writes the table of one version of Unicode:
//
//	go run gen.go -confusables confusables.txt -ucd ppucd.txt > unicode-17.0.0.txt
//
// Both files come from ICU's release (source/data/unidata; Debian: apt-get source
// icu): confusables.txt as Unicode publishes it, ppucd.txt with the properties of
// the Unicode character database in one file.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"log"
	"os"
	"slices"
	"strconv"
	"strings"
)

// props is what the table needs to know of a code point.
type props struct {
	ignorable, format bool
	class             string
	decomposition     string // "" unless canonical
	canonical         bool
	script, scripts   string
}

func main() {
	confusables := flag.String("confusables", "", "Unicode's confusables.txt")
	ucd := flag.String("ucd", "", "ICU's ppucd.txt")
	flag.Parse()
	points, version := readUCD(*ucd)
	lines, confusablesVersion := readConfusables(*confusables)
	if version != confusablesVersion {
		log.Fatalf("ppucd.txt is of Unicode %s, confusables.txt of %s", version, confusablesVersion)
	}
	out := bufio.NewWriter(os.Stdout)
	fmt.Fprintf(out, "# Made by gen.go from confusables.txt and ppucd.txt of Unicode %s; not edited by hand.\n", version)
	fmt.Fprintf(out, "# © 2025 Unicode®, Inc. Licence: LICENSE-UNICODE beside this file.\n")
	fmt.Fprintf(out, "version %s\n", version)
	fmt.Fprintf(out, "[prototype]\n%s\n", strings.Join(lines, "\n"))
	fmt.Fprintf(out, "[decomposition]\n")
	for r, p := range points {
		if p.canonical && !(r >= 0xAC00 && r <= 0xD7A3) { // Hangul syllables follow a rule
			fmt.Fprintf(out, "%X %s\n", r, strings.Join(decompose(points, rune(r)), " "))
		}
	}
	ranges(out, "class", points, func(p props) string { return strings.TrimPrefix(p.class, "0") })
	ranges(out, "ignorable", points, func(p props) string { return mark(p.ignorable) })
	ranges(out, "format", points, func(p props) string { return mark(p.format) })
	ranges(out, "script", points, func(p props) string {
		if p.scripts != "" {
			return p.scripts
		}
		return strings.TrimPrefix(p.script, "Zzzz")
	})
	if err := out.Flush(); err != nil {
		log.Fatal(err)
	}
}

func mark(is bool) string {
	if is {
		return "yes"
	}
	return ""
}

// decompose applies canonical decompositions until nothing is left to decompose.
func decompose(points []props, r rune) (all []string) {
	p := points[r]
	if !p.canonical {
		return []string{fmt.Sprintf("%X", r)}
	}
	for _, part := range strings.Fields(p.decomposition) {
		all = append(all, decompose(points, codePoint(part))...)
	}
	return all
}

// ranges writes a section "from..to value" for what has a value.
func ranges(out *bufio.Writer, name string, points []props, value func(props) string) {
	fmt.Fprintf(out, "[%s]\n", name)
	for from := 0; from < len(points); {
		v, to := value(points[from]), from
		for to+1 < len(points) && value(points[to+1]) == v {
			to++
		}
		if v != "" {
			fmt.Fprintf(out, "%X..%X %s\n", from, to, v)
		}
		from = to + 1
	}
}

func readConfusables(path string) (lines []string, version string) {
	for _, line := range read(path) {
		if v, ok := strings.CutPrefix(line, "# Version: "); ok {
			version = strings.TrimSpace(v)
		}
		line = strings.TrimPrefix(line, "\uFEFF")
		if strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "" {
			continue
		}
		fields := strings.Split(line, ";")
		from := strings.TrimSpace(fields[0])
		lines = append(lines, strings.TrimLeft(from, "0")+" "+strings.Join(strings.Fields(fields[1]), " "))
	}
	slices.SortFunc(lines, func(a, b string) int {
		return int(codePoint(strings.Fields(a)[0])) - int(codePoint(strings.Fields(b)[0]))
	})
	return lines, version
}

// readUCD reads the properties: a code point has those of its line, else of its
// block, else the defaults. Unassigned ones have the defaults and their line's.
func readUCD(path string) (points []props, version string) {
	points = make([]props, 0x110000)
	defaults := props{class: "0", script: "Zzzz"}
	for r := range points {
		points[r] = defaults
	}
	var block props
	for _, line := range read(path) {
		fields := strings.Split(line, ";")
		switch fields[0] {
		case "ucd":
			version = fields[1]
		case "block":
			block = apply(defaults, fields[2:])
			fill(points, fields[1], block)
		case "cp":
			fill(points, fields[1], apply(block, fields[2:]))
		case "unassigned":
			fill(points, fields[1], apply(defaults, fields[2:]))
		}
	}
	return points, version
}

func fill(points []props, span string, p props) {
	from, to, isRange := strings.Cut(span, "..")
	if !isRange {
		to = from
	}
	for r := codePoint(from); r <= codePoint(to); r++ {
		points[r] = p
	}
}

func apply(p props, fields []string) props {
	for _, f := range fields {
		name, value, _ := strings.Cut(f, "=")
		switch name {
		case "DI":
			p.ignorable = true
		case "-DI":
			p.ignorable = false
		case "gc":
			p.format = value == "Cf"
		case "ccc":
			p.class = value
		case "dm":
			p.decomposition = value
		case "dt":
			p.canonical = value == "Can"
		case "sc":
			p.script = value
		case "scx":
			p.scripts = strings.TrimPrefix(value, "<script>")
		}
	}
	return p
}

func codePoint(s string) rune {
	n, err := strconv.ParseUint(s, 16, 21)
	if err != nil {
		log.Fatal(err)
	}
	return rune(n)
}

func read(path string) []string {
	data, err := os.ReadFile(path)
	if err != nil {
		log.Fatal(err)
	}
	return strings.Split(string(data), "\n")
}
