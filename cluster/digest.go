package cluster

import (
	"fmt"

	"quicproquo/crypto/tlsid"
	"quicproquo/fsm"
)

// compareDigests stops this node when its store differs from the others' at the
// same index and no majority is on its side: a replica that has diverged must
// not answer another read. A node on the majority's side goes on and says so.
//
// others are the marks of the members that answered, voters is the number of
// all voters.
func compareDigests(own []fsm.Mark, others map[tlsid.NodeID][]fsm.Mark, voters int) error {
	mine := map[uint64]uint64{}
	for _, m := range own {
		mine[m.Index] = m.Digest
	}
	agree := map[uint64]int{}
	differ := map[uint64][]tlsid.NodeID{}
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
	for index, nodes := range differ {
		if 1+agree[index] > voters/2 {
			continue // the majority is with us
		}
		return fmt.Errorf("%w %d: %v have another digest, %d agree", ErrDiverged, index, nodes, agree[index])
	}
	return nil
}
