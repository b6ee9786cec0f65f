package mls

import (
	"crypto/sha256"
	"slices"

	"quicproquo/crypto/codec"
)

// echoSize is how many bytes of the hash of an own message are kept.
const echoSize = 16

type echo [echoSize]byte

func echoOf(msg []byte) (e echo) {
	sum := sha256.Sum256(msg)
	copy(e[:], sum[:])
	return e
}

// echoes are our last messages, by which we know them when they come back. An immutable
// value: `fresh` is copied for each message, `old` is shared and rewritten for every
// freshEchoes of them.
type echoes struct{ old, fresh []echo }

const freshEchoes = 16

// with returns the echoes with one more, and without those beyond MaxSent.
func (e echoes) with(msg []byte) echoes {
	fresh := append(make([]echo, 0, len(e.fresh)+1), e.fresh...)
	fresh = append(fresh, echoOf(msg))
	if beyond := len(e.old) + len(fresh) - MaxSent; beyond > 0 {
		e.old = e.old[beyond:]
	}
	if len(fresh) < freshEchoes {
		return echoes{e.old, fresh}
	}
	return echoes{slices.Concat(e.old, fresh), nil}
}

func (e echoes) contain(msg []byte) bool {
	one := echoOf(msg)
	return slices.Contains(e.fresh, one) || slices.Contains(e.old, one)
}

func (e echoes) appendTo(b []byte) []byte {
	return codec.Vector(b, func(b []byte) []byte {
		for _, part := range [][]echo{e.old, e.fresh} {
			for _, one := range part {
				b = append(b, one[:]...)
			}
		}
		return b
	})
}

func readEchoes(r *codec.Reader) echoes {
	return echoes{old: codec.List(r, func(r *codec.Reader) (one echo) {
		copy(one[:], r.Fixed(echoSize))
		return one
	})}
}
