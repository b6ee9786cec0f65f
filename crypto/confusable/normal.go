package confusable

import (
	"slices"
	"unicode/utf8"
)

// The arithmetic of Hangul syllables (Unicode Standard §3.12).
const (
	hangulBase, hangulEnd   = 0xAC00, 0xD7A3
	leadBase, vowelBase     = 0x1100, 0x1161
	trailBase               = 0x11A7
	vowelCount, trailCount  = 21, 28
	syllablesOfALeadingJamo = vowelCount * trailCount
)

// decompose is NFD (UAX #15) of s.
func (t *tables) decompose(s string) []rune {
	out := make([]rune, 0, len(s))
	for _, r := range s {
		switch {
		case r < utf8.RuneSelf:
			out = append(out, r)
		case r >= hangulBase && r <= hangulEnd:
			out = appendJamo(out, r-hangulBase)
		default:
			if parts, ok := t.decompositions[r]; ok {
				out = append(out, parts...)
				continue
			}
			out = append(out, r)
		}
	}
	t.order(out)
	return out
}

func appendJamo(out []rune, index rune) []rune {
	out = append(out, leadBase+index/syllablesOfALeadingJamo, vowelBase+index%syllablesOfALeadingJamo/trailCount)
	if trail := index % trailCount; trail > 0 {
		out = append(out, trailBase+trail)
	}
	return out
}

// order is the Canonical Ordering Algorithm (Unicode Standard §3.11): the marks of
// each run by their combining class, those of one class as they came. The sort is
// n log n also for a text that is all marks.
func (t *tables) order(runes []rune) {
	byClass := func(a, b rune) int { return int(t.classOf(a)) - int(t.classOf(b)) }
	for i := 0; i < len(runes); {
		if t.classOf(runes[i]) == 0 {
			i++
			continue
		}
		end := i + 1
		for end < len(runes) && t.classOf(runes[end]) != 0 {
			end++
		}
		slices.SortStableFunc(runes[i:end], byClass)
		i = end
	}
}

func (t *tables) classOf(r rune) uint8 {
	if r < 0x300 {
		return 0
	}
	class, _ := t.class.get(r)
	return class
}

// substitute writes the prototype of each character that has one, and drops what
// is ignored by default.
func (t *tables) substitute(runes []rune) string {
	out := make([]byte, 0, len(runes)+8)
	for _, r := range runes {
		if t.ignorable.has(r) {
			continue
		}
		if prototype, ok := t.prototypes[r]; ok {
			out = append(out, prototype...)
			continue
		}
		out = utf8.AppendRune(out, r)
	}
	return string(out)
}
