package main

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"
)

// choice is which rows of the table are tried.
type choice struct {
	all    bool
	rows   string // names, divided by commas
	area   string
	sample int
	day    string // YYYY-MM-DD, of the sample
}

// of returns the chosen rows, or an error if that is none.
func (c choice) of(rows []row) ([]row, error) {
	if c.area != "" {
		rows = slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return r.area != c.area })
	}
	switch {
	case c.rows != "":
		return named(rows, strings.Split(c.rows, ","))
	case c.sample > 0:
		day, err := time.Parse(time.DateOnly, c.day)
		if err != nil {
			return nil, fmt.Errorf("the day of the sample: %w", err)
		}
		return sampled(rows, c.sample, day), nil
	case !c.all && c.area == "":
		return nil, fmt.Errorf("say which rows: -all, -file AREA, -rows NAME,NAME or -sample N (-list shows all)")
	case len(rows) == 0:
		return nil, fmt.Errorf("the table has no rows in %q", c.area)
	}
	return rows, nil
}

func named(rows []row, names []string) ([]row, error) {
	var chosen []row
	for _, name := range names {
		i := slices.IndexFunc(rows, func(r row) bool { return r.name == name })
		if i < 0 {
			return nil, fmt.Errorf("the table has no row %q", name)
		}
		chosen = append(chosen, rows[i])
	}
	return chosen, nil
}

// sampled returns n rows that the day chooses: the next n, day by day, of an order that
// is as good as random. So all rows have their turn before one has its second.
func sampled(rows []row, n int, day time.Time) []row {
	rows = slices.Clone(rows)
	slices.SortFunc(rows, func(a, b row) int {
		x, y := sha256.Sum256([]byte(a.name)), sha256.Sum256([]byte(b.name))
		return cmp.Or(slices.Compare(x[:], y[:]), cmp.Compare(a.name, b.name))
	})
	if n >= len(rows) {
		return rows
	}
	from := int(day.Unix()/(24*60*60)) * n % len(rows)
	rows = append(rows, rows...)
	return rows[from : from+n]
}

// inOrder sorts the rows so that those that compile the same follow each other: what
// one built the next finds in the build cache.
func inOrder(rows []row) []row {
	rows = slices.Clone(rows)
	slices.SortStableFunc(rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(a.pkg, b.pkg), cmp.Compare(a.file, b.file))
	})
	return rows
}
