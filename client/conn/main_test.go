package conn

import (
	"testing"

	"go.uber.org/goleak"
)

// No test of this package may leave a goroutine behind, but for those of the nodes
// that clusters of testcluster are made of: see the test main of package cluster.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).probeNode"),
		goleak.IgnoreAnyFunction("quicproquo/cluster.(*Node).answer.func1"))
}
