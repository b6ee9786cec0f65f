package referee

import (
	"strings"
	"testing"
	"time"

	"quicproquo/schemas"
)

const one, two = "01010101010101010101010101010101", "02020202020202020202020202020202"

// at is a call of enqueue some time after the beginning, answered ten milliseconds later.
func at(after time.Duration, change func(*Call)) Call {
	begin := time.Unix(1_800_000_000, 0)
	c := Call{At: begin.Add(after), Connection: 1, Method: "enqueue", RequestID: one, command: [32]byte{1}}
	c.Answered = c.At.Add(10 * time.Millisecond)
	if change != nil {
		change(&c)
	}
	return c
}

// Each rule is broken by what breaks it and by nothing near it.
func TestRules(t *testing.T) {
	first := func(c *Call) { c.First = true }
	act := func(name string) func(*Call) { return func(c *Call) { c.Act = name } }
	reading := func(seen, index uint64) func(*Call) {
		return func(c *Call) { c.Method, c.RequestID, c.Seen, c.Index = "fetch", "", seen, index }
	}
	restored := func(c *Call) {
		reading(9, 0)(c)
		c.Act, c.Code, c.Value = actRestored, schemas.Code_seenTooFarAhead, 5
	}
	for _, row := range []struct {
		rule, name, broken string // a part of the rule's text; empty broken: kept
		calls              []Call
	}{
		{"16 bytes", "an id", "", []Call{at(0, nil)}},
		{"16 bytes", "none", "0 bytes", []Call{at(0, func(c *Call) { c.RequestID = "" })}},
		{"one command's", "repeated", "", []Call{at(0, nil), at(1, nil)}},
		{"one command's", "another payload", "have the id", []Call{at(0, nil), at(1, func(c *Call) { c.command[0] = 2 })}},
		{"first is set", "once", "", []Call{at(0, first), at(1, nil)}},
		{"first is set", "twice", "as the first", []Call{at(0, first), at(1, first)}},
		{"after E032", "the same id", "", []Call{at(0, act(actUnknown)), at(1, nil)}},
		{"after E032", "another id", "under another id", []Call{at(0, act(actUnknown)), at(1, func(c *Call) { c.RequestID = two })}},
		{"after E032", "never", "was not repeated", []Call{at(0, act(actUnknown))}},
		{"after E013", "in time", "", []Call{at(0, act(actRate)), at(rateTime+20*time.Millisecond, nil)}},
		{"after E013", "too early", "came again after", []Call{at(0, act(actRate)), at(time.Second, nil)}},
		{"seen is", "carried", "", []Call{at(0, reading(0, 7)), at(time.Second, reading(7, 7))}},
		{"seen is", "forgotten", "says 3", []Call{at(0, reading(0, 7)), at(time.Second, reading(3, 7))}},
		{"seen is", "not known yet", "", []Call{at(0, reading(0, 7)), at(50*time.Millisecond, reading(0, 7))}},
		{"after E049", "taken", "", []Call{at(0, restored), at(1, reading(5, 5))}},
		{"after E049", "not taken", "still says 9", []Call{at(0, restored), at(1, reading(9, 0))}},
		{"is acknowledged", "what was not given", "was acknowledged", []Call{at(0, func(c *Call) { c.Method, c.Wrong = "ack", "9 was acknowledged" })}},
		{"a late node", "stays", "", []Call{at(0, act(actLate)), at(1, nil)}},
		{"a late node", "left", "another node", []Call{at(0, act(actLate)), at(1, func(c *Call) { c.Address = 1 })}},
		{"when a node dies", "goes on", "", []Call{at(0, act(actDeath)), at(1, func(c *Call) { c.Address = 1 })}},
		{"when a node dies", "stays", "no call was answered", []Call{at(0, act(actDeath)), at(1, nil)}},
	} {
		for _, r := range rules() {
			if !strings.Contains(r.text, row.rule) {
				continue
			}
			if seen, broken := r.judge(row.calls); !seen && row.name != "not known yet" || (broken == "") != (row.broken == "") || !strings.Contains(broken, row.broken) {
				t.Errorf("%q, %s: seen %t, broken by %q, want %q", r.text, row.name, seen, broken, row.broken)
			}
			if seen, broken := r.judge(nil); seen || broken != "" {
				t.Errorf("%q without calls: seen %t, broken %q", r.text, seen, broken)
			}
		}
	}
}
