package groupstate_test

import (
	"fmt"
	"testing"

	"quicproquo/client/groupstate"
	"quicproquo/crypto/mls"
)

// BenchmarkReturn measures a way back: sealed for all members with the ties to the
// epochs that were held, and opened with its tie checked. go test -bench Return
// ./client/groupstate
func BenchmarkReturn(b *testing.B) {
	for _, members := range []int{2, 32, 128} {
		alice, bob := newDevice(b, "alice"), newDevice(b, "bob")
		alice.found("a group of some size", groupstate.KindGroup, "")
		joiners := []*device{bob}
		for i := range members - 2 {
			joiners = append(joiners, newDevice(b, fmt.Sprint(i)))
		}
		alice.add(joiners, true, nil)
		for range 40 { // more epochs than ties are kept for
			alice.commit(mls.CommitOptions{}, bob)
		}
		sealed := alice.seal()
		b.Run(fmt.Sprintf("seal/members=%d", members), func(b *testing.B) {
			for b.Loop() {
				alice.seal()
			}
			b.ReportMetric(float64(len(sealed))/float64(members), "bytes/member")
		})
		b.Run(fmt.Sprintf("open/members=%d", members), func(b *testing.B) {
			for b.Loop() {
				back, err := groupstate.OpenReturn(bob.group, nil, sealed)
				if err == nil {
					err = back.Continues(bob.group.ID(), bob.known)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
