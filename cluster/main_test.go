package cluster_test

import (
	"testing"

	"go.uber.org/goleak"
)

// No test of this package may leave a goroutine behind. memberlist does not join
// the probe that is under way when it shuts down; that ends by itself within a
// probe interval.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).probeNode"),
		// An answer that raft never gives is waited for until the process ends (answer).
		goleak.IgnoreAnyFunction("quicproquo/cluster.(*Node).answer.func1"))
}
