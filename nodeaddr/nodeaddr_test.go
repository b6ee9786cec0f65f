package nodeaddr

import (
	"strings"
	"testing"
)

// An address is understood whole or refused.
func TestParse(t *testing.T) {
	pin := "sha256:" + strings.Repeat("0a", 32)
	for text, want := range map[string]string{
		"10.0.0.1:4430":                                    "qpq://10.0.0.1:4430",
		"[::1]:4430":                                       "qpq://[::1]:4430",
		"qpq://chat.example.com:4430":                      "qpq://chat.example.com:4430",
		"qpq://n1.example:4430/?pin=" + pin:                "qpq://n1.example:4430?pin=" + pin,
		"qpq://n1.example:4430?pin=" + pin:                 "qpq://n1.example:4430?pin=" + pin,
		"https://chat.example.com:4430":                    "",
		"chat.example.com":                                 "",
		"qpq://chat.example.com":                           "",
		"qpq://n1.example:4430?pin=sha256:00":              "",
		"qpq://n1.example:4430?pin=md5:00":                 "",
		"qpq://n1.example:4430?pins=" + pin:                "",
		"qpq://n1.example:4430?pin=&pin=" + pin:            "",
		"qpq://n1.example:4430?pin=" + pin + "&pin=" + pin: "",
		"n1.example:4430?pin=" + pin:                       "",
		"":                                                 "",
	} {
		a, err := Parse(text)
		switch {
		case want == "" && err == nil:
			t.Errorf("%q was read as %s, expected a refusal", text, a)
		case want != "" && err != nil:
			t.Errorf("%q: %v", text, err)
		case want != "" && a.String() != want:
			t.Errorf("%q was read as %s, expected %s", text, a, want)
		}
	}
}

// One line names several nodes, and is read as it was written; a mistake in any of them is
// one in all.
func TestParseList(t *testing.T) {
	pin := "?pin=sha256:" + strings.Repeat("0a", 32)
	for text, want := range map[string]string{
		"10.0.0.1:4430":               "qpq://10.0.0.1:4430",
		"10.0.0.1:4430,[::1]:2":       "qpq://10.0.0.1:4430,[::1]:2",
		"qpq://a:1,b:2,c:3" + pin:     "qpq://a:1,b:2,c:3" + pin,
		"qpq://a:1,b:2/" + pin:        "qpq://a:1,b:2" + pin,
		"qpq://a:1" + pin:             "qpq://a:1" + pin,
		"qpq://a:1,b" + pin:           "",
		"qpq://a:1,,b:2" + pin:        "",
		"qpq://a:1,qpq://b:2" + pin:   "",
		"qpq://a:1,b:2?pin=sha256:00": "",
		"":                            "",
	} {
		list, err := ParseList(text)
		switch {
		case want == "" && err == nil:
			t.Errorf("%q was read as %v, expected a refusal", text, list)
		case want != "" && err != nil:
			t.Errorf("%q: %v", text, err)
		case want != "" && Format(list) != want:
			t.Errorf("%q was read as %s, expected %s", text, Format(list), want)
		}
	}
}

// A pin holds for all nodes; two pins are of two clusters.
func TestTrustTakesOnePin(t *testing.T) {
	parse := func(text string) Address {
		a, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	one := parse("qpq://a:1?pin=sha256:" + strings.Repeat("01", 32))
	two := parse("qpq://b:1?pin=sha256:" + strings.Repeat("02", 32))
	none := parse("c:1")
	if config, err := Trust([]Address{none, one}, nil, nil); err != nil || config.VerifyConnection == nil {
		t.Errorf("one pin of two addresses: %v, expected that it is checked", err)
	}
	if _, err := Trust([]Address{one, two}, nil, nil); err == nil {
		t.Error("two different pins were accepted")
	}
	if config, err := Trust([]Address{none}, nil, nil); err != nil || config.InsecureSkipVerify {
		t.Errorf("no pin: %v, expected the system's authorities", err)
	}
}
