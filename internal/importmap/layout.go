package main

import (
	"cmp"
	"maps"
	"slices"
)

// box is a part in its place.
type box struct {
	*part
	row, column int // rows from the top
	x, y        int // of its upper left corner, in SVG's units
	height      int
	to          []*box // without what these lead to anyway
}

// Measures, in SVG's units.
const (
	boxWidth   = 170
	columnStep = boxWidth + 18
	rowGap     = 52
	lineHeight = 14
	headHeight = 24
	margin     = 16
)

// arrange puts each part above all that it imports, and gives it arrows to those that it
// does not reach by another.
func arrange(parts map[string]*part) []*box {
	boxes := map[string]*box{}
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		boxes[name] = &box{part: parts[name], height: headHeight + lineHeight*len(lines(parts[name]))}
	}
	depths := map[string]int{}
	deepest := 0
	for name := range parts {
		deepest = max(deepest, depth(parts, depths, name))
	}
	for name, b := range boxes {
		b.row = deepest - depths[name]
		b.to = arrows(parts, boxes, name)
	}
	list := slices.SortedFunc(maps.Values(boxes), func(a, b *box) int {
		return cmp.Or(cmp.Compare(a.row, b.row), cmp.Compare(a.name, b.name))
	})
	place(list)
	return list
}

// depth is how long the longest way from a part downwards is.
func depth(parts map[string]*part, known map[string]int, name string) int {
	if d, ok := known[name]; ok {
		return d
	}
	known[name] = 0 // parts that import each other are a fault that another test finds
	d := 0
	for to := range parts[name].uses {
		d = max(d, 1+depth(parts, known, to))
	}
	known[name] = d
	return d
}

// arrows are the parts that one imports, without those that another of them leads to.
func arrows(parts map[string]*part, boxes map[string]*box, name string) (to []*box) {
	for _, direct := range slices.Sorted(maps.Keys(parts[name].uses)) {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(parts[name].uses)), func(other string) bool {
			return other != direct && reaches(parts, other, direct)
		}) {
			to = append(to, boxes[direct])
		}
	}
	return to
}

func reaches(parts map[string]*part, from, to string) bool {
	for next := range parts[from].uses {
		if next == to || reaches(parts, next, to) {
			return true
		}
	}
	return false
}

// place gives the boxes of each row their columns, in the order of those above that lead
// to them.
func place(list []*box) {
	above := map[*box][]int{} // columns of those that lead to a box
	y := margin
	for start := 0; start < len(list); {
		end := start
		for end < len(list) && list[end].row == list[start].row {
			end++
		}
		row := list[start:end]
		slices.SortStableFunc(row, func(a, b *box) int { return cmp.Compare(mean(above[a]), mean(above[b])) })
		tallest := 0
		for i, b := range row {
			b.column = i
			b.x, b.y = margin+i*columnStep, y
			tallest = max(tallest, b.height)
		}
		for _, b := range row {
			for _, to := range b.to {
				above[to] = append(above[to], b.column)
			}
		}
		y += tallest + rowGap
		start = end
	}
	center(list)
}

// center moves each row to the middle.
func center(list []*box) {
	width := map[int]int{}
	widest := 0
	for _, b := range list {
		width[b.row] = max(width[b.row], b.x+boxWidth)
		widest = max(widest, width[b.row])
	}
	for _, b := range list {
		b.x += (widest - width[b.row]) / 2
	}
}

func mean(columns []int) float64 {
	sum := 0
	for _, c := range columns {
		sum += c
	}
	return float64(sum) / float64(max(1, len(columns)))
}
