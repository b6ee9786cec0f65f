// Package crashpoint lets tests stop the program at the places where a crash
// matters: around the commit of a transaction and around renames.
//
// Nothing but tests may call Set; without it Reached costs one atomic load.
package crashpoint

import "sync/atomic"

// A Point is a place where a crash matters.
type Point string

// The points, in the order in which a transaction meets them.
const (
	BeforeCommit     Point = "before commit"
	AfterCommit      Point = "after commit"
	BeforeCheckpoint Point = "before checkpoint"
	AfterCheckpoint  Point = "after checkpoint"
	BeforeRename     Point = "before rename"
	AfterRename      Point = "after rename"
)

var hook atomic.Pointer[func(Point)]

// Set makes Reached call f, on the goroutine that reaches the point; nil ends it.
func Set(f func(Point)) {
	if f == nil {
		hook.Store(nil)
		return
	}
	hook.Store(&f)
}

// Reached says that the program is at p.
func Reached(p Point) {
	if f := hook.Load(); f != nil {
		(*f)(p)
	}
}
