package groupstate_test

import (
	"crypto/sha256"
	"fmt"
	"testing"

	"quicproquo/client/groupstate"
	"quicproquo/crypto/mls"
)

// What lineage adds to a way back: making it with and without its ties, for groups of a
// size whose members have each committed once, and proving it at one member.
func BenchmarkLineage(b *testing.B) {
	for _, n := range []int{2, 16, 64} {
		founder := newDevice(b, "founder")
		founder.found("the group's id 16", groupstate.KindGroup, "friends")
		var others []*device
		for i := range n - 1 {
			others = append(others, newDevice(b, fmt.Sprint("member ", i)))
		}
		founder.add(others, true, nil)
		for _, o := range others {
			o.commit(mls.CommitOptions{}, append(others[1:len(others):len(others)], founder)...)
			founder.commit(mls.CommitOptions{}, others...)
			break // one who was there is enough: the ties are those of the last 32 epochs
		}
		sealed := founder.seal()
		back, err := groupstate.OpenReturn(others[0].group, nil, sealed)
		if err != nil {
			b.Fatal(err)
		}
		for name, known := range map[string]*groupstate.Known{"bare": nil, "tied": founder.known} {
			b.Run(fmt.Sprintf("seal/%s/N=%d", name, n), func(b *testing.B) {
				for b.Loop() {
					if _, err := groupstate.SealReturn(founder.group, known, nil, 1<<24); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		b.Run(fmt.Sprintf("check/N=%d", n), func(b *testing.B) {
			for b.Loop() {
				if err := back.Continues(founder.group.ID(), others[0].known); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("one hash of the info/N=%d", n), func(b *testing.B) {
			for b.Loop() {
				sha256.Sum256(back.GroupInfo)
			}
		})
	}
}
