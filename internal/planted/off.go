//go:build !planted

package planted

// Compiled reports whether faults can be switched on in this program.
const Compiled = false

// On reports whether a fault is switched on.
func On(Bug) bool { return false }

// Noise is 0, or anything where RandomApply is on.
func Noise() uint64 { return 0 }
