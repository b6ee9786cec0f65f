package vault

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// A page keeps its cells and loses what lies between them and in free blocks; a page
// that is not as it should be stays as it is.
func TestWipePage(t *testing.T) {
	page := func(header int, kind byte, cells int, content, free uint16) []byte {
		p := bytes.Repeat([]byte{0xAA}, blockSize)
		p[header] = kind
		binary.BigEndian.PutUint16(p[header+1:], free)
		binary.BigEndian.PutUint16(p[header+3:], uint16(cells))
		binary.BigEndian.PutUint16(p[header+5:], content)
		return p
	}
	block := func(p []byte, at, next, length uint16) []byte {
		binary.BigEndian.PutUint16(p[at:], next)
		binary.BigEndian.PutUint16(p[at+2:], length)
		return p
	}
	for _, c := range []struct {
		name   string
		header int
		page   []byte
		wiped  [][2]int
	}{
		{"leaf of a table", 0, page(0, 13, 2, 4000, 0), [][2]int{{12, 4000}}},
		{"leaf of an index", 0, page(0, 10, 0, 4088, 0), [][2]int{{8, 4088}}},
		{"interior", 0, page(0, 5, 3, 3000, 0), [][2]int{{18, 3000}}},
		{"interior of an index", 0, page(0, 2, 1, 100, 0), [][2]int{{14, 100}}},
		{"first page", 100, page(100, 13, 1, 2000, 0), [][2]int{{110, 2000}}},
		{"free blocks", 0, block(block(page(0, 13, 1, 1000, 1100), 1100, 2000, 50), 2000, 0, 4), [][2]int{{10, 1000}, {1104, 1150}}},
		{"no room", 0, page(0, 13, 496, 1000, 0), nil},
		{"overflow", 0, page(0, 0, 1, 1000, 0), nil},
		{"unknown kind", 0, page(0, 7, 1, 1000, 0), nil},
		{"cells over the content", 0, page(0, 13, 600, 1000, 0), nil},
		{"content behind the end", 0, page(0, 13, 1, 4089, 0), nil},
		{"free block before the content", 0, page(0, 13, 1, 1000, 500), [][2]int{{10, 1000}}},
		{"free block too short", 0, block(page(0, 13, 1, 1000, 1100), 1100, 0, 3), [][2]int{{10, 1000}}},
		{"free block behind the end", 0, block(page(0, 13, 1, 1000, 4080), 4080, 0, 9), [][2]int{{10, 1000}}},
		{"free blocks in a circle", 0, block(block(page(0, 13, 1, 1000, 1100), 1100, 1200, 50), 1200, 1100, 50), [][2]int{{10, 1000}, {1104, 1150}, {1204, 1250}}},
	} {
		want := bytes.Clone(c.page)
		for _, w := range c.wiped {
			clear(want[w[0]:w[1]])
		}
		changed := wipePage(c.page, c.header)
		if !bytes.Equal(c.page, want) {
			t.Errorf("%s: the page is another than expected", c.name)
		}
		if changed != (len(c.wiped) > 0) {
			t.Errorf("%s: changed is %v", c.name, changed)
		}
		if wipePage(c.page, c.header) {
			t.Errorf("%s: a second time it is changed again", c.name)
		}
	}
}

// FuzzWipePage: no page makes it fail or reach beyond, and cells stay.
func FuzzWipePage(f *testing.F) {
	f.Add([]byte{13, 0, 0, 0, 2, 15, 0}, false)
	f.Add([]byte{2, 4, 76, 0, 1, 0, 100}, true)
	f.Fuzz(func(t *testing.T, head []byte, first bool) {
		header := 0
		if first {
			header = 100
		}
		page := bytes.Repeat([]byte{0xAA}, blockSize)
		copy(page[header:], head)
		before := bytes.Clone(page)
		wipePage(page, header)
		content := min(int(binary.BigEndian.Uint16(before[header+5:])), blockSize-checksumSize)
		cells := header + 12 + 2*int(binary.BigEndian.Uint16(before[header+3:]))
		for i := range page {
			if page[i] != before[i] && (page[i] != 0 || i < header+8 || i >= blockSize-checksumSize || i < content && i < min(cells-4, content)) {
				t.Fatalf("byte %d became %d", i, page[i])
			}
		}
	})
}
