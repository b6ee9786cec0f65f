package rule

import (
	"errors"
	"fmt"
	"strings"
)

// String returns the rule's name.
func (r Rule) String() string { return catalogue[r.known()].name }

// Section returns where the rule comes from, as in "RFC 9420 §7.3".
func (r Rule) Section() string {
	s := catalogue[r.known()].section
	if draft, ok := strings.CutPrefix(s, "extensions "); ok {
		return "draft-ietf-mls-extensions §" + draft
	}
	return "RFC 9420 §" + s
}

// Text says what must hold.
func (r Rule) Text() string { return catalogue[r.known()].text }

func (r Rule) known() Rule {
	if r >= end {
		return invalid
	}
	return r
}

// All returns every rule.
func All() []Rule {
	all := make([]Rule, 0, end-1)
	for r := invalid + 1; r < end; r++ {
		all = append(all, r)
	}
	return all
}

// Error is the refusal of a message that broke a rule.
type Error struct {
	Rule   Rule
	Detail string // what exactly, may be empty
	Cause  error  // may be nil
}

func (e *Error) Error() string {
	s := fmt.Sprintf("rule %s (%s): %s", e.Rule, e.Rule.Section(), e.Rule.Text())
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Break returns the error for a broken rule.
func Break(r Rule, format string, args ...any) error {
	return &Error{Rule: r, Detail: fmt.Sprintf(format, args...)}
}

// Because returns the error for a rule broken by cause, or nil if cause is nil.
func Because(r Rule, cause error) error {
	if cause == nil {
		return nil
	}
	return &Error{Rule: r, Cause: cause}
}

// Of returns the rule that err carries; ok is false if it carries none.
func Of(err error) (r Rule, ok bool) {
	var e *Error
	if errors.As(err, &e) {
		return e.Rule, true
	}
	return invalid, false
}
