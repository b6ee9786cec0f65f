package codec_test

import (
	"bytes"
	"errors"
	"testing"

	"quicproquo/crypto/codec"
)

// Vector headers are minimal at every border, and every longer form is refused.
func TestLengthBorders(t *testing.T) {
	for _, c := range []struct {
		n      int
		header []byte
	}{
		{0, []byte{0x00}},
		{0x3f, []byte{0x3f}},
		{0x40, []byte{0x40, 0x40}},
		{0x3fff, []byte{0x7f, 0xff}},
		{0x4000, []byte{0x80, 0x00, 0x40, 0x00}},
		{0x3fffffff, []byte{0xbf, 0xff, 0xff, 0xff}},
	} {
		if got := codec.Length(nil, c.n); !bytes.Equal(got, c.header) {
			t.Errorf("header of %#x: got %x, want %x", c.n, got, c.header)
		}
		r := codec.NewReader(c.header)
		if got := r.Length(); got != c.n || r.Err() != nil {
			t.Errorf("length of %x: got %#x, %v, want %#x", c.header, got, r.Err(), c.n)
		}
	}
	for _, c := range []struct {
		in   []byte
		want error
	}{
		{[]byte{0x40, 0x3f}, codec.ErrNotMinimal},
		{[]byte{0x80, 0x00, 0x3f, 0xff}, codec.ErrNotMinimal},
		{[]byte{0xc0}, codec.ErrHeader},
		{[]byte{0xff, 0, 0, 0, 0, 0, 0, 0}, codec.ErrHeader},
		{[]byte{0x40}, codec.ErrTruncated},
		{nil, codec.ErrTruncated},
		{[]byte{0xbf, 0xff, 0xff, 0xff, 1}, codec.ErrTruncated}, // claims a GiB, has a byte
	} {
		r := codec.NewReader(c.in)
		r.Bytes()
		if !errors.Is(r.Err(), c.want) {
			t.Errorf("%x: got %v, want %v", c.in, r.Err(), c.want)
		}
	}
}

// A vector written through a callback has the header of its real length, for bodies and
// guesses of every header size, and leaves nothing behind its end.
func TestVectorHasTheHeaderOfItsLength(t *testing.T) {
	sizes := []int{0, 1, 0x3f, 0x40, 0x3fff, 0x4000, 70000}
	for _, n := range sizes {
		body := bytes.Repeat([]byte{7}, n)
		for _, guess := range sizes {
			got := codec.VectorAbout([]byte{1}, guess, func(b []byte) []byte { return append(b, body...) })
			if want := codec.Bytes([]byte{1}, body); !bytes.Equal(got, want) {
				t.Errorf("vector of %d bytes, guessed at %d, is wrong", n, guess)
			}
			if rest := got[len(got):cap(got)]; bytes.Contains(rest, []byte{7}) {
				t.Errorf("vector of %d bytes, guessed at %d, leaves some of its body behind its end", n, guess)
			}
		}
	}
}

// Trailing bytes, inside a vector or after the value, and presence octets other than 0
// and 1 are refused.
func TestTrailingAndPresence(t *testing.T) {
	if _, err := codec.Unmarshal([]byte{1, 5, 9}, (*codec.Reader).Bytes); !errors.Is(err, codec.ErrTrailing) {
		t.Errorf("got %v, want trailing bytes", err)
	}
	if _, err := codec.Unmarshal([]byte{3, 0, 1, 2}, (*codec.Reader).Uint16s); !errors.Is(err, codec.ErrTruncated) {
		t.Errorf("odd vector of uint16: got %v", err)
	}
	if _, err := codec.Unmarshal([]byte{2}, (*codec.Reader).Optional); !errors.Is(err, codec.ErrValue) {
		t.Errorf("presence octet 2: got %v", err)
	}
}

// Whatever vectors decode encode to the same bytes.
func FuzzVectors(f *testing.F) {
	f.Add([]byte{3, 2, 1, 2})
	f.Add([]byte{0x40, 0x40})
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := codec.Unmarshal(b, func(r *codec.Reader) [][]byte { return codec.List(r, (*codec.Reader).Bytes) })
		if err != nil {
			return
		}
		again := codec.Vector(nil, func(b []byte) []byte {
			for _, v := range list {
				b = codec.Bytes(b, v)
			}
			return b
		})
		if !bytes.Equal(again, b) {
			t.Errorf("%x encodes to %x", b, again)
		}
	})
}

// A list is read to its limit and not one value further, numbers of odd length are
// refused, and absent values are counted to the last.
func TestListsAreBounded(t *testing.T) {
	three := []byte{3, 1, 2, 3}
	for most, want := range map[int]error{3: nil, 2: codec.ErrTooMany, 0: codec.ErrTooMany} {
		list, err := codec.Unmarshal(three, func(r *codec.Reader) []uint8 {
			return codec.ListUpTo(r, most, (*codec.Reader).Uint8)
		})
		if !errors.Is(err, want) || want == nil && !bytes.Equal(list, []byte{1, 2, 3}) {
			t.Errorf("three values of at most %d: got %v, %v, want %v", most, list, err, want)
		}
	}
	if _, err := codec.Unmarshal(three, codec.Numbers[uint16]); !errors.Is(err, codec.ErrTruncated) {
		t.Errorf("three bytes of uint16: got %v, want ErrTruncated", err)
	}
	if n, err := codec.Unmarshal([]byte{4, 1, 2, 3, 4}, codec.Numbers[uint16]); err != nil || len(n) != 2 || n[0] != 0x0102 || n[1] != 0x0304 {
		t.Errorf("got %x, %v, want 0102 and 0304", n, err)
	}
	for n := range 30 {
		r := codec.NewReader(append(make([]byte, n), 1, 0))
		if got := r.Absent(); got != n || r.Uint8() != 1 || r.Absent() != 1 || r.Absent() != 0 {
			t.Errorf("got %d absent values, want %d, then one that is there and one more", got, n)
		}
	}
}
