package plain

import (
	"unicode"

	"quicproquo/crypto/confusable"
)

// Hostile reports whether a character does something to a terminal or to the text
// around it instead of being shown, wherever it stands: controls (C0, DEL, C1),
// marks that turn the direction of writing (Unicode TR 9 §2), tags, fillers, soft
// hyphens, zero-width characters, variation selectors, annotations, code points that
// are none (U+FFFE). The joiners are not among them: see joins.
func Hostile(r rune) bool {
	switch {
	case unicode.IsControl(r), nonCharacter(r), r == '\u2028', r == '\u2029':
		return true
	case joiner(r), numberSign(r):
		return false
	}
	return confusable.Ignorable(r) || confusable.Format(r)
}

// nonCharacter reports whether Unicode has set a code point aside (Unicode Standard
// §23.7).
func nonCharacter(r rune) bool {
	return r >= 0xFDD0 && r <= 0xFDEF || r >= 0 && r&0xFFFE == 0xFFFE
}

// numberSign reports whether a format character is drawn: the signs that stand
// around digits (Unicode Standard §9.2, Prepended_Concatenation_Mark).
func numberSign(r rune) bool {
	switch {
	case r >= 0x600 && r <= 0x605, r == 0x6DD, r == 0x70F, r == 0x890, r == 0x891, r == 0x8E2, r == 0x110BD, r == 0x110CD:
		return true
	}
	return false
}

// The characters that are not shown themselves and without which emoji fall apart
// and some scripts can't be written.
const (
	nonJoiner     = '\u200c'
	wideJoiner    = '\u200d'
	textSelector  = '\ufe0e'
	emojiSelector = '\ufe0f'
)

func joiner(r rune) bool {
	return r == nonJoiner || r == wideJoiner || r == textSelector || r == emojiSelector
}

// joins reports whether a joiner does its work between its neighbours: a selector
// behind a character that has an emoji's form, a joiner between two emoji or between
// letters of a script that joins. Everywhere else it is there to hide. Two that
// follow each other are never both at work.
func joins(before [2]rune, r, next rune) bool {
	last := before[0]
	switch r {
	case textSelector, emojiSelector:
		return pictograph(last) || keycap(last)
	case wideJoiner:
		if last == emojiSelector {
			last = before[1]
		}
		if pictograph(last) {
			return pictograph(next)
		}
	}
	return joining(before[0]) && (joining(next) || unicode.Is(unicode.Mn, before[0]))
}

// keycap reports whether a character has a form on a key: "1" before U+FE0F, U+20E3.
func keycap(r rune) bool { return r >= '0' && r <= '9' || r == '#' || r == '*' }

// pictograph reports whether a character has, or may get, the form of an emoji
// (UTS #51). Whole blocks do: what they have besides is visible as well.
func pictograph(r rune) bool {
	switch {
	case r == 0xA9, r == 0xAE, r == 0x203C, r == 0x2049, r == 0x2122, r == 0x2139, r == 0x3030, r == 0x303D, r == 0x3297, r == 0x3299:
		return true
	case r >= 0x2190 && r <= 0x21FF, r >= 0x2300 && r <= 0x23FF, r >= 0x2460 && r <= 0x24FF, r >= 0x25A0 && r <= 0x27BF:
		return true
	}
	return r >= 0x2900 && r <= 0x297F || r >= 0x2B00 && r <= 0x2BFF || r >= 0x1F000 && r <= 0x1FAFF
}

// joining reports whether a character is a letter or mark of a script whose letters
// join or form conjuncts, where U+200C and U+200D decide how (RFC 5892 appendix A).
func joining(r rune) bool {
	if !unicode.IsLetter(r) && !unicode.IsMark(r) {
		return false
	}
	return unicode.In(r,
		unicode.Arabic, unicode.Syriac, unicode.Mandaic, unicode.Nko, unicode.Mongolian, unicode.Phags_Pa, unicode.Adlam, unicode.Hanifi_Rohingya,
		unicode.Devanagari, unicode.Bengali, unicode.Gurmukhi, unicode.Gujarati, unicode.Oriya, unicode.Tamil, unicode.Telugu,
		unicode.Kannada, unicode.Malayalam, unicode.Sinhala, unicode.Khmer, unicode.Myanmar, unicode.Tibetan, unicode.Balinese,
		unicode.Javanese, unicode.Sundanese, unicode.Grantha, unicode.Newa, unicode.Tirhuta)
}
