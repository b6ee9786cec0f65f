package cluster

import (
	"fmt"

	"quicproquo/crypto/tlsid"
	"quicproquo/fsm"
)

// divergence stops this node when its store differs from the others' at the same index
// and no majority can be on its side: a replica that has diverged must not answer
// another read. A node on the majority's side goes on. While voters that have not said
// what they have could still decide, it waits for them for maxUndecided rounds: a node
// that hears the one wrong store before the third's is no reason to stop.
type divergence struct {
	undecided int // rounds in a row
}

// maxUndecided is for how many rounds of watchInterval a node whose store differs from
// another's waits for voters that are silent about that index.
const maxUndecided = 5

// judge compares one round's marks. others are the marks of the members that answered,
// voters is the number of all voters.
func (d *divergence) judge(own []fsm.Mark, others map[tlsid.NodeID][]fsm.Mark, voters int) error {
	agree, differ := compareDigests(own, others)
	undecided := false
	for index, nodes := range differ {
		most := voters - len(nodes) // on our side, with all that are silent
		switch {
		case 1+agree[index] > voters/2: // the majority is with us
		case most > voters/2 && d.undecided < maxUndecided:
			undecided = true
		default:
			return fmt.Errorf("%w %d: %v have another digest, %d agree", ErrDiverged, index, nodes, agree[index])
		}
	}
	d.undecided++
	if !undecided {
		d.undecided = 0
	}
	return nil
}

// compareDigests counts who has our digest, and names who has another, at each index
// that we have a mark of.
func compareDigests(own []fsm.Mark, others map[tlsid.NodeID][]fsm.Mark) (agree map[uint64]int, differ map[uint64][]tlsid.NodeID) {
	mine := map[uint64]uint64{}
	for _, m := range own {
		mine[m.Index] = m.Digest
	}
	agree, differ = map[uint64]int{}, map[uint64][]tlsid.NodeID{}
	for id, marks := range others {
		for _, m := range marks {
			digest, ok := mine[m.Index]
			switch {
			case !ok:
			case digest == m.Digest:
				agree[m.Index]++
			default:
				differ[m.Index] = append(differ[m.Index], id)
			}
		}
	}
	return agree, differ
}
