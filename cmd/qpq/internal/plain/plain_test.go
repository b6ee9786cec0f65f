package plain

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// What is shown never commands the terminal and hides nothing, and ordinary texts
// stay as they are, emoji and scripts that join among them.
func TestTextsAreHarmless(t *testing.T) {
	for text, want := range map[string]string{
		"": "",
		"hello, wörld 👩‍👩‍👧 नमस्ते": "hello, wörld 👩‍👩‍👧 नमस्ते",
		"two\nlines":                             "two\nlines",
		"dos\r\nlines":                           "dos\nlines",
		"old\rmac":                               "old mac",
		"a\tb":                                   "a b",
		"\x1b[2Jgone":                            "␛[2Jgone",
		"bell\a del\x7f":                         "bell␇ del␡",
		"\u009b31m":                              "\ufffd31m",
		"abc\u202edef":                           "abc\ufffddef",
		"bad \xff byte":                          "bad \ufffd byte",
		"safe\U000E0069 end":                     "safe\ufffd end", // a tag
		"🏴\U000E0067\U000E0062\U000E007F":        "🏴\ufffd\ufffd\ufffd",
		"葛\U000E0100城":                           "葛\ufffd城",
		"hid\u200b\u2060\ufeff\u00adden":         "hid\ufffd\ufffd\ufffd\ufffdden",
		"a\u3164b\u115f\u1160\uffa0":             "a\ufffdb\ufffd\ufffd\ufffd",
		"a\u2800b":                               "a b",
		"a\u2028b\u2029c":                        "a b c",
		"a\ufff9b\ufffac\ufffbd":                 "a\ufffdb\ufffdc\ufffdd",
		"\ufffe\uffff\ufdd0\U0001FFFE\U0010FFFF": "\ufffd\ufffd\ufffd\ufffd\ufffd",
		"\u200e\u200f\u061c\u2066\u2067\u2068\u2069\u202a\u202c": strings.Repeat("\ufffd", 9),
		"\u180b\u180c\u180d\u180e\u180f\u034f\u17b4\u17b5":       strings.Repeat("\ufffd", 8),
		"\u2061\u2062\u2063\u2064\u2065\u206a\u206f\ufe00\ufe0d": strings.Repeat("\ufffd", 9),
		"\U0001D173\U0001BCA0\U000E0FFF\U000E01EF\U00013430":     strings.Repeat("\ufffd", 5),
		"١٢\u0600٣":    "١٢\u0600٣", // a number sign, which is drawn
		"שלום \u200fx": "שלום \ufffdx",
		"e\u0301 한글":   "e\u0301 한글",
		"日本語　全角":       "日本語　全角",
	} {
		if got := Text(text); got != want {
			t.Errorf("Text(%+q) = %+q, expected %+q", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"two\nlines\u2028three": "two lines three", "dos\r\nline": "dos line", "a\r\n\r\nb": "a  b", "\n": " ",
	} {
		if got := Line(text); got != want {
			t.Errorf("Line(%+q) = %+q, expected %+q", text, got, want)
		}
	}
}

// A joiner or selector is shown where it has something to join, and is a sign where
// it hides.
func TestJoiners(t *testing.T) {
	for text, want := range map[string]string{
		"❤\ufe0f":               "❤\ufe0f",
		"❤\ufe0e":               "❤\ufe0e",
		"1\ufe0f\u20e3":         "1\ufe0f\u20e3",
		"©\ufe0f ™\ufe0f":       "©\ufe0f ™\ufe0f",
		"🏳\ufe0f\u200d🌈":        "🏳\ufe0f\u200d🌈",
		"👩\U0001F3FD\u200d🚀":    "👩\U0001F3FD\u200d🚀",
		"👩\u200d❤\ufe0f\u200d👨": "👩\u200d❤\ufe0f\u200d👨",
		"می\u200cخواهم":         "می\u200cخواهم", // Persian
		"क्\u200dष":             "क्\u200dष",     // Hindi, half form
		"क्\u200d":              "क्\u200d",      // at a word's end
		"ක්\u200dර":             "ක්\u200dර",     // Sinhala
		"a\ufe0fb":              "a\ufffdb",
		"\ufe0f":                "\ufffd",
		"❤\ufe0f\ufe0f":         "❤\ufe0f\ufffd",
		"❤\ufe0f\ufe0e\ufe0f":   "❤\ufe0f\ufffd\ufffd",
		"al\u200dice":           "al\ufffdice",
		"al\u200cice":           "al\ufffdice",
		"👩\u200d":               "👩\ufffd",
		"👩\u200dx":              "👩\ufffdx",
		"👩\u200d\u200d👩":        "👩\ufffd\ufffd👩",
		"👩\u200c👩":              "👩\ufffd👩",
		"\u200d👩":               "\ufffd👩",
		"1\u200d2":              "1\ufffd2",
		"م\u200cx":              "م\ufffdx",
		"x\u200cم":              "x\ufffdم",
		"a\u0301\u200db":        "a\u0301\ufffdb",
		"م\u200c\u200cم":        "م\ufffd\ufffdم",
		"م\u200d":               "م\ufffd",
		"क्\u200d\u200d":        "क्\u200d\ufffd",
	} {
		if got := Line(text); got != want {
			t.Errorf("Line(%+q) = %+q, expected %+q", text, got, want)
		}
	}
}

// JSON for a terminal: each character in question is an escape, all others stay.
func TestJSON(t *testing.T) {
	for text, want := range map[string]string{
		"plain wörld 你好 👍":               `"plain wörld 你好 👍"`,
		"x\u009b31mred":                  `"x\u009b31mred"`,
		"\u0080\u0085\u009f":             `"\u0080\u0085\u009f"`,
		"\x1b[2J\x7f":                    `"\u001b[2J\u007f"`,
		"\u202e\u2066\u200e":             `"\u202e\u2066\u200e"`,
		"\U000E0069":                     `"\udb40\udc69"`,
		"\U000E0001\U000E007F":           `"\udb40\udc01\udb40\udc7f"`,
		"\U000E0100\U000E01EF":           `"\udb40\udd00\udb40\uddef"`,
		"\u3164\u115f\u1160\uffa0\u2800": `"\u3164\u115f\u1160\uffa0\u2800"`,
		"\u2028\u2029\u00ad\ufeff":       `"\u2028\u2029\u00ad\ufeff"`,
		"\u200b\u200c\u200d\u2060":       `"\u200b\u200c\u200d\u2060"`,
		"\ufff9\ufffb\ufffe\uffff\ufdd0": `"\ufff9\ufffb\ufffe\uffff\ufdd0"`,
		"❤\ufe0f\u0600":                  `"❤\ufe0f\u0600"`,
		"\U0010FFFF\U0001D173":           `"\udbff\udfff\ud834\udd73"`,
		"<&>\"\\\n":                      `"\u003c\u0026\u003e\"\\\n"`,
		"\xff":                           `"\ufffd"`,
	} {
		raw, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(JSON(raw)); got != want {
			t.Errorf("%+q is %s, expected %s", text, got, want)
		}
	}
	if got := string(JSON([]byte(`{"` + "\u202ekey" + `":["\\u0041",1]}`))); got != `{"\u202ekey":["\\u0041",1]}` {
		t.Errorf("an object became %s", got)
	}
}

// unseen lists, apart from the program's tables, what must not reach a terminal: the
// ranges are those of DerivedCoreProperties.txt (Default_Ignorable_Code_Point), of
// UnicodeData.txt (Cf without the signs that are drawn, Cc) and the noncharacters.
var unseen = regexp.MustCompile(`[\x{00}-\x{09}\x{0B}-\x{1F}\x{7F}-\x{9F}\x{AD}\x{34F}\x{61C}\x{115F}\x{1160}\x{17B4}\x{17B5}\x{180B}-\x{180F}` +
	`\x{200B}-\x{200F}\x{2028}-\x{202E}\x{2060}-\x{206F}\x{2800}\x{3164}\x{FDD0}-\x{FDEF}\x{FE00}-\x{FE0F}\x{FEFF}\x{FFA0}\x{FFF0}-\x{FFFB}` +
	`\x{FFFE}\x{FFFF}\x{13430}-\x{1343F}\x{1BCA0}-\x{1BCA3}\x{1D173}-\x{1D17A}\x{E0000}-\x{E0FFF}` +
	`\x{1FFFE}\x{1FFFF}\x{2FFFE}\x{2FFFF}\x{3FFFE}\x{3FFFF}\x{4FFFE}\x{4FFFF}\x{5FFFE}\x{5FFFF}\x{6FFFE}\x{6FFFF}\x{7FFFE}\x{7FFFF}` +
	`\x{8FFFE}\x{8FFFF}\x{9FFFE}\x{9FFFF}\x{AFFFE}\x{AFFFF}\x{BFFFE}\x{BFFFF}\x{CFFFE}\x{CFFFF}\x{DFFFE}\x{DFFFF}\x{EFFFE}\x{EFFFF}` +
	`\x{FFFFE}\x{FFFFF}\x{10FFFE}\x{10FFFF}]`)

// atWork are joiners and selectors that do what they are for.
var atWork = regexp.MustCompile(`[\p{So}\p{Sk}\p{Sm}#*0-9‼⁉〰〽]\x{FE0F}?\x{200D}?|[\p{So}#*0-9]\x{FE0E}|[\p{L}\p{M}][\x{200C}\x{200D}]`)

// shown checks a result against the text that it was made of, by rules written anew:
// nothing unseen is left, and what could stay has stayed.
func shown(text, result string) error {
	if !utf8.ValidString(result) {
		return fmt.Errorf("%q is not UTF-8", result)
	}
	rest := atWork.ReplaceAllString(result, "")
	if at := unseen.FindString(rest); at != "" && at != "\n" {
		return fmt.Errorf("%+q is left", at)
	}
	text = strings.ReplaceAll(text, "\r\n", "\n")
	in, out := []rune(text), []rune(result)
	if len(in) != len(out) {
		return fmt.Errorf("%d characters became %d", len(in), len(out))
	}
	for i := range in {
		if in[i] == out[i] {
			continue
		}
		if !unseen.MatchString(string(in[i])) && in[i] != '\n' {
			return fmt.Errorf("%U became %U", in[i], out[i])
		}
		if !strings.ContainsRune(" \ufffd␡", out[i]) && (out[i] < 0x2400 || out[i] > 0x241F) {
			return fmt.Errorf("%U became %U, which is no sign", in[i], out[i])
		}
	}
	return nil
}

// Every code point, alone and between letters, is shown or has a sign.
func TestEveryCodePoint(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if r >= 0xD800 && r <= 0xDFFF {
			continue
		}
		for _, text := range []string{string(r), "a" + string(r) + "b"} {
			if err := shown(text, Text(text)); err != nil {
				t.Errorf("Text(%+q): %v", text, err)
			}
		}
		if out := JSON([]byte(`"` + string(r) + `"`)); unseen.Match(out) && r != '\n' && r > 0x1f {
			t.Errorf("%U is raw in JSON", r)
		}
	}
}

// FuzzClean: the result is valid, says what the text says, has nothing unseen, and
// stays so; JSON decodes to the same text.
func FuzzClean(f *testing.F) {
	for _, s := range []string{"", "a\nb", "\x1b]0;title\a", "\u202e\u2066", "\xf0\x9f", "\r\n\r", "👩‍👩‍👧", "❤\ufe0f\ufe0f", "می\u200cخواهم", "\U000E0069", "1\ufe0f\u20e3\u200d", "\r\r\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		line, whole := Line(text), Text(text)
		valid := strings.ToValidUTF8(text, "\ufffd")
		if utf8.ValidString(text) {
			for _, got := range []string{line, whole} {
				if err := shown(valid, got); err != nil {
					t.Fatalf("%+q became %+q: %v", text, got, err)
				}
			}
		}
		if strings.Contains(line, "\n") {
			t.Fatalf("Line(%+q) has a break", text)
		}
		if Line(line) != line || Text(whole) != whole {
			t.Fatalf("cleaning %q again changes it", text)
		}
		raw, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		escaped := JSON(raw)
		var back string
		if err := json.Unmarshal(escaped, &back); err != nil || back != jsonText(t, raw) {
			t.Fatalf("%+q came back as %+q: %v", text, back, err)
		}
		if at := unseen.Find(escaped); at != nil {
			t.Fatalf("%s has %+q raw", escaped, at)
		}
		if !bytes.Equal(JSON(escaped), escaped) {
			t.Fatalf("escaping %s again changes it", escaped)
		}
	})
}

func jsonText(t *testing.T, raw []byte) (text string) {
	t.Helper()
	if err := json.Unmarshal(raw, &text); err != nil {
		t.Fatal(err)
	}
	return text
}
