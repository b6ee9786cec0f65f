package main

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"
	"time"

	"quicproquo/cmd/qpq/internal/plain"
)

// recordVersion is the version of what --json prints: fields are added to it,
// never renamed or removed.
const recordVersion = 1

// header begins every object of --json.
type header struct {
	V    int    `json:"v"`
	Type string `json:"type"`
}

func (h *header) head(kind string) { *h = header{recordVersion, kind} }

// record is an object of --json and its line for people.
type record interface {
	// kind is the object's type.
	kind() string
	head(kind string)
	// line is what people read; it has been made harmless.
	line() string
}

// print writes a record as --json says.
func (a *app) print(r record) error {
	r.head(r.kind())
	if !a.options.json {
		return a.say("%s", r.line())
	}
	raw, err := object(r)
	if err != nil {
		return fmt.Errorf("print %s: %w", r.kind(), err)
	}
	return a.say("%s", raw)
}

// object is a value as --json prints it: in one line, and harmless for a terminal.
func object(v any) ([]byte, error) {
	raw, err := json.Marshal(v)
	return plain.JSON(raw), err
}

// say writes a line to standard output.
func (a *app) say(format string, args ...any) error {
	if _, err := fmt.Fprintf(a.out, format+"\n", args...); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// row is a record that stands in a table.
type row interface {
	record
	cells() []any
}

// table writes records as a table, with --json as lines.
func table[R row](a *app, heads string, rows []R) error {
	if a.options.json {
		for _, r := range rows {
			if err := a.print(r); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, heads)
	for _, r := range rows {
		for i, cell := range r.cells() {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			fmt.Fprint(w, plain.Line(fmt.Sprint(cell)))
		}
		fmt.Fprintln(w)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// clock is a time for people, date when it is not of today.
func clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	t = t.Local()
	if y, m, d := time.Now().Date(); t.Year() == y && t.Month() == m && t.Day() == d {
		return t.Format("15:04")
	}
	return t.Format("2006-01-02 15:04")
}

// stamp is a time for programs: RFC 3339 with milliseconds, in UTC.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
