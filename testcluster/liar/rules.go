package liar

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
)

// A script is a list of rules, one on a line:
//
//	[first N] WHO METHOD [SUBJECT]: VERB [ARGUMENTS]
//
// WHO is the username of the caller, METHOD a method of node.capnp, SUBJECT whom or
// what the call is about: a username, or a group as FOUNDER/N (the N-th that FOUNDER
// gave the cluster). Each may be *, and SUBJECT may be left out. With "first N" the rule
// holds N times (for verbs that change envelopes: for N envelopes). Text behind # is
// for people. verbs.go and envelopes.go have the verbs:
//
//	of NAME            the call becomes one about NAME, and so does the answer
//	again              the first answer that anybody got to this question
//	refuse CODE [N|+N] an error, such as EPOCH_CONFLICT, and nothing is done; N is its
//	                   value, +N is counted from the epoch of the call
//	deny CODE [N|+N]   the same, but the call is done all the same
//	swallow            a write is answered as done, and not done
//	drop NAME          a write is done for all recipients but NAME
//	later              a write is done after the next one that this rule meets
//	twice              a write is done twice
//	index N|+N         the index that the answer is said to reflect
//	epoch N|+N         a group's epoch
//	older N            a group's record as it was N commits before
//	with NAME          what a test has kept under NAME (Book.Keep) in the place of the
//	                   group's record, the key packages, the key or the envelope
//	junk N             N random bytes there
//	empty              no record, devices, key packages, envelopes, other nodes
//	without N          the N-th device is left out, from 1
//	invent [NAME]      one more device, which nobody has signed, or which NAME's key has:
//	                   what was kept under NAME is an Ed25519 seed
//	gap                an envelope is left out, and its number
//	lost               a marker in an envelope's place that says that it is lost
//	swap               two envelopes of one answer change places and numbers
//	before NAME        what was kept under NAME takes an envelope's place; the envelope
//	                   comes as the next, and so do the others: numbers stay right
//	seq N|+N           the number that an envelope has in its queue
//	at UNIX            when an envelope is said to have come, in seconds
type rule struct {
	text                 string
	who, method, subject string
	left                 *atomic.Int64 // nil: it holds for ever

	// One of these is set.
	before   func(*Call) error // changes or answers the request
	response func(*Call)       // changes a response, also an error
	results  func(*Call) error // changes results
}

// Lie has the front follow a script from now on, in place of the one before; an empty
// one makes it honest.
func (f *Front) Lie(script string) error {
	rules, err := f.parse(script)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = rules
	return nil
}

func (f *Front) parse(script string) (rules []*rule, err error) {
	for n, line := range strings.Split(script, "\n") {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		r, err := f.parseRule(line)
		if err != nil {
			return nil, fmt.Errorf("line %d of the script, %q: %w", n+1, line, err)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

func (f *Front) parseRule(line string) (*rule, error) {
	head, tail, found := strings.Cut(line, ":")
	to, verb := strings.Fields(head), strings.Fields(tail)
	if !found || len(verb) == 0 {
		return nil, fmt.Errorf("a rule is WHO METHOD [SUBJECT]: VERB")
	}
	r := &rule{text: line, subject: "*"}
	if len(to) > 2 && to[0] == "first" {
		n, err := strconv.ParseInt(to[1], 10, 32)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("how many times is %q?", to[1])
		}
		r.left = new(atomic.Int64)
		r.left.Store(n)
		to = to[2:]
	}
	switch len(to) {
	case 3:
		r.subject = strings.ToLower(to[2])
		fallthrough
	case 2:
		r.who, r.method = to[0], to[1]
	default:
		return nil, fmt.Errorf("a rule is WHO METHOD [SUBJECT]: VERB")
	}
	if !f.has(r.method) {
		return nil, fmt.Errorf("there is no method %s", r.method)
	}
	make, known := verbs[verb[0]]
	if !known {
		return nil, fmt.Errorf("there is no verb %s", verb[0])
	}
	return r, make(f, r, verb[1:])
}

func (f *Front) has(name string) bool {
	if name == "*" {
		return true
	}
	for _, m := range methods {
		if m.name == name {
			return true
		}
	}
	return false
}

// applicable are the rules that speak of a call.
func (f *Front) applicable(c *Call) []*rule {
	f.mu.Lock()
	rules := f.rules
	f.mu.Unlock()
	subject := c.subject()
	return slices.DeleteFunc(slices.Clone(rules), func(r *rule) bool {
		return r.who != "*" && r.who != c.Who || r.method != "*" && r.method != c.Method ||
			r.subject != "*" && r.subject != subject
	})
}

// take tells whether the rule holds once more.
func (r *rule) take() bool { return r.left == nil || r.left.Add(-1) >= 0 }
