package codec_test

import (
	"bytes"
	"testing"

	"quicproquo/crypto/codec"
)

// What went through a scratch buffer is not left in it, and a marshalled value is
// nobody else's.
func TestScratchIsErased(t *testing.T) {
	secret := bytes.Repeat([]byte{0xaa}, 1000)
	var kept []byte
	codec.Scratch(func(b []byte) []byte { return append(b, secret...) }, func(b []byte) {
		if !bytes.Equal(b, secret) {
			t.Errorf("use sees %x", b)
		}
		kept = b // against the rules, to look at it afterwards
	})
	if bytes.Contains(kept, []byte{0xaa}) {
		t.Error("the buffer holds what was in it")
	}
	for _, size := range []int{0, 1, 1000, 100_000} {
		one, two := codec.Marshal(filled{1, size}), codec.Marshal(filled{2, size})
		if !bytes.Equal(one, bytes.Repeat([]byte{1}, size)) || !bytes.Equal(two, bytes.Repeat([]byte{2}, size)) {
			t.Errorf("two marshalled values of %d bytes share memory", size)
		}
	}
}

// filled is size bytes of one value.
type filled struct {
	b    byte
	size int
}

func (f filled) AppendTo(b []byte) []byte { return append(b, bytes.Repeat([]byte{f.b}, f.size)...) }
