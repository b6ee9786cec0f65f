package confusable

// scriptSet is a set of scripts, a bit each. Unicode 17 has 176 of them, the
// writing systems of East Asia are three more.
type scriptSet [maxScripts / 64]uint64

// maxScripts limits the scripts of a table, Zzzz for unknown ones included.
const maxScripts = 192

// allScripts is the set of what mixes with every script.
var allScripts = scriptSet{^uint64(0), ^uint64(0), ^uint64(0)}

func (s scriptSet) and(o scriptSet) scriptSet {
	return scriptSet{s[0] & o[0], s[1] & o[1], s[2] & o[2]}
}

func (s scriptSet) empty() bool { return s == scriptSet{} }

// set is the set that has the script of a name only.
func (t *tables) set(name string) (s scriptSet) {
	s.add(t.names[name])
	return s
}

func (s *scriptSet) add(bit int) { s[bit/64] |= 1 << (bit % 64) }

// writingSystems are the scripts that UTS #39 §5.1 adds to the set of a character
// of one of theirs: Han with bopomofo, Japanese, Korean.
var writingSystems = map[string][]string{
	"Hani": {"Hanb", "Jpan", "Kore"},
	"Hira": {"Jpan"},
	"Kana": {"Jpan"},
	"Hang": {"Kore"},
	"Bopo": {"Hanb"},
}

// augmented is the augmented script set of a character with these scripts.
func (t *tables) augmented(names []string) (s scriptSet) {
	for _, name := range names {
		if name == "Zyyy" || name == "Zinh" {
			return allScripts
		}
		s.add(t.bit(name))
		for _, system := range writingSystems[name] {
			s.add(t.bit(system))
		}
	}
	return s
}

// bit numbers the scripts in the order of their appearance; 0 is Zzzz, unknown.
func (t *tables) bit(name string) int {
	if name == "Zzzz" {
		return 0
	}
	n, ok := t.names[name]
	if !ok {
		n = min(len(t.names)+1, maxScripts-1) // parse refuses a table with more
		t.names[name] = n
	}
	return n
}
