package client

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// Child is what this program does instead of running tests where QPQ_TEST_CHILD is
// set: tests run themselves as processes that can be killed.
var Child func()

// No test of this package may leave a goroutine behind, but for those of the nodes
// that clusters of testcluster are made of: see the test main of package cluster.
func TestMain(m *testing.M) {
	if os.Getenv("QPQ_TEST_CHILD") != "" {
		Child()
		return
	}
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).probeNode"),
		goleak.IgnoreAnyFunction("quicproquo/cluster.(*Node).answer.func1"))
}
