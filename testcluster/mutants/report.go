package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// tryAll tries rows, o.workers at a time, and prints each as it ends. Results are in
// the rows' order. Rows that the budget left out are not tried.
func (u *runner) tryAll(ctx context.Context, o options, rows []row, out io.Writer) []result {
	begin := time.Now()
	broken := map[string]error{}
	if o.check {
		broken = u.checkAll(ctx, rows)
	}
	results := make([]result, len(rows))
	next := make(chan int)
	var mu sync.Mutex // of out
	var tasks sync.WaitGroup
	for range max(o.workers, 1) {
		tasks.Go(func() {
			for i := range next {
				r := rows[i]
				switch err := broken[r.pkg+" "+r.pattern]; {
				case err != nil:
					results[i] = result{row: r, verdict: unfit, detail: err.Error()}
				case ctx.Err() != nil || (o.budget > 0 && time.Since(begin) > o.budget):
					results[i] = result{row: r, verdict: notTried}
				default:
					results[i] = u.try(ctx, r)
				}
				mu.Lock()
				progress(out, results[i])
				mu.Unlock()
			}
		})
	}
	for i := range rows {
		next <- i
	}
	close(next)
	tasks.Wait()
	return results
}

func progress(out io.Writer, r result) {
	_, _ = fmt.Fprintf(out, "%-9s  %5.1fs  %-6s  %s\n", r.verdict, r.took.Seconds(), r.area, r.name)
}

// checkAll runs each distinct test of the rows on the code as it is; a package is
// compiled once. It returns what is wrong, by package and pattern.
func (u *runner) checkAll(ctx context.Context, rows []row) map[string]error {
	wrong, seen := map[string]error{}, map[string]bool{}
	programs := map[string]string{}
	built := map[string]error{}
	for i := range rows {
		r := &rows[i]
		key := r.pkg + " " + r.pattern
		if seen[key] {
			continue
		}
		seen[key] = true
		if _, known := programs[r.pkg]; !known {
			programs[r.pkg] = filepath.Join(u.dir, fmt.Sprintf("plain-%d.test", len(programs)))
			if out, err := u.build(ctx, programs[r.pkg], r.pkg, ""); err != nil {
				built[r.pkg] = fmt.Errorf("the tests of %s do not compile: %s", r.pkg, tail(out))
			}
		}
		err := built[r.pkg]
		if err == nil {
			err = u.check(ctx, programs[r.pkg], r)
		}
		if err != nil {
			wrong[key] = err
		}
	}
	for _, program := range programs {
		_ = os.Remove(program)
	}
	return wrong
}

// report prints what must be looked at, and the sum. It tells whether all is well.
func report(out io.Writer, results []result) bool {
	var passed, failed, untried int
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, r := range results {
		switch {
		case r.verdict.passed():
			passed++
		case r.verdict == notTried:
			untried++
		default:
			failed++
			if failed == 1 {
				_, _ = fmt.Fprint(w, "\nverdict\trow\tfile\ttest\n")
			}
			_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s %s\n", r.verdict, r.name, r.file, r.pkg, r.pattern)
		}
	}
	_ = w.Flush()
	for _, r := range results {
		if r.verdict == unfit {
			_, _ = fmt.Fprintf(out, "\n%s: %s\n", r.name, r.detail)
		}
	}
	_, _ = fmt.Fprintf(out, "\n%s\n", summary(passed, failed, untried))
	return failed == 0
}

func summary(passed, failed, untried int) string {
	sum := fmt.Sprintf("%d passed, %d failed", passed, failed)
	if untried > 0 {
		sum += fmt.Sprintf(", %d not tried", untried)
	}
	return sum
}

func list(out io.Writer, rows []row) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s %s\n", r.area, r.name, r.file, strings.TrimPrefix(r.pkg, "./"), r.pattern)
	}
	_ = w.Flush()
	_, _ = fmt.Fprintf(out, "%d rows\n", len(rows))
}
