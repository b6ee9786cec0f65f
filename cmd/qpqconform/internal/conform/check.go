package conform

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"quicproquo/schemas"
)

// Check is one thing that docs/protocol.md promises.
type Check struct {
	What    string
	Section string // the heading in docs/protocol.md
	// Methods are those whose documented success it shows: a run demands that each of
	// them was answered with results meanwhile.
	Methods []string
	// Codes are the errors that it shows.
	Codes []schemas.Code
	run   func(context.Context, *World) error
}

// Checks are all checks, in the order of their numbers, from 1.
func Checks() []Check {
	return slices.Concat(connecting(), calls(), errorLayers(), opaque(), registrations(), callers(), fresh(), repeats(), queues(), queueRefusals(),
		subscriptions(), channels(), keyPackages(), keyRefusals(), groups(), limits(), accounts(), devices(), versions(), blobs(), ends())
}

// Result is what came of a check.
type Result struct {
	Number  int    `json:"number"`
	What    string `json:"what"`
	Section string `json:"section"`
	OK      bool   `json:"ok"`
	// Problem says what was got and what was wanted; for a check that could not be tried
	// (Skipped) why.
	Problem string  `json:"problem,omitempty"`
	Skipped bool    `json:"skipped,omitempty"`
	Seconds float64 `json:"seconds"`
}

// Verdict is the word for a result.
func (r Result) Verdict() string {
	switch {
	case r.OK:
		return "ok"
	case r.Skipped:
		return "not tried: " + r.Problem
	}
	return "failed: " + r.Problem
}

// notTried is why a check says nothing of this cluster.
type notTried string

func (n notTried) Error() string { return string(n) }

// checkTime bounds one check: rates make some wait.
const checkTime = 3 * time.Minute

// Run makes the checks whose text or section matches only (nil: all), and tells each
// result as it comes.
func Run(ctx context.Context, w *World, only *regexp.Regexp, told func(Result)) (results []Result) {
	for i, c := range Checks() {
		if ctx.Err() != nil {
			break
		}
		if only != nil && !only.MatchString(c.What) && !only.MatchString(c.Section) {
			continue
		}
		r := w.try(ctx, i+1, &c)
		results = append(results, r)
		told(r)
	}
	return results
}

func (w *World) try(ctx context.Context, number int, c *Check) Result {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	begin := time.Now()
	w.forget()
	err := c.run(ctx, w)
	if err == nil {
		err = w.answeredAll(c.Methods)
	}
	r := Result{Number: number, What: c.What, Section: c.Section, OK: err == nil, Seconds: time.Since(begin).Seconds()}
	if err != nil {
		_, r.Skipped = errors.AsType[notTried](err)
		r.Problem = err.Error()
	}
	return r
}

// differs is a promise that does not hold.
func differs(what string, got, want any) error {
	return fmt.Errorf("%s: got %v, want %v", what, got, want)
}

// same is nil if both are equal.
func same[T comparable](what string, got, want T) error {
	if got == want {
		return nil
	}
	return differs(what, got, want)
}

// first returns the first error: checks stop at what fails, as later steps stand on it.
func first(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}
