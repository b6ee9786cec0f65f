package mls

import (
	"fmt"
	"testing"

	"quicproquo/crypto/codec"
)

// The last MaxSent messages are known, no others; two continuations of one value know
// nothing of each other; and what was saved is what is loaded.
func TestEchoes(t *testing.T) {
	msg := func(i int) []byte { return fmt.Append(nil, i) }
	var e echoes
	for i := range 3*MaxSent + 5 {
		fork := e.with([]byte("another"))
		e = e.with(msg(i))
		if e.contain([]byte("another")) || fork.contain(msg(i)) || !fork.contain([]byte("another")) {
			t.Fatalf("after %d messages: a continuation knows what only another sent", i)
		}
		loaded := readEchoes(codec.NewReader(e.appendTo(nil)))
		for _, x := range []echoes{e, loaded} {
			for k := max(0, i-MaxSent-2); k <= i; k++ {
				if got, want := x.contain(msg(k)), k > i-MaxSent; got != want {
					t.Fatalf("after message %d: message %d is known: %v, want %v", i, k, got, want)
				}
			}
		}
	}
}
