package interop

import "fmt"

// suiteID is an MLS cipher suite number as both peers of a pair use it.
type suiteID uint16

func (s suiteID) String() string { return fmt.Sprintf("0x%04x", uint16(s)) }

// stack is an MLS implementation that runs as a test peer.
type stack struct {
	name   string
	script string // in node/; empty for mlspeer
	suites []suiteID

	// What the stack gets wrong, so that scenarios go around it. defects_test.go shows
	// that ours refuses each.

	// A commit with one Remove or one Update has no UpdatePath (RFC 9420 §12.4).
	pathNeedsTwo bool
	// An UpdatePath is encrypted to the leaf keys from before the commit, so that it can
	// go along with neither Updates nor Adds (§7.5).
	pathToOldLeaves bool
	// Leaves live from 0 to 2^63-1 unless the caller says otherwise, which ours takes only
	// with ignoreLifetime (§7.2).
	endlessLifetime bool
	// A member cannot process the commit that removes it: an error at best, an endless
	// loop at worst.
	missesRemoval bool
	// The same, only if the commit also fills its leaf with a new member.
	missesReplacement bool
	// With nobody in the left half of the tree, so that the root is not in the path, the
	// commit secret is taken one step too far (§12.4.1, §12.4.2).
	wrongBelowRoot bool
	// A newcomer refuses a tree in which a leaf is unmerged at a node and merged above
	// it, which §7.9.2 allows: it wants the lists to be equal.
	strictUnmerged bool
}

var (
	ours = &stack{name: "mlspeer"}

	// 0x0053 and 0x0054 are this version's numbers for our 0xF00D and 0xF00E.
	tsmls1 = &stack{
		name: "ts-mls-1.6.4", script: "ts-mls-1.mjs",
		suites:          []suiteID{1, 2, 3, 4, 5, 6, 7, 0x0053, 0x0054},
		endlessLifetime: true, missesReplacement: true, wrongBelowRoot: true, strictUnmerged: true,
	}
	tsmls2 = &stack{
		name: "ts-mls-2.0.0-rc.10", script: "ts-mls-2.mjs",
		suites:       []suiteID{0x004F, 0x004E, 0x004D, 0xF00D, 0xF00E},
		pathNeedsTwo: true, pathToOldLeaves: true, missesRemoval: true, wrongBelowRoot: true, strictUnmerged: true,
	}
)

// foreign returns the stacks that ours is tested against.
func foreign() []*stack { return []*stack{tsmls1, tsmls2} }
