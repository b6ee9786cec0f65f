package confusable

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
	"pgregory.net/rapid"
)

// A replicated rule rests on the table: another table is another version, with a
// new file and a new line here. A line is never changed.
func TestTableIsPinned(t *testing.T) {
	pinned := map[string]string{
		"17.0.0": "e2f15d575acb5b33d1d940fcba813bf17f5a2770f98b1ceaaf05d332985761e9",
	}
	sum := sha256.Sum256([]byte(text))
	if got := hex.EncodeToString(sum[:]); got != pinned[Version] {
		t.Errorf("the table of Unicode %s has the digest %s, pinned is %s", Version, got, pinned[Version])
	}
	if table().version != Version {
		t.Errorf("the table says Unicode %s, Version %s", table().version, Version)
	}
	if n := len(table().prototypes); n != 6565 {
		t.Errorf("%d prototypes, confusables.txt of 17.0.0 has 6565", n)
	}
}

// What the table makes of every code point is pinned too: the digest of all
// skeletons and script sets. The code may change, its answers may not.
func TestAnswersArePinned(t *testing.T) {
	const want = "8187dc076bed80b517433a8bee59d15ba750f636b2f0874f1fc1ad717db12244"
	h := sha256.New()
	for r := rune(0); r <= unicode.MaxRune; r++ {
		h.Write([]byte(Skeleton("o" + string(r))))
		h.Write([]byte{0, flag(MixedScripts("o" + string(r))), flag(MixedScripts("字" + string(r))), flag(MixedScripts("д" + string(r)))})
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		t.Errorf("the answers for all code points have the digest %s, pinned is %s", got, want)
	}
}

func flag(is bool) byte {
	if is {
		return 1
	}
	return 0
}

// Pairs that look alike have one skeleton, pairs that don't have two. The first
// rows are the examples of UTS #39 §4 and §5.
func TestSkeleton(t *testing.T) {
	for _, c := range []struct {
		a, b  string
		alike bool
	}{
		{"ljeto", "ǉeto", true},
		{"paypal", "pаypаl", true},     // Cyrillic а
		{"scope", "ѕсоре", true},       // all Cyrillic
		{"Circle", "СігсӀе", true},     // all Cyrillic
		{"Circle", "Сirсlе", true},     // mixed
		{"Circle", "Circ1e", true},     // digit one
		{"Circle", "C𝗂𝗋𝖼𝗅𝖾", true},     // mathematical letters
		{"Circle", "𝖢𝗂𝗋𝖼𝗅𝖾", true},     // all mathematical
		{"bob1", "bobl", true},         // digit one
		{"bobl", "bobI", true},         // capital I
		{"modern", "modem", true},      // rn, m
		{"c0rp", "cOrp", true},         // digit zero, capital O
		{"alice", "al\u200Bice", true}, // zero-width space
		{"alice", "al\u00ADice", true}, // soft hyphen
		{"alice", "a\U000E0061lice", true},
		{"alice", "alice\uFE0F", true},
		{"alice", "\u3164alice", true},
		{"\u00E9", "e\u0301", true},
		{"q\u0307\u0323", "q\u0323\u0307", true},          // order of marks
		{"\uFE81", "\u0622", true},                        // alef with madda, presentation form
		{"가", "\u1100\u1161", true},                       // hangul, its jamo
		{"각", "\u1100\u1161\u11A8", true},                 // with a trail
		{"힣", "\u1112\u1175\u11C2", true},                 // the last syllable
		{"\xff", "\uFFFD", true},                          // no UTF-8
		{"alice", "Alice", false},                         // case is the caller's
		{"alice", "alicia", false},                        //
		{"\u00E9", "e", false},                            // an accent is seen
		{"q\u0301\u0300", "q\u0300\u0301", false},         // one class: the order is seen
		{"", "a", false},                                  //
		{"", "\u200B", true},                              //
		{"東京", "京東", false},                               //
		{"a\u0301\u0323b\u0323", "ab\u0323\u0323", false}, //
	} {
		if got := Skeleton(c.a) == Skeleton(c.b); got != c.alike {
			t.Errorf("%+q and %+q: alike is %v, expected %v (skeletons %+q and %+q)", c.a, c.b, got, c.alike, Skeleton(c.a), Skeleton(c.b))
		}
	}
}

// Every line of Unicode's file holds: what it calls confusable has one skeleton.
// Out of reach are the 22 lines of characters that NFD takes apart first, where
// their parts have no such line: "ö", which is drawn like U+0629.
func TestEveryLineOfTheTable(t *testing.T) {
	_, lines, _ := strings.Cut(text, "[prototype]\n")
	lines, _, _ = strings.Cut(lines, "\n[")
	n, apart := 0, 0
	for line := range strings.Lines(lines) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		n++
		if err := addSequence(key, value, func(r rune, to []rune) {
			if a, b := Skeleton(string(r)), Skeleton(string(to)); a != b {
				if apart++; table().decompositions[r] != nil {
					return
				}
				t.Errorf("%U and %U: skeletons %+q and %+q", r, to, a, b)
			}
		}); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
	}
	if n != 6565 || apart != 22 {
		t.Errorf("%d lines were read, %d out of reach; there are 6565, and 22", n, apart)
	}
}

// The skeleton of every code point is its own skeleton, and at most MaxGrowth
// times as long.
func TestSkeletonOfEveryCodePoint(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		s := string(r)
		k := Skeleton(s)
		if again := Skeleton(k); again != k {
			t.Errorf("%U: skeleton %+q, of which the skeleton is %+q", r, k, again)
		}
		if len(k) > MaxGrowth*len(s) {
			t.Errorf("%U: %d bytes become %d", r, len(s), len(k))
		}
	}
}

// Decomposition is NFD: golang.org/x/text agrees on every code point that its
// (older) Unicode has, and on mixed strings.
func TestDecompositionAgainstText(t *testing.T) {
	newer := func(r rune) bool { return unicode.Is(unicode.Cn, r) }
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if newer(r) {
			continue
		}
		if got, want := string(table().decompose(string(r))), norm.NFD.String(string(r)); got != want {
			t.Errorf("%U: %+q, x/text has %+q", r, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		marks := rapid.RuneFrom(nil, unicode.Mn)
		s := rapid.StringOf(rapid.OneOf(marks, rapid.Rune())).Filter(func(s string) bool {
			return strings.IndexFunc(s, newer) < 0
		}).Draw(t, "s")
		if got, want := string(table().decompose(s)), norm.NFD.String(s); got != want && len(s) < 30 { // x/text breaks runs of 30 marks
			t.Fatalf("%+q: %+q, x/text has %+q", s, got, want)
		}
	})
}

// Resolved script sets: the table of UTS #39 §5.1, then others of the kind.
func TestMixedScripts(t *testing.T) {
	for _, c := range []struct {
		s           string
		mixed, high bool
	}{
		{"Circle", false, true},
		{"СігсӀе", false, true},
		{"Сirсlе", true, false},
		{"Circ1e", false, true},
		{"C𝗂𝗋𝖼𝗅𝖾", false, true},
		{"𝖢𝗂𝗋𝖼𝗅𝖾", false, true},
		{"〆切", false, true},
		{"ねガ", false, true},
		{"", false, true},
		{"123", false, true},
		{"a_b-c.9", false, true},
		{"pаypal", true, false},
		{"αlice", true, false},
		{"東京さん", false, true},
		{"漢字ㄅㄆ", false, true},
		{"대한民國", false, true},
		{"ねㄅ", true, false},     // kana and bopomofo
		{"가ね", true, false},     // hangul and kana
		{"tokyo東京", true, true}, // written every day
		{"helloさくら", true, true},
		{"kr한국", true, true},
		{"д東", true, false},
		{"aдね", true, false},
		{"a\u0301", false, true}, // an inherited mark
		{"नमस्ते", false, true},
		{"नமs", true, false},
		{"a\U0010FFFD", true, false}, // private use
		{"a\u0378", true, false},     // unassigned
		{"a\xff", false, true},       // U+FFFD is common
		{"ー〱", false, true},          // prolonged sound mark: kana of both kinds
		{"aー", true, true},           //
	} {
		if got := MixedScripts(c.s); got != c.mixed {
			t.Errorf("%q: mixed scripts is %v, expected %v", c.s, got, c.mixed)
		}
		if got := HighlyRestrictive(c.s); got != c.high {
			t.Errorf("%q: highly restrictive is %v, expected %v", c.s, got, c.high)
		}
	}
}

// What is not seen, and what only sounds like it.
func TestIgnorableAndFormat(t *testing.T) {
	for _, c := range []struct {
		r                 rune
		ignorable, format bool
	}{
		{0xAD, true, true},
		{0x34F, true, false},
		{0x61C, true, true},
		{0x115F, true, false},
		{0x1160, true, false},
		{0x17B4, true, false},
		{0x180B, true, false},
		{0x180E, true, true},
		{0x180F, true, false},
		{0x200B, true, true},
		{0x200D, true, true},
		{0x202E, true, true},
		{0x2060, true, true},
		{0x2065, true, false},
		{0x2066, true, true},
		{0x3164, true, false},
		{0xFE0F, true, false},
		{0xFEFF, true, true},
		{0xFFA0, true, false},
		{0xFFF0, true, false},
		{0xFFF9, false, true},
		{0x600, false, true},
		{0x1BCA0, true, true},
		{0x1D173, true, true},
		{0xE0000, true, false},
		{0xE0001, true, true},
		{0xE0069, true, true},
		{0xE0100, true, false},
		{0xE01EF, true, false},
		{0xE0FFF, true, false},
		{0xAC, false, false},
		{0xAE, false, false},
		{' ', false, false},
		{0x2800, false, false},
		{0x3163, false, false},
		{0xE1000, false, false},
		{-1, false, false},
		{unicode.MaxRune, false, false},
	} {
		if got := Ignorable(c.r); got != c.ignorable {
			t.Errorf("%U: ignorable is %v, expected %v", c.r, got, c.ignorable)
		}
		if got := Format(c.r); got != c.format {
			t.Errorf("%U: format is %v, expected %v", c.r, got, c.format)
		}
	}
}

// A table that is damaged is refused, with its line.
func TestDamagedTable(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"[nothing]\n1 2", "line 2: unknown section"},
		{"[prototype]\nxyz 2", "line 2: "},
		{"[prototype]\n61 zz", "line 2: "},
		{"[decomposition]\n61 zz", "line 2: "},
		{"[class]\n300..301 999", "line 2: "},
		{"[class]\n300..2FF 1", "out of order"},
		{"[class]\n300..310 1\n310..311 2", "line 3: range 310..311 is out of order"},
		{"[ignorable]\n300", "line 2: "},
		{"[format]\n..300 yes", "line 2: "},
		{"[script]\nzz..300 Latn", "line 2: "},
		{"[script]\n1..2 " + manyScripts(maxScripts), "scripts, there is room for 191"},
	} {
		if _, err := parse(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.40q: error %v, expected %q", c.text, err, c.want)
		}
	}
}

func manyScripts(n int) string {
	var names []string
	for i := range n {
		names = append(names, "S"+string(rune('A'+i/26))+string(rune('a'+i%26)))
	}
	return strings.Join(names, " ")
}

// A skeleton is its own skeleton, of any text; of two texts one after the other it
// is that of their skeletons; MixedScripts has no regard for order.
func FuzzSkeleton(f *testing.F) {
	for _, s := range []string{"paypal", "раураl", "\u0622\uFE81", "a\u0301\u0323", "각\u11A8", "\xff\u200B", strings.Repeat("\u0323\u0301", 40), "\uFDFA%"} {
		f.Add(s, "m1")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		k := Skeleton(a)
		if again := Skeleton(k); again != k {
			t.Fatalf("%+q: skeleton %+q, of which the skeleton is %+q", a, k, again)
		}
		if !utf8.ValidString(k) || len(k) > MaxGrowth*len(a) {
			t.Fatalf("%+q: skeleton %+q of %d bytes", a, k, len(k))
		}
		if strings.IndexFunc(k, Ignorable) >= 0 {
			t.Fatalf("%+q: skeleton %+q has what is ignored", a, k)
		}
		if utf8.ValidString(a) && utf8.ValidString(b) {
			if one, two := Skeleton(a+b), Skeleton(k+Skeleton(b)); one != two {
				t.Fatalf("%+q and %+q: skeleton %+q, of the skeletons %+q", a, b, one, two)
			}
			if MixedScripts(a+b) != MixedScripts(b+a) || (MixedScripts(a) && !MixedScripts(a+b)) {
				t.Fatalf("%+q and %+q: scripts depend on the order", a, b)
			}
		}
	})
}

// A name, a long text, and 64 KiB of marks, which must be sorted.
func BenchmarkSkeleton(b *testing.B) {
	for name, s := range map[string]string{
		"name": "раураl_1", "text": strings.Repeat("Съешь ещё этих rnягких ", 100), "marks": "a" + strings.Repeat("\u0301\u0323", 16<<10),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(s)))
			for b.Loop() {
				Skeleton(s)
			}
		})
	}
}

// The table is read once.
func BenchmarkParse(b *testing.B) {
	for b.Loop() {
		if _, err := parse(text); err != nil {
			b.Fatal(err)
		}
	}
}
