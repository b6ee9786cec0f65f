//go:build planted

package planted

import (
	"math/rand/v2"
	"os"
)

// Compiled reports whether faults can be switched on in this program.
const Compiled = true

var on = Bug(os.Getenv("QPQ_PLANTED"))

// On reports whether a fault is switched on.
func On(b Bug) bool { return b == on }

// Noise is 0, or anything where RandomApply is on.
func Noise() uint64 {
	if !On(RandomApply) {
		return 0
	}
	return rand.Uint64N(2)
}
