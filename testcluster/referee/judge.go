package referee

import (
	"fmt"
	"slices"
	"time"

	"quicproquo/schemas"
)

// Verdict is what came of a rule.
type Verdict struct {
	Rule    string `json:"rule"`
	Section string `json:"section"` // of docs/protocol.md
	// Seen is whether the client came to where the rule counts.
	Seen   bool   `json:"seen"`
	Broken string `json:"broken,omitempty"` // by what; empty: kept
}

// Word is the verdict in a word.
func (v Verdict) Word() string {
	switch {
	case v.Broken != "":
		return "broken: " + v.Broken
	case v.Seen:
		return "kept"
	}
	return "not seen: the client did nothing for which it counts"
}

// rule is one that clients must follow. judge says whether it counted, and by what it was
// broken.
type rule struct {
	text, section string
	judge         func(calls []Call) (seen bool, broken string)
}

const repeating, fresh = "Repeating calls", "How fresh an answer is"

func rules() []rule {
	return []rule{
		{"a QUIC Retry is answered", "Connecting", answersRetry},
		{"a write carries a request id of 16 bytes", "A call", hasIDs},
		{"a request id is one command's", repeating, oneCommand},
		{"first is set on the first sending of a request id and on no other", "A call", firstOnce},
		{"after E032 the same request id is repeated", repeating, repeats(actUnknown, true)},
		{"after a lost answer the same request id is repeated", repeating, repeats(actLost, true)},
		{"a late node is not left for another while its answer is due", "Connecting", staysWithLate},
		{"after E038 the call is made again", repeating, repeats(actLagging, false)},
		{"after E013 the call is made again, and not before its time", repeating, waitsFor(actRate)},
		{"a subscription too many is made again, and not before its time", repeating, waitsFor(actFull)},
		{"seen is the highest index that the client was answered", fresh, carriesSeen},
		{"after E049 the client takes the answer's value for what it has seen, and goes on", fresh, takesValue},
		{"only what was given out is acknowledged", "Queues", acknowledgesGiven},
		{"when a node stops the client goes on at another", "A node that stops", goesOn(actStop)},
		{"when a node dies the client goes on at another", repeating, goesOn(actDeath)},
	}
}

// Verdicts judges what the client has done so far.
func (r *Referee) Verdicts() (list []Verdict) {
	calls := r.Calls()
	for _, rule := range rules() {
		v := Verdict{Rule: rule.text, Section: rule.section}
		v.Seen, v.Broken = rule.judge(calls)
		list = append(list, v)
	}
	return list
}

// writing are the methods that docs/protocol.md marks as writes.
func writing(method string) bool {
	return slices.Contains([]string{
		"opaqueRegisterFinish", "opaqueLoginFinish", "createInvite", "setContacts", "logout", "changePasswordFinish", "deleteAccount",
		"registerDevice", "revokeDevice", "publishEndpoint", "uploadKeyPackage", "uploadKeyPackages", "fetchKeyPackage", "fetchKeyPackages",
		"uploadHybridKey", "enqueue", "batchEnqueue", "ack", "createChannel", "publishCommit",
	}, method)
}

func answersRetry(calls []Call) (bool, string) { return len(calls) > 0, "" } // no other connection comes to be

func hasIDs(calls []Call) (seen bool, broken string) {
	for _, c := range calls {
		if !writing(c.Method) {
			continue
		}
		seen = true
		if len(c.RequestID) != 2*schemas.RequestIDSize {
			return true, fmt.Sprintf("%s has a request id of %d bytes", c.Method, len(c.RequestID)/2)
		}
	}
	return seen, ""
}

func oneCommand(calls []Call) (seen bool, broken string) {
	first := map[string]Call{}
	for _, c := range calls {
		if !writing(c.Method) || c.RequestID == "" {
			continue
		}
		seen = true
		if before, known := first[c.RequestID]; known && before.command != c.command {
			return true, fmt.Sprintf("%s and %s, or other parameters, have the id %s", before.Method, c.Method, c.RequestID)
		}
		first[c.RequestID] = c
	}
	return seen, ""
}

func firstOnce(calls []Call) (seen bool, broken string) {
	known := map[string]bool{}
	for _, c := range calls {
		if !writing(c.Method) || c.RequestID == "" {
			continue
		}
		seen = true
		if c.First && known[c.RequestID] {
			return true, fmt.Sprintf("%s was repeated as the first of its id %s", c.Method, c.RequestID)
		}
		known[c.RequestID] = true
	}
	return seen, ""
}

// met is the call to which an act was played, and those after it.
func met(calls []Call, act string) (one Call, after []Call, seen bool) {
	i := slices.IndexFunc(calls, func(c Call) bool { return c.Act == act })
	if i < 0 {
		return one, nil, false
	}
	return calls[i], calls[i+1:], true
}

// again is the next call of the same command.
func again(one Call, after []Call) (Call, bool) {
	i := slices.IndexFunc(after, func(c Call) bool { return c.Method == one.Method && c.command == one.command })
	if i < 0 {
		return Call{}, false
	}
	return after[i], true
}

func repeats(act string, sameID bool) func([]Call) (bool, string) {
	return func(calls []Call) (bool, string) {
		one, after, seen := met(calls, act)
		if !seen {
			return false, ""
		}
		next, found := again(one, after)
		switch {
		case !found:
			return true, one.Method + " was not repeated"
		case sameID && next.RequestID != one.RequestID:
			return true, one.Method + " was repeated under another id"
		}
		return true, ""
	}
}

func waitsFor(act string) func([]Call) (bool, string) {
	return func(calls []Call) (bool, string) {
		one, after, seen := met(calls, act)
		if !seen {
			return false, ""
		}
		next, found := again(one, after)
		if !found {
			return true, one.Method + " was not made again"
		}
		if waited := next.At.Sub(one.Answered); waited < rateTime-20*time.Millisecond {
			return true, fmt.Sprintf("%s came again after %v, and %v were asked for", one.Method, waited, rateTime)
		}
		return true, ""
	}
}

func staysWithLate(calls []Call) (bool, string) {
	one, after, seen := met(calls, actLate)
	if !seen {
		return false, ""
	}
	for _, c := range after {
		if !one.Answered.IsZero() && c.At.After(one.Answered) {
			break
		}
		if c.command == one.command && c.Address != one.Address {
			return true, one.Method + " was sent to another node while its answer was due"
		}
	}
	return true, ""
}

// settled is how long before a call an answer must have left for the client to know it.
const settled = 250 * time.Millisecond

func carriesSeen(calls []Call) (seen bool, broken string) {
	for i, c := range calls {
		highest := uint64(0)
		for _, before := range calls[:i] {
			switch {
			case before.Code == schemas.Code_seenTooFarAhead:
				highest = 0 // it begins anew
			case before.Connection == c.Connection && !before.Answered.IsZero() && c.At.Sub(before.Answered) > settled:
				highest = max(highest, before.Index)
			}
		}
		seen = seen || highest > 0
		if c.Seen < highest {
			return true, fmt.Sprintf("%s says %d, and an answer on its connection said %d", c.Method, c.Seen, highest)
		}
	}
	return seen, ""
}

func takesValue(calls []Call) (bool, string) {
	one, after, seen := met(calls, actRestored)
	if !seen {
		return false, ""
	}
	next, found := again(one, after)
	switch {
	case !found:
		return true, one.Method + " was not made again"
	case next.Seen > one.Value && next.Seen >= one.Seen && !learned(after, next, one.Value):
		return true, fmt.Sprintf("%s still says %d, and the answer's value was %d", one.Method, next.Seen, one.Value)
	}
	return true, ""
}

// learned tells whether an answer between has brought a client beyond an index.
func learned(after []Call, next Call, value uint64) bool {
	return slices.ContainsFunc(after, func(c Call) bool {
		return !c.Answered.IsZero() && c.Answered.Before(next.At) && c.Index > value
	})
}

func acknowledgesGiven(calls []Call) (seen bool, broken string) {
	for _, c := range calls {
		if c.Method != "ack" {
			continue
		}
		seen = true
		if c.Wrong != "" {
			return true, c.Wrong
		}
	}
	return seen, ""
}

func goesOn(act string) func([]Call) (bool, string) {
	return func(calls []Call) (bool, string) {
		one, after, seen := met(calls, act)
		if !seen {
			return false, ""
		}
		for _, c := range after {
			if c.Address != one.Address && c.Act != actStop && c.Code == schemas.Code_ok && !c.Answered.IsZero() {
				return true, ""
			}
		}
		return true, "no call was answered at another address"
	}
}
