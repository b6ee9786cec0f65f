// Package confusable says which texts look alike (Unicode Technical Standard #39):
// "раураl" in Cyrillic letters and "paypal" in Latin ones, "1" and "l", "rn" and "m".
//
// Its one table is that of Unicode 17.0.0 and lies beside the code, not in Go's
// standard library or in golang.org/x/text: a rule that every node of a cluster
// applies must not change because somebody built it with another compiler. A
// newer table gets a new version and is added beside this one. The same text
// gives the same answer on every machine, forever.
package confusable

import (
	"strings"
)

// Version is the version of Unicode whose table this is.
const Version = "17.0.0"

// Skeleton returns what s is compared by: two texts are confusable when their
// skeletons are equal (UTS #39 §4, internalSkeleton: NFD, without what is ignored
// by default, each character's prototype, NFD again). Beyond the standard, a
// prototype is replaced by its own prototypes until it has none (13 characters,
// U+FE81 for one), so that the skeleton of a skeleton is itself. Not done is the
// reordering of bidi text (bidiSkeleton).
//
// A skeleton is for comparing, never for showing or as a name. Case counts: fold it
// before. Bytes that are no UTF-8 count as U+FFFD. Costs n log n of len(s); the
// result has at most [MaxGrowth] times as many bytes.
func Skeleton(s string) string {
	t := table()
	return string(t.decompose(t.substitute(t.decompose(s))))
}

// MaxGrowth limits how many bytes of a skeleton a byte of the text becomes.
const MaxGrowth = 10

// MixedScripts reports whether no one script has all characters of s (UTS #39
// §5.1: the intersection of their augmented script sets is empty). Digits,
// punctuation and marks of every script mix with all; kanji, kana and bopomofo,
// hanja and hangul are one script each. A code point that this version of Unicode
// does not assign is of a script of its own. The empty text is not mixed.
func MixedScripts(s string) bool {
	return resolve(s).empty()
}

// HighlyRestrictive reports whether s is of one script or of one of the mixtures
// that people write every day: Latin with Japanese, Chinese or Korean (UTS #39
// §5.2, level 3, without its identifier profile).
func HighlyRestrictive(s string) bool {
	if !MixedScripts(s) {
		return true
	}
	latin := table().set("Latn")
	others := strings.Map(func(r rune) rune {
		if set := scripts(r); !set.and(latin).empty() {
			return -1
		}
		return r
	}, s)
	rest := resolve(others)
	for _, east := range []string{"Jpan", "Hanb", "Kore"} {
		if !rest.and(table().set(east)).empty() {
			return true
		}
	}
	return false
}

// Ignorable reports whether r is a code point that is shown as nothing by
// default: zero-width and bidi characters, variation selectors, fillers, tags
// (Default_Ignorable_Code_Point), assigned or not.
func Ignorable(r rune) bool {
	return table().ignorable.has(r)
}

// Format reports whether r is a format character (general category Cf). A few of
// them are visible: U+0600, for one, is drawn below the digits that follow.
func Format(r rune) bool {
	return table().format.has(r)
}

// resolve is the intersection of the script sets of s.
func resolve(s string) scriptSet {
	set := allScripts
	for _, r := range s {
		set = set.and(scripts(r))
	}
	return set
}

// scripts is the augmented script set of r (UTS #39 §5.1).
func scripts(r rune) scriptSet {
	t := table()
	if set, ok := t.scripts.get(r); ok {
		return set
	}
	return t.set("Zzzz")
}
