package confusable

import (
	_ "embed" // the table
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
)

//go:generate sh -c "go run gen.go -confusables $CONFUSABLES -ucd $PPUCD > unicode-17.0.0.txt"

//go:embed unicode-17.0.0.txt
var text string

// table is read at the first question, in about 4 ms.
var table = sync.OnceValue(func() *tables {
	t, err := parse(text)
	if err != nil {
		panic("confusable: the table that was built in is damaged: " + err.Error())
	}
	return t
})

// tables are the sections of the text.
type tables struct {
	version        string
	prototypes     map[rune]string
	decompositions map[rune][]rune
	class          spans[uint8]
	ignorable      spans[struct{}]
	format         spans[struct{}]
	scripts        spans[scriptSet]
	names          map[string]int // bit of a script, by its ISO 15924 name
}

// spans maps ranges of code points, which are in order, to values.
type spans[T any] []span[T]

type span[T any] struct {
	from, to rune
	value    T
}

func (s spans[T]) get(r rune) (value T, ok bool) {
	i, found := slices.BinarySearchFunc(s, r, func(s span[T], r rune) int {
		switch {
		case r < s.from:
			return 1
		case r > s.to:
			return -1
		default:
			return 0
		}
	})
	if !found {
		return value, false
	}
	return s[i].value, true
}

func (s spans[T]) has(r rune) bool {
	_, ok := s.get(r)
	return ok
}

// parse reads the text: a version, then sections in brackets.
func parse(text string) (*tables, error) {
	t := &tables{prototypes: map[rune]string{}, decompositions: map[rune][]rune{}, names: map[string]int{}}
	section := ""
	for n, line := range strings.Split(text, "\n") {
		var err error
		key, value, _ := strings.Cut(line, " ")
		switch {
		case key == "" || key == "#":
		case key == "version":
			t.version = value
		case strings.HasPrefix(key, "["):
			section = key
		default:
			err = t.add(section, key, value)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n+1, err)
		}
	}
	if len(t.names) >= maxScripts {
		return nil, fmt.Errorf("%d scripts, there is room for %d", len(t.names), maxScripts-1)
	}
	t.close()
	return t, nil
}

// close replaces each prototype by those of its own characters, until all stand
// for themselves. Unicode's data need it twice at most.
func (t *tables) close() {
	for again := true; again; {
		again = false
		for r, prototype := range t.prototypes {
			if next := t.substitute(t.decompose(prototype)); next != prototype {
				t.prototypes[r], again = next, true
			}
		}
	}
}

// add takes one line of a section.
func (t *tables) add(section, key, value string) error {
	switch section {
	case "[prototype]":
		return addSequence(key, value, func(r rune, to []rune) { t.prototypes[r] = string(to) })
	case "[decomposition]":
		return addSequence(key, value, func(r rune, to []rune) { t.decompositions[r] = to })
	case "[class]":
		n, err := strconv.ParseUint(value, 10, 8)
		if err != nil {
			return err
		}
		return addSpan(&t.class, key, uint8(n))
	case "[ignorable]":
		return addSpan(&t.ignorable, key, struct{}{})
	case "[format]":
		return addSpan(&t.format, key, struct{}{})
	case "[script]":
		return addSpan(&t.scripts, key, t.augmented(strings.Fields(value)))
	default:
		return fmt.Errorf("unknown section %q", section)
	}
}

func addSequence(key, value string, add func(rune, []rune)) error {
	r, err := codePoint(key)
	if err != nil {
		return err
	}
	var to []rune
	for _, f := range strings.Fields(value) {
		part, err := codePoint(f)
		if err != nil {
			return err
		}
		to = append(to, part)
	}
	add(r, to)
	return nil
}

func addSpan[T any](list *spans[T], key string, value T) error {
	from, to, _ := strings.Cut(key, "..")
	first, err := codePoint(from)
	if err != nil {
		return err
	}
	last, err := codePoint(to)
	if err != nil {
		return err
	}
	if n := len(*list); last < first || (n > 0 && first <= (*list)[n-1].to) {
		return fmt.Errorf("range %s is out of order", key)
	}
	*list = append(*list, span[T]{from: first, to: last, value: value})
	return nil
}

func codePoint(s string) (rune, error) {
	n, err := strconv.ParseUint(s, 16, 21)
	return rune(n), err
}
