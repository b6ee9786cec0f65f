package main

import (
	"bytes"
	"fmt"
	"html"
	"strings"
)

// lineLength is how many characters of package names a line of a box holds.
const lineLength = 26

// lines are the names of the packages below a part, as they stand in its box.
func lines(p *part) []string {
	var all []string
	line := ""
	for _, name := range p.packages {
		switch {
		case name == "":
		case line == "":
			line = name
		case len(line)+len(name)+2 > lineLength:
			all = append(all, line)
			line = name
		default:
			line += ", " + name
		}
	}
	if line != "" {
		all = append(all, line)
	}
	return all
}

// colors by the first element of a part's name; others are white.
var colors = map[string]string{
	"cmd": "#e8eef7", "testcluster": "#f7ece8", "rpc": "#e6f4ea", "cluster": "#e6f4ea", "fsm": "#e6f4ea",
	"client": "#fdf3d8", "crypto": "#f0e8f7", "schemas": "#f0f0f0",
}

// draw returns the picture: arrows first, boxes over them.
func draw(boxes []*box) []byte {
	width, height := 0, 0
	for _, b := range boxes {
		width, height = max(width, b.x+boxWidth+margin), max(height, b.y+b.height+margin)
	}
	var w bytes.Buffer
	fmt.Fprintf(&w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="11">`+"\n", width, height)
	w.WriteString("<title>Which parts import which: an arrow goes from a part to what it imports, unless another arrow leads there anyway</title>\n")
	w.WriteString(`<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#667"/></marker></defs>` + "\n")
	fmt.Fprintf(&w, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", width, height)
	for _, b := range boxes {
		for i, to := range b.to {
			x, y := b.x+(i+1)*boxWidth/(len(b.to)+1), b.y+b.height
			toX, toY := to.x+boxWidth/2, to.y-2
			middle := (y + toY) / 2
			fmt.Fprintf(&w, `<path d="M%d %dC%d %d %d %d %d %d" fill="none" stroke="#667" marker-end="url(#tip)"><title>%s imports %s</title></path>`+"\n",
				x, y, x, middle, toX, middle, toX, toY, html.EscapeString(b.name), html.EscapeString(to.name))
		}
	}
	for _, b := range boxes {
		first, _, _ := strings.Cut(b.name, "/")
		fill := colors[first]
		if fill == "" {
			fill = "#ffffff"
		}
		fmt.Fprintf(&w, `<rect x="%d" y="%d" width="%d" height="%d" rx="5" fill="%s" stroke="#667"/>`+"\n", b.x, b.y, boxWidth, b.height, fill)
		fmt.Fprintf(&w, `<text x="%d" y="%d" font-weight="bold" font-size="13">%s</text>`+"\n", b.x+8, b.y+17, html.EscapeString(b.name))
		for i, line := range lines(b.part) {
			fmt.Fprintf(&w, `<text x="%d" y="%d">%s</text>`+"\n", b.x+8, b.y+headHeight+lineHeight*i+8, html.EscapeString(line))
		}
	}
	w.WriteString("</svg>\n")
	return w.Bytes()
}
