package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

// Parts stand above what they import, arrows that others make needless are left out, and
// what comes of it is well-formed, with every part and arrow in it.
func TestPicture(t *testing.T) {
	t.Parallel()
	boxes := arrange(readParts(`quicproquo
quicproquo/cmd/qpqd fmt quicproquo/rpc quicproquo/cluster
quicproquo/rpc quicproquo/cluster quicproquo/schemas
quicproquo/cluster quicproquo/schemas quicproquo/cluster/mesh
quicproquo/cluster/mesh os
quicproquo/schemas
`))
	rows := map[string]int{}
	arrows := 0
	for _, b := range boxes {
		rows[b.name] = b.row
		arrows += len(b.to)
	}
	for _, pair := range [][2]string{{"cmd/qpqd", "rpc"}, {"rpc", "cluster"}, {"cluster", "schemas"}} {
		if rows[pair[0]] >= rows[pair[1]] {
			t.Errorf("%s is in row %d, %s in %d: want it above", pair[0], rows[pair[0]], pair[1], rows[pair[1]])
		}
	}
	if len(boxes) != 4 || arrows != 3 {
		t.Errorf("%d parts and %d arrows, want 4 and 3", len(boxes), arrows)
	}
	picture := string(draw(boxes))
	for _, want := range []string{">cmd/qpqd<", ">mesh<", "cmd/qpqd imports rpc", "rpc imports cluster", "cluster imports schemas"} {
		if !strings.Contains(picture, want) {
			t.Errorf("the picture lacks %q", want)
		}
	}
	if strings.Contains(picture, "cmd/qpqd imports cluster") {
		t.Error("an arrow leads where another leads anyway")
	}
	for dec := xml.NewDecoder(strings.NewReader(picture)); ; {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
