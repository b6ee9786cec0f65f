package main

import (
	"errors"
	"fmt"
	"strings"
)

// row is one mutant: a check of the code that is taken out, and the test that must
// notice.
type row struct {
	name    string
	area    string // the table's file without ".txt"
	file    string // from the module's root, with slashes
	pkg     string // as go test takes it: ./client
	pattern string // of the test, as -run takes it, not anchored
	old     string // whole lines, each with its end
	new     string // the same; may be empty
	line    int    // of the table's file, for messages
}

// The lines that begin, divide and end the two texts of a row.
const (
	oldMark = "<<<<"
	newMark = "===="
	endMark = ">>>>"
)

// parse reads one file of the table. An error says the line.
func parse(area, text string) ([]row, error) {
	p := parser{area: area, lines: strings.SplitAfter(text, "\n")}
	var rows []row
	for {
		r, ok, err := p.next()
		if err != nil {
			return nil, fmt.Errorf("%s.txt:%d: %w", area, p.at, err)
		}
		if !ok {
			return rows, nil
		}
		rows = append(rows, r)
	}
}

type parser struct {
	area  string
	lines []string
	at    int // lines read
}

// next reads a row; it tells false at the end of the file.
func (p *parser) next() (row, bool, error) {
	r := row{area: p.area}
	for p.at < len(p.lines) {
		line := strings.TrimSpace(p.lines[p.at])
		p.at++
		switch {
		case line == oldMark:
			var err error
			if r.old, err = p.block(newMark); err != nil {
				return row{}, false, err
			}
			if r.new, err = p.block(endMark); err != nil {
				return row{}, false, err
			}
			return r, true, r.complete()
		case line == "" || strings.HasPrefix(line, "#"):
		default:
			if err := r.set(line, p.at); err != nil {
				return row{}, false, err
			}
		}
	}
	if r.line != 0 {
		return row{}, false, fmt.Errorf("the row of line %d has no texts: it needs %s, %s and %s on lines of their own", r.line, oldMark, newMark, endMark)
	}
	return row{}, false, nil
}

// block reads the lines before the one that is mark.
func (p *parser) block(mark string) (string, error) {
	from := p.at
	for p.at < len(p.lines) {
		line := strings.TrimRight(p.lines[p.at], "\r\n")
		p.at++
		if line == mark {
			return strings.Join(p.lines[from:p.at-1], ""), nil
		}
		if line == oldMark {
			break // another row's: a merge has cut this one
		}
	}
	return "", fmt.Errorf("the text that begins at line %d is not ended by %s", from+1, mark)
}

// set takes a line of the head: "key: value".
func (r *row) set(line string, at int) error {
	if r.line == 0 {
		r.line = at
	}
	key, value, ok := strings.Cut(line, ":")
	value = strings.TrimSpace(value)
	if !ok || value == "" {
		return fmt.Errorf("%q is not \"key: value\"", line)
	}
	switch key {
	case "name":
		return once(&r.name, key, value)
	case "file":
		return once(&r.file, key, value)
	case "test":
		pkg, pattern, ok := strings.Cut(value, " ")
		if !ok {
			return fmt.Errorf("%q names no test: it needs a package and a pattern, \"./client TestX\"", line)
		}
		r.pattern = strings.TrimSpace(pattern)
		return once(&r.pkg, key, pkg)
	}
	return fmt.Errorf("%q is none of name, file and test", key)
}

func once(field *string, key, value string) error {
	if *field != "" {
		return fmt.Errorf("%s stands twice in one row", key)
	}
	*field = value
	return nil
}

func (r *row) complete() error {
	switch {
	case r.name == "" || r.file == "" || r.pkg == "":
		return errors.New("the row before this line needs name, file and test")
	case strings.ContainsAny(r.name, " ,"):
		return fmt.Errorf("the name %q has a blank or a comma", r.name)
	case strings.TrimSpace(r.old) == "":
		return fmt.Errorf("%s: there is no text to replace", r.name)
	case r.old == r.new:
		return fmt.Errorf("%s: both texts are the same", r.name)
	}
	return nil
}

// topLevel is the part of the pattern that names a test function.
func (r *row) topLevel() string {
	top, _, _ := strings.Cut(r.anchored(), "/")
	return top
}

// anchored is the pattern as -run takes it: each level of a test's name in full.
func (r *row) anchored() string {
	levels := strings.Split(r.pattern, "/")
	for i, level := range levels {
		levels[i] = "^(" + level + ")$"
	}
	return strings.Join(levels, "/")
}
