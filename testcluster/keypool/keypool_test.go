package keypool

import (
	"testing"

	"github.com/anishathalye/porcupine"
)

// The model accepts what must be and refuses what must not.
func TestModel(t *testing.T) {
	for _, c := range []struct {
		name    string
		size    int
		answers []int // one after the other
		want    bool
	}{
		{"each once, then none", 2, []int{0, 1, Empty, Empty}, true},
		{"each once, then none, of four", 4, []int{0, 1, 2, 3, Empty}, true},
		{"a lost answer took one", 2, []int{0, Unknown, Empty}, true},
		{"a lost answer took one, of four", 4, []int{0, Unknown, 2, 3, Empty}, true},
		{"a lost answer took none", 2, []int{Unknown, 0, 1}, true},
		{"a lost answer took none, of four", 4, []int{Unknown, 0, 1}, true},
		{"one twice", 2, []int{0, 0}, false},
		{"one twice, of four", 4, []int{0, 0}, false},
		{"one twice, at the end", 2, []int{0, 1, 1}, false},
		{"the younger first", 2, []int{1, 0}, false},
		{"the younger first, of four", 4, []int{1, 0}, false},
		{"none too early", 2, []int{0, Empty}, false},
		{"none too early, of four", 4, []int{0, Empty}, false},
		{"none too early, though an answer was lost", 2, []int{Unknown, Empty}, false},
		{"one that was never there", 2, []int{0, 1, 2}, false},
	} {
		var history []porcupine.Operation
		for i, answer := range c.answers {
			op := porcupine.Operation{ClientId: i, Output: answer, Call: int64(2 * i), Return: int64(2*i + 1)}
			if answer == Unknown {
				op.Return = 1000
			}
			history = append(history, op)
		}
		if got := porcupine.CheckOperations(Model(c.size), history); got != c.want {
			t.Errorf("%s: accepted %v, want %v", c.name, got, c.want)
		}
	}
}
